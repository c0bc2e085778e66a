"""A capture finds its model again, without a restart, against the synthetic camera's truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from bodystream.pipelines.capture.pipeline import Capture
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import Array, RgbdFrame, Status
from helpers.pipeline_frames import DEVICE, empty, new_capture

MOST_FRAMES = 10  # until the model is tracked again
FOUND_LIMIT_M = 0.02  # mean distance of the live surface to the true one; it is 11 to 15 mm before, in a voxel of 1 cm


class Moved:
    """A motion whose body is carried along a path in metres of its own frame."""

    def __init__(self, motion: object, path: Callable[[float], tuple[float, float, float]]) -> None:
        self._motion, self._path = motion, path

    def transforms(self, time_s: Array) -> Array:
        moved = np.array(self._motion.transforms(time_s))  # type: ignore[attr-defined]
        moved[..., :3, 3] += np.array([self._path(float(t)) for t in time_s])[:, None]
        return moved


def carried(
    path: Callable[[float], tuple[float, float, float]], count: int, motion: str = "limbs", rate_hz: float = 30.0
) -> list[RgbdFrame]:
    config = SyntheticConfig(width=320, height=240, frames=count, motion=motion, rate_hz=rate_hz)  # type: ignore[arg-type]
    source = SyntheticSource(config, DEVICE)
    source.motion = Moved(source.motion, path)  # type: ignore[assignment]
    return [replace(frame, t_ns=10**9 + (frame.device_t_ns or 0)) for frame in source]


def behind_board(frame: RgbdFrame) -> RgbdFrame:
    """The same moment with a board before the whole picture."""
    return replace(frame, depth_m=np.ones_like(frame.depth_m), truth=None)


def error_m(capture: Capture, frame: RgbdFrame) -> float:
    mesh = capture.live_mesh()
    assert mesh is not None and frame.truth is not None
    return float(KDTree(frame.truth.mesh.vertices).query(mesh.vertices)[0].mean())


def found_again(frames: list[RgbdFrame], gone_until: int) -> int:
    """Frames after `gone_until` until one is tracked and right; the model is still the one of the first frame."""
    capture = new_capture()
    try:
        for number, frame in enumerate(frames):
            result = capture.step(frame)
            if number >= gone_until and result.status is Status.TRACKED and error_m(capture, frame) < FOUND_LIMIT_M:
                assert capture.restart_count == 0
                return number - gone_until + 1
        raise AssertionError("the model was not found again")
    finally:
        capture.close()


def test_a_jump_of_50_cm_is_followed() -> None:
    frames = carried(lambda t: (0.5 if t > 0.39 else 0.0, 0.0, 0.0), 12 + MOST_FRAMES)
    assert found_again(frames, 12) <= MOST_FRAMES


def test_the_model_is_placed_anew_after_a_second_without_anybody() -> None:
    frames = carried(lambda t: (0.5 * min(max(t - 0.4, 0.0), 1.0), 0.0, 0.0), 42 + MOST_FRAMES)
    seen = [frame if not 12 <= number < 42 else empty(frame) for number, frame in enumerate(frames)]
    assert found_again(seen, 42) <= MOST_FRAMES


def test_the_model_is_placed_anew_after_a_second_behind_an_obstacle() -> None:
    frames = carried(lambda t: (-0.4 * min(max(t - 0.4, 0.0), 1.0), 0.0, 0.0), 42 + MOST_FRAMES)
    hidden = [frame if not 12 <= number < 42 else behind_board(frame) for number, frame in enumerate(frames)]
    assert found_again(hidden, 42) <= MOST_FRAMES


def test_a_slow_camera_is_followed() -> None:
    """The person goes to and fro by 30 cm a frame, farther than flow and prediction reach."""
    frames = carried(lambda t: (0.6 - abs((6 * 0.3 * t) % 2.4 - 1.2), 0.0, 0.0), 16, "walk", rate_hz=6.0)
    capture = new_capture()
    try:
        for frame in frames:
            assert capture.step(frame).status is Status.TRACKED
            assert error_m(capture, frame) < FOUND_LIMIT_M
        assert capture.restart_count == 0
    finally:
        capture.close()
