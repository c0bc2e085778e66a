"""A capture of a cube of 11 cm that a seed names, and of a source whose masks end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bodystream.foreground import ForegroundConfig
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.types import Array, CameraIntrinsics, RgbdFrame, Status
from helpers.capsule_scene import BOX, CapsuleScene, box
from helpers.pipeline_frames import DEVICE, frames

CAMERA = CameraIntrinsics(420.0, 420.0, 240.0, 180.0, 480, 360)
START, SIZE_M, AWAY_M = -0.12, 0.11, 1.4
SEEDED = ForegroundConfig(use_given_mask=False, seed_px=(round(420 * START / AWAY_M + 240), 180))


@cache
def cubes(count: int = 24) -> tuple[tuple[RgbdFrame, Array], ...]:
    """A patterned cube that moves 1 cm a frame to the right and turns a little, before a wall; with its true masks."""
    scene = CapsuleScene(CAMERA, pitch=0.0)
    pattern = np.random.default_rng(5).integers(40, 220, (40, 40), np.uint8)
    made = []
    for index in range(count):
        x = START + 0.01 * index
        depth_m, label = scene.render([], boxes=[box((x, 1.2, AWAY_M), (SIZE_M,) * 3, 0.01 * index)], seed=index)
        v, u = np.indices(depth_m.shape)
        across = ((u - CAMERA.cx) / CAMERA.fx * depth_m - np.where(label == BOX, x, 0.0)) / 0.008
        down = (v - CAMERA.cy) / CAMERA.fy * depth_m / 0.008
        grey = pattern[down.astype(int) % 40, across.astype(int) % 40]
        colour = np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
        frame = RgbdFrame(index, 10**9 + index * 33_333_333, depth_m, CAMERA, colour)
        made.append((frame, (label == BOX) & (depth_m > 0)))
    return tuple(made)


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = Capture(CAMERA, DEVICE, CaptureConfig(foreground=SEEDED))
    yield made
    made.close()


def test_a_seeded_cube_is_tracked_on_all_frames_and_moves_as_it_does(capture: Capture) -> None:
    middles = []
    for frame, truth in cubes():
        result = capture.step(frame)
        assert result.status is Status.TRACKED, (frame.index, result.reason)
        overlap = (result.foreground.mask & truth).sum() / (result.foreground.mask | truth).sum()
        assert overlap > 0.9
        mesh = capture.live_mesh()
        assert mesh is not None and result.nodes >= 8
        middles.append(np.median(mesh.vertices[:, 0]))
    assert capture.restart_count == 0
    moved = middles[-1] - middles[3]
    assert moved == pytest.approx(0.01 * (len(middles) - 4), rel=0.12)
    # No vertex is far from the cube.
    inside = np.abs(mesh.vertices - [START + 0.01 * 23, 0.0, AWAY_M]).max(axis=1) < 0.75 * SIZE_M
    assert inside.mean() > 0.97


def test_a_body_after_a_cube_has_nodes_as_far_apart_as_ever(capture: Capture) -> None:
    assert capture.field.sigma_m == 0.05
    capture.step(cubes()[0][0])
    assert capture.field.sigma_m < 0.03
    body = Capture(frames()[0].intrinsics, DEVICE)
    try:
        body.step(frames()[0])
        assert body.field.sigma_m == 0.05 and body.field.reach_m == pytest.approx(0.125)
    finally:
        body.close()


def test_masks_that_end_are_told_by_status_note_and_report() -> None:
    notes: list[str] = []
    with CaptureSession(device=DEVICE, on_note=notes.append) as session:
        results = []
        for frame in frames()[:8]:
            assert frame.truth is not None
            given = replace(frame, mask=frame.truth.mask if frame.index < 4 else None, name=f"frame-{frame.index}")
            results.append(session.push(given))
        report, warnings = session.report, session.warnings
    told = [None if result is None else result.status for result in results]
    assert told == [Status.TRACKED] * 4 + [Status.DEGRADED] * 4
    assert all(r is not None and "no mask, unlike those before" in r.reason for r in results[4:])
    assert [line for line in notes if "frame-3" in line and "mask" in line] == notes and len(notes) == 1
    line = notes[0].removeprefix("warning: ")
    assert line in warnings and line in report.warnings
