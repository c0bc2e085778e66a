"""When a keyframe is taken, followed and ignored (NNRT appendix D.3)."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp

from bodystream.deformation import WarpField
from bodystream.pipelines.capture.keyframes import Keyframes
from bodystream.tracking.matches import Reference
from bodystream.types import Array, FlowField, RgbdFrame
from helpers.pipeline_frames import DEVICE, frames

MASK = np.zeros((240, 320), np.bool_)
MASK[40:200, 100:220] = True


class Estimator:
    """Gives no motion with a set confidence on a share of the mask, and notes which pairs it was asked for."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.pairs: list[tuple[int, int]] = []

    def step(self, source: RgbdFrame, target: RgbdFrame, *, source_mask: Array, **_: object) -> FlowField:
        self.pairs.append((source.index, target.index))
        weight = np.zeros(source_mask.shape, np.float32)
        rows = np.flatnonzero(source_mask.any(axis=1))
        weight[rows[: round(self.share * len(rows))]] = 1.0
        return FlowField(source.t_ns, target.t_ns, np.zeros((*MASK.shape, 2), np.float32), weight * source_mask)


def still(_: Reference) -> Array:
    return np.zeros((*MASK.shape, 2), np.float32)


def play(keyframes: Keyframes, count: int) -> list[int]:
    """Follow and remember as capture does; the frames on which the keyframe was used."""
    depth = wp.zeros(MASK.shape, dtype=float, device=DEVICE)
    used = []
    for frame in frames()[:count]:
        if frame.index:
            found = keyframes.follow(frame, MASK, still)
            if found:
                used.append(frame.index)
                reference, flow = found[0]
                assert len(found) == 1 and reference.t_ns == flow.source_t_ns and flow.target_t_ns == frame.t_ns
        keyframes.remember(frame, MASK, depth)
    return used


def keyframes(estimator: Estimator, every: int, flow_every: int) -> Keyframes:
    return Keyframes(WarpField(DEVICE), frames()[0].intrinsics, estimator, every, flow_every)  # type: ignore[arg-type]


def test_the_newest_keyframe_is_followed_on_every_nth_frame() -> None:
    estimator = Estimator()
    kept = keyframes(estimator, every=10, flow_every=4)
    assert play(kept, 24) == [4, 8, 14, 18]
    assert estimator.pairs == [(0, 4), (0, 8), (10, 14), (10, 18)]
    assert (kept.used_count, kept.ignored_count) == (4, 0)


def test_the_frame_after_a_keyframe_is_left_to_the_flow_between_frames() -> None:
    assert play(keyframes(Estimator(), every=5, flow_every=1), 9) == [2, 3, 4, 5, 7, 8]


def test_none_are_kept_when_they_are_off() -> None:
    estimator = Estimator()
    assert play(keyframes(estimator, every=0, flow_every=4), 12) == []
    assert estimator.pairs == []


@pytest.mark.parametrize(("share", "used"), [(0.45, []), (0.55, [4, 8])])
def test_a_keyframe_of_which_less_than_half_is_seen_is_ignored(share: float, used: list[int]) -> None:
    kept = keyframes(Estimator(share), every=20, flow_every=4)
    assert play(kept, 10) == used
    assert kept.ignored_count == 2 - len(used)


def test_reset_forgets_the_keyframe() -> None:
    estimator = Estimator()
    kept = keyframes(estimator, every=10, flow_every=4)
    play(kept, 3)
    kept.reset()
    assert kept.follow(frames()[4], MASK, still) == []
    assert estimator.pairs == []
