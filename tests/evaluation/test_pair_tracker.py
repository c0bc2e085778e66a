"""Tracking of one pair: known motions come back, and what cannot be tracked or measured is refused in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.correspondence import ConstantCorrespondence, DisConfig, DisCorrespondence
from bodystream.errors import InputError
from bodystream.evaluation.pair import PairConfig, PairTracker, pair_errors
from bodystream.geometry.camera import project
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from helpers.pipeline_frames import DEVICE, empty, frames

CAMERA = CameraIntrinsics(230.0, 231.0, 79.5, 59.5, 160, 120)
SHIFT_M = np.array([0.06, -0.03, 0.05])


def bump(shift_m: Array | None = None) -> RgbdFrame:
    """A hill at about 1 m, seen whole; shifted as one body if asked for. Depth by fixed-point ray intersection."""
    dx, dy, dz = np.zeros(3) if shift_m is None else shift_m
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    ray_x, ray_y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    z = np.full(u.shape, 1.0)
    for _ in range(60):
        z = 1.0 + dz - 0.12 * np.exp(-((ray_x * z - dx) ** 2 + (ray_y * z - dy) ** 2) / (2 * 0.1**2))
    return RgbdFrame(0, 0 if shift_m is None else 1, z.astype(np.float32), CAMERA)


def true_motion(source: RgbdFrame) -> tuple[Array, Array]:
    """Flow [px] and scene flow [m] of the shift."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    z = source.depth_m.astype(float)
    points = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], -1)
    ends = project((points + SHIFT_M).reshape(-1, 3), CAMERA).reshape(*u.shape, 2)
    flow = (ends - np.stack([u, v], -1)).astype(np.float32)
    return flow, np.broadcast_to(SHIFT_M, (*u.shape, 3)).astype(np.float32)


def test_a_known_shift_comes_back() -> None:
    source, target = bump(), bump(SHIFT_M)
    mask = np.zeros(source.depth_m.shape, np.bool_)
    mask[30:90, 40:120] = True
    source = replace(source, mask=mask)
    flow, scene_flow = true_motion(source)
    result = PairTracker(ConstantCorrespondence(flow), DEVICE).step(source, target)
    errors = pair_errors(result, source, flow, scene_flow)
    assert errors.no_motion_mm == pytest.approx(np.linalg.norm(SHIFT_M) * 1e3, rel=1e-4)
    assert errors.epe3d_mm < 1.0 and errors.epe3d_median_mm < 1.0
    assert errors.epe2d_px < 0.2 and errors.flow_epe2d_px == 0
    assert len(result.pixels) == len(result.points) == len(result.warped) == mask.sum()
    assert 0 < result.matches <= mask.sum() and result.nodes > 5 and result.solve_ms > 0 and result.flow_ms > 0


def test_no_motion_stays_where_it_is() -> None:
    source = bump()
    flow = np.zeros((*source.depth_m.shape, 2), np.float32)
    result = PairTracker(ConstantCorrespondence(flow), DEVICE).step(source, bump())
    assert np.abs(result.warped - result.points).max() < 1e-4


def test_flow_of_images_gives_a_real_motion() -> None:
    """Two frames of the moving body, DIS flow, against the truth of the synthetic camera."""
    first, second = frames("limbs", 30, "none")[8], frames("limbs", 30, "none")[16]
    assert first.truth is not None and second.truth is not None
    source = replace(first, mask=first.truth.mask)
    face, weight = first.truth.pixel_face, first.truth.pixel_barycentric
    corners = first.truth.mesh.faces[np.maximum(face, 0)]
    w = np.concatenate([1 - weight.sum(-1, keepdims=True), weight], -1)[..., None]
    start, end = ((mesh.vertices[corners] * w).sum(axis=2) for mesh in (first.truth.mesh, second.truth.mesh))
    scene_flow = np.where((face >= 0)[..., None], end - start, np.nan).astype(np.float32)
    v, u = np.mgrid[: face.shape[0], : face.shape[1]]
    flow = project(end.reshape(-1, 3), first.intrinsics).reshape(*face.shape, 2) - np.stack([u, v], -1)
    flow = np.where((face >= 0)[..., None], flow, np.nan).astype(np.float32)
    estimator = DisCorrespondence(DisConfig.pairwise())
    result = PairTracker(estimator, DEVICE, PairConfig(least_piece=200)).step(source, second)
    errors = pair_errors(result, source, flow, scene_flow)
    assert errors.no_motion_mm > 5
    assert errors.epe3d_mm < 0.6 * errors.no_motion_mm


def test_nothing_to_track_is_said() -> None:
    tracker = PairTracker(DisCorrespondence(DisConfig.pairwise()), DEVICE)
    source, target = frames()[0], frames()[1]
    with pytest.raises(InputError, match="no connected surface of 1000 pixels.*0 pixels with depth"):
        tracker.step(empty(source), target)
    speck = np.zeros(source.depth_m.shape, np.bool_)
    speck[100:110, 150:160] = True
    with pytest.raises(InputError, match="no connected surface"):
        tracker.step(replace(source, mask=speck), target)


def test_frames_of_different_size_are_refused() -> None:
    tracker = PairTracker(DisCorrespondence(DisConfig.pairwise()), DEVICE)
    with pytest.raises(InputError, match="320x240|size"):
        tracker.step(frames()[0], bump())


def test_unknown_scene_flow_is_refused() -> None:
    source = bump()
    flow, scene_flow = true_motion(source)
    result = PairTracker(ConstantCorrespondence(flow), DEVICE).step(source, bump(SHIFT_M))
    with pytest.raises(InputError, match="no tracked pixel has a finite scene flow"):
        pair_errors(result, source, flow, np.full_like(scene_flow, np.nan))
