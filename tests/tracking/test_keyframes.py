"""Which views become keyframes, and which one is followed (NNRT appendix D.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame
from bodystream.tracking.keyframes import Keyframes, shared_view
from bodystream.types import FlowField
from helpers.pipeline_frames import DEVICE, frames

MASK = np.zeros((240, 320), np.bool_)
MASK[40:200, 100:220] = True
NODES = 24
ALL = np.ones(NODES, bool)


def turned(degrees: float, nodes: int = NODES) -> np.ndarray:
    return np.tile(Rotation.from_euler("y", degrees, degrees=True).as_matrix(), (nodes, 1, 1)).astype(np.float32)


class Played:
    """Keyframes of a model of `NODES` nodes, shown one frame after another as the tracker does."""

    def __init__(self, capacity: int = 8, flow_every: int = 4) -> None:
        camera = frames()[0].intrinsics
        self.field = WarpField(DEVICE)
        positions = np.stack([0.1 * np.arange(NODES), np.zeros(NODES), np.full(NODES, 2.0)], axis=1)
        self.field.set_graph(positions.astype(np.float32), np.full((NODES, 8), -1, np.int32))
        self.kept = Keyframes(self.field, camera, capacity, flow_every)
        self.image = DeviceFrame(camera, DEVICE)
        self.count = 0

    def show(self, degrees: float, seen: np.ndarray = ALL) -> int | None:
        """One more frame of the model turned so; the index of the keyframe that flow was wanted from."""
        due = self.kept.due() if self.count else None
        frame = replace(frames()[0], index=self.count)
        self.field.set_motion(turned(degrees), np.zeros((NODES, 3), np.float32))
        self.image.upload(frame, MASK)
        self.kept.remember(self.image, seen)
        self.count += 1
        if due is None:
            return None
        assert due.frame is not None and due.mask is MASK and due.node_count == NODES
        return due.frame.index

    def play(self, turns: Iterable[float]) -> dict[int, int]:
        """The keyframe of each frame that has one."""
        begin = self.count
        found = [self.show(degrees) for degrees in turns]
        return {frame: keyframe for frame, keyframe in enumerate(found, begin) if keyframe is not None}


@pytest.mark.parametrize(
    ("degrees", "share"),
    [(0.0, 1.0), (30.0, (np.cos(np.radians(30.0)) - 0.5) / 0.5), (59.9, 0.0), (90.0, 0.0), (180.0, 0.0)],
)
def test_a_view_is_shared_less_the_more_the_model_turned(degrees: float, share: float) -> None:
    seen = np.ones(NODES, bool)
    assert shared_view(seen, turned(10.0), seen, turned(10.0 + degrees)) == pytest.approx(share, abs=0.005)


def test_a_view_is_shared_where_both_see_the_same_nodes() -> None:
    first, second = np.arange(NODES) < 12, np.arange(NODES) >= 9
    still = turned(0.0)
    assert shared_view(first, still, second, still) == pytest.approx(3 / 12)
    assert shared_view(second, still, first, still) == pytest.approx(3 / 15)
    grown = np.ones(NODES + 9, bool)
    assert shared_view(first, still, grown, turned(0.0, NODES + 9)) == 1.0
    assert shared_view(np.zeros(NODES, bool), still, first, still) == 0.0


def test_a_model_that_stays_as_it_is_has_one_keyframe_for_good() -> None:
    played = Played()
    assert played.play([0.0] * 90) == {n: 0 for n in range(4, 90, 4)}


def test_the_frame_after_a_keyframe_is_left_to_the_flow_between_frames() -> None:
    assert Played(flow_every=1).play([0.0, 0.0, 0.0, 0.0]) == {2: 0, 3: 0}


def test_a_turn_is_followed_from_the_oldest_view_that_still_shows_the_model() -> None:
    turns = [6.0 * n for n in range(20)]
    # Views 30 degrees apart become keyframes; each is followed until the model has turned by 41 degrees.
    found = Played(flow_every=1).play(turns)
    assert all(6.0 * (frame - keyframe) <= 41.5 + 6.0 for frame, keyframe in found.items())
    assert len(set(found.values())) >= 3 and list(found.values()) == sorted(found.values())


def test_a_turn_that_closes_is_tied_to_the_first_view() -> None:
    found = Played(flow_every=2, capacity=32).play([6.0 * n for n in range(61)] + [0.0] * 8)
    assert found[40] > 20
    assert [found[n] for n in (62, 64, 66, 68)] == [0, 0, 0, 0]


def test_the_first_view_outlives_all_others() -> None:
    played = Played(capacity=3, flow_every=2)
    played.play([10.0 * n for n in range(30)])
    found = played.play([0.0] * 6)
    assert (found[32], found[34]) == (0, 0)


def test_a_frame_that_shows_nothing_is_no_keyframe() -> None:
    played = Played(flow_every=1)
    assert [played.show(0.0, ~ALL) for _ in range(4)] == [None] * 4
    played.show(0.0)
    assert [played.show(0.0) for _ in range(3)] == [None, 4, 4]


def test_none_are_kept_when_they_are_off() -> None:
    assert Played(capacity=0).play([0.0] * 12) == {}


def seen(share: float) -> FlowField:
    """No motion, believed on a share of the mask."""
    weight = np.zeros(MASK.shape, np.float32)
    rows = np.flatnonzero(MASK.any(axis=1))
    weight[rows[: round(share * len(rows))]] = 1.0
    return FlowField(0, 0, np.zeros((*MASK.shape, 2), np.float32), weight * MASK)


@pytest.mark.parametrize(("share", "enough"), [(0.0, False), (0.45, False), (0.55, True), (1.0, True)])
def test_a_keyframe_of_which_less_than_half_is_seen_is_ignored(share: float, enough: bool) -> None:
    played = Played()
    assert played.play([0.0] * 5) == {4: 0}
    kept, flow = played.kept, seen(share)
    assert kept.shows_enough(flow) is enough
    on_device = replace(flow, weight=wp.array(flow.weight, dtype=float, device=DEVICE))
    assert kept.shows_enough(on_device) is enough
    assert (kept.used_count, kept.ignored_count) == (2 * enough, 2 * (not enough))


def test_reset_forgets_the_keyframes() -> None:
    played = Played()
    played.play([0.0] * 3)
    played.kept.reset()
    assert [played.kept.due() for _ in range(12)] == [None] * 12
