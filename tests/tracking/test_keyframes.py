"""When a keyframe is taken, followed and ignored (NNRT appendix D.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame
from bodystream.tracking.keyframes import Keyframes
from bodystream.types import FlowField
from helpers.pipeline_frames import DEVICE, frames

MASK = np.zeros((240, 320), np.bool_)
MASK[40:200, 100:220] = True


def new_keyframes(every: int, flow_every: int) -> Keyframes:
    return Keyframes(WarpField(DEVICE), frames()[0].intrinsics, every, flow_every)


def seen(share: float) -> FlowField:
    """No motion, believed on a share of the mask."""
    weight = np.zeros(MASK.shape, np.float32)
    rows = np.flatnonzero(MASK.any(axis=1))
    weight[rows[: round(share * len(rows))]] = 1.0
    return FlowField(0, 0, np.zeros((*MASK.shape, 2), np.float32), weight * MASK)


def play(keyframes: Keyframes, count: int) -> list[tuple[int, int]]:
    """Ask and remember as the tracker does; the pairs of keyframe and frame for which flow is due."""
    image = DeviceFrame(frames()[0].intrinsics, DEVICE)
    pairs = []
    for frame in frames()[:count]:
        reference = keyframes.due() if frame.index else None
        if reference is not None:
            assert reference.frame is not None and reference.mask is MASK
            pairs.append((reference.frame.index, frame.index))
        image.upload(frame, MASK)
        keyframes.remember(image)
    return pairs


def test_the_newest_keyframe_is_followed_on_every_nth_frame() -> None:
    assert play(new_keyframes(every=10, flow_every=4), 24) == [(0, 4), (0, 8), (10, 14), (10, 18)]


def test_the_frame_after_a_keyframe_is_left_to_the_flow_between_frames() -> None:
    followed = [frame for _, frame in play(new_keyframes(every=5, flow_every=1), 9)]
    assert followed == [2, 3, 4, 5, 7, 8]


def test_none_are_kept_when_they_are_off() -> None:
    assert play(new_keyframes(every=0, flow_every=4), 12) == []


@pytest.mark.parametrize(("share", "enough"), [(0.0, False), (0.45, False), (0.55, True), (1.0, True)])
def test_a_keyframe_of_which_less_than_half_is_seen_is_ignored(share: float, enough: bool) -> None:
    kept = new_keyframes(every=20, flow_every=4)
    assert play(kept, 5) == [(0, 4)]
    flow = seen(share)
    assert kept.shows_enough(flow) is enough
    on_device = replace(flow, weight=wp.array(flow.weight, dtype=float, device=DEVICE))
    assert kept.shows_enough(on_device) is enough
    assert (kept.used_count, kept.ignored_count) == (2 * enough, 2 * (not enough))


def test_reset_forgets_the_keyframe() -> None:
    kept = new_keyframes(every=10, flow_every=4)
    play(kept, 3)
    kept.reset()
    assert [kept.due() for _ in range(12)] == [None] * 12
