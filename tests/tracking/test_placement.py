"""Rigid placement of a live model on a frame: found from afar, left alone where it fits or where nothing is better."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame
from bodystream.tracking import Tracker
from bodystream.tracking.model import PointSampler
from bodystream.tracking.placement import Placement, share_on
from helpers.pipeline_frames import DEVICE, frames
from helpers.true_surface import TrueSurface, mask_of

FRAME = frames("limbs", 1, "none")[0]


class Model:
    """The body of a frame in a graph, and a placement on that same frame."""

    def __init__(self) -> None:
        self.image = DeviceFrame(FRAME.intrinsics, DEVICE)
        self.image.upload(FRAME, mask_of(FRAME))
        tracker = Tracker(FRAME.intrinsics, DEVICE)
        tracker.start(self.image)
        tracker.close()
        self.field: WarpField = tracker.field
        self.points = PointSampler(DEVICE, 6000).take(TrueSurface.of(tracker, FRAME))
        self.placement = Placement(self.field, FRAME.intrinsics)

    def displace(self, yaw_deg: float, shift_m: tuple[float, float, float]) -> None:
        turn = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
        middle, nodes = self.field.host_positions.mean(axis=0), self.field.host_positions
        moved = (nodes - middle) @ turn.T + middle + shift_m
        self.field.set_motion(np.tile(turn, (len(nodes), 1, 1)), moved - nodes)

    def offset_m(self) -> float:
        """Mean distance of the nodes to where the frame has them."""
        return float(np.linalg.norm(self.field.motion()[1], axis=1).mean())


@pytest.mark.parametrize(
    ("yaw_deg", "shift_m"),
    [(0.0, (0.5, 0.0, 0.0)), (0.0, (-0.2, 0.1, 0.5)), (25.0, (0.3, 0.0, 0.1)), (-40.0, (0.0, 0.0, 0.0))],
)
def test_a_displaced_model_is_placed_where_it_is_seen(yaw_deg: float, shift_m: tuple[float, float, float]) -> None:
    model = Model()
    model.displace(yaw_deg, shift_m)
    away_m = model.offset_m()
    assert model.placement.place(model.points, model.image)
    assert away_m > 0.1
    assert model.offset_m() < 0.01


def test_a_model_that_fits_is_left_alone() -> None:
    model = Model()
    assert not model.placement.place(model.points, model.image)
    assert (model.placement.tried_count, model.placement.placed_count) == (1, 0)
    assert model.offset_m() == 0.0


def test_a_frame_without_foreground_moves_nothing() -> None:
    model = Model()
    model.displace(0.0, (0.3, 0.0, 0.0))
    before = [part.copy() for part in model.field.motion()]
    model.image.upload(FRAME, np.zeros_like(FRAME.depth_m, bool))
    assert not model.placement.place(model.points, model.image)
    wp.synchronize()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.field.motion(), strict=True))


def test_attempts_that_fail_become_rarer_until_the_model_is_found() -> None:
    model = Model()
    model.image.upload(FRAME, np.zeros_like(FRAME.depth_m, bool))
    tried = []
    for _ in range(24):
        tried.append(model.placement.is_due())
        if tried[-1]:
            assert not model.placement.place(model.points, model.image)
            assert not model.placement.is_due(), "once a frame"
        model.placement.missed()
    assert np.flatnonzero(tried).tolist() == [0, 2, 6, 14, 22]
    model.placement.found()
    assert model.placement.is_due()


def test_the_share_on_the_foreground_counts_what_is_beside_the_picture() -> None:
    image = DeviceFrame(FRAME.intrinsics, DEVICE)
    mask = np.zeros_like(FRAME.depth_m, bool)
    mask[:, :160] = True
    image.upload(FRAME, mask)
    pixels = np.array([[10, 10], [159.4, 10], [159.6, 10], [300, 10], [-1, 10], [10, 239.6]], np.float32)
    assert share_on(image, pixels) == pytest.approx(2 / 6)
    assert share_on(image, pixels[:0]) == 0.0
