"""A capture finds its model again, without a restart, against the synthetic camera's truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import Array, RgbdFrame, Status
from helpers.pipeline_frames import DEVICE, empty, new_capture

MOST_FRAMES = 10  # until the model is tracked again
AFTER = 3  # frames more that it has to stay so
FOUND_LIMIT_M = 0.02  # mean distance of the live surface to the true one; it is 11 to 15 mm before, in a voxel of 1 cm
SEEN, GONE = 6, 30  # frames before something happens, and for how long it goes on: a second
Path = Callable[[float], tuple[float, float, float]]


class Moved:
    """A motion whose body is carried along a path in metres of its own frame."""

    def __init__(self, motion: object, path: Path) -> None:
        self._motion, self._path = motion, path

    def transforms(self, time_s: Array) -> Array:
        moved = np.array(self._motion.transforms(time_s))  # type: ignore[attr-defined]
        moved[..., :3, 3] += np.array([self._path(float(t)) for t in time_s])[:, None]
        return moved


def carried(path: Path, count: int, motion: str = "limbs", rate_hz: float = 30.0) -> list[RgbdFrame]:
    config = SyntheticConfig(width=320, height=240, frames=count, motion=motion, rate_hz=rate_hz)  # type: ignore[arg-type]
    source = SyntheticSource(config, DEVICE)
    source.motion = Moved(source.motion, path)  # type: ignore[assignment]
    return [replace(frame, t_ns=10**9 + (frame.device_t_ns or 0)) for frame in source]


def hidden(frame: RgbdFrame, first: float, last: float) -> RgbdFrame:
    """The same moment with a grained board a metre away before these shares of the picture's width."""
    assert frame.colour is not None
    depth_m, colour = frame.depth_m.copy(), frame.colour.copy()
    columns = slice(round(first * depth_m.shape[1]), round(last * depth_m.shape[1]))
    depth_m[:, columns] = 1.0
    colour[:, columns] = np.random.default_rng(1).integers(60, 200, colour[:, columns].shape)
    return replace(frame, depth_m=depth_m, colour=colour, truth=None)


def found_again(frames: Sequence[RgbdFrame], seen_from: int) -> int:
    """Frames from `seen_from` on until the first model is tracked, and right; it stays so for `AFTER` frames more.

    No frame before that, and none without anybody, may be told as tracked.
    """
    capture = new_capture()
    found = None
    try:
        for number, frame in enumerate(frames):
            tracked = capture.step(frame).status is Status.TRACKED
            if frame.truth is None:
                assert not tracked, number
                continue
            mesh = capture.live_mesh()
            assert mesh is not None
            error_m = KDTree(frame.truth.mesh.vertices).query(mesh.vertices)[0].mean()
            assert error_m < FOUND_LIMIT_M or not tracked, (number, error_m)
            if number >= seen_from:
                assert tracked or found is None, number
                found = number if tracked and found is None else found
                if found is not None and number == found + AFTER:
                    break
        assert capture.restart_count == 0
    finally:
        capture.close()
    assert found is not None, "the model was not found again"
    return found - seen_from + 1


@pytest.mark.parametrize("jump_m", [(0.5, 0.0, 0.0), (0.0, 0.0, 0.5), (0.0, 0.0, -0.5)])
def test_a_jump_of_50_cm_is_followed(jump_m: tuple[float, float, float]) -> None:
    at_s = (SEEN - 0.5) / 30
    frames = carried(lambda t: jump_m if t > at_s else (0.0, 0.0, 0.0), SEEN + MOST_FRAMES + AFTER)
    assert found_again(frames, SEEN) <= MOST_FRAMES


def test_the_model_is_placed_anew_after_a_second_without_anybody() -> None:
    gone = range(SEEN, SEEN + GONE)
    frames = carried(lambda t: (0.5 * min(max(t - 0.2, 0.0), 1.0), 0.0, 0.0), gone.stop + MOST_FRAMES + AFTER)
    seen = [empty(frame) if number in gone else frame for number, frame in enumerate(frames)]
    assert found_again(seen, gone.stop) <= MOST_FRAMES


@pytest.mark.parametrize("board", [(0.0, 1.0), (0.2, 0.8), (0.3, 0.65)])
def test_the_model_is_placed_anew_after_a_second_behind_an_obstacle(board: tuple[float, float]) -> None:
    """Also behind one of a person's size, which is not taken for the person."""
    gone = range(SEEN, SEEN + GONE)
    frames = carried(lambda t: (-0.4 * min(max(t - 0.2, 0.0), 1.0), 0.0, 0.0), gone.stop + MOST_FRAMES + AFTER)
    seen = [hidden(frame, *board) if number in gone else frame for number, frame in enumerate(frames)]
    assert found_again(seen, gone.stop) <= MOST_FRAMES


@pytest.mark.parametrize("step_m", [0.1, 0.2, 0.4])
def test_a_slow_camera_is_followed(step_m: float) -> None:
    """The person walks and is carried to and fro by this much a frame, farther than flow and prediction reach."""
    frames = carried(lambda t: (0.6 - abs((6 * step_m * t) % 2.4 - 1.2), 0.0, 0.0), 14, "walk", rate_hz=6.0)
    capture = new_capture()
    try:
        for number, frame in enumerate(frames):
            # A part may be doubted (`degraded`); the distance to the truth is what counts here.
            assert capture.step(frame).status is not Status.LOST, number
            mesh = capture.live_mesh()
            assert mesh is not None and frame.truth is not None
            assert KDTree(frame.truth.mesh.vertices).query(mesh.vertices)[0].mean() < FOUND_LIMIT_M, number
        assert capture.restart_count == 0
    finally:
        capture.close()
