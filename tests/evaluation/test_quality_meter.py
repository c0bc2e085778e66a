"""The quality meter against closed forms and numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.evaluation.surface import VERTEX_STRIDE, QualityMeter
from bodystream.pipelines.capture.result import LiveSurface
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from helpers.pipeline_frames import DEVICE, frames

CAMERA = CameraIntrinsics(120.0, 118.0, 79.5, 59.5, 160, 120)


def live(vertices: Array, faces: Array) -> LiveSurface:
    points = wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device=DEVICE)
    indices = wp.array(np.ascontiguousarray(faces, np.int32), dtype=wp.vec3i, device=DEVICE)
    return LiveSurface(points, wp.zeros_like(points), indices, len(vertices), len(faces))


def sheet(slope: float = 0.2, columns: int = 24, rows: int = 18) -> tuple[Array, Array]:
    """The plane z = 1.5 + slope x over [-0.5, 0.5] x [-0.35, 0.35] [m]."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, columns), np.linspace(-0.35, 0.35, rows))
    vertices = np.stack([x, y, 1.5 + slope * x], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    faces = np.concatenate([np.stack([a, a + columns, a + 1], 1), np.stack([a + 1, a + columns, a + columns + 1], 1)])
    return vertices.astype(np.float32), faces.astype(np.int32)


def sheet_depth(slope: float = 0.2) -> Array:
    """Depth of the same sheet by intersecting each pixel's ray with the plane."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    ray_x, ray_y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    z = 1.5 / (1 - slope * ray_x)
    return np.where((np.abs(z * ray_x) <= 0.5) & (np.abs(z * ray_y) <= 0.35), z, 0).astype(np.float32)


def frame(depth_m: Array) -> RgbdFrame:
    return RgbdFrame(0, 0, depth_m.astype(np.float32), CAMERA)


@pytest.fixture
def meter() -> QualityMeter:
    return QualityMeter(CAMERA, DEVICE)


def test_render_is_the_depth_along_each_ray(meter: QualityMeter) -> None:
    expected, rendered = sheet_depth(), meter.render(live(*sheet()))
    assert ((expected > 0) != (rendered > 0)).sum() <= 2 * (CAMERA.width + CAMERA.height) * 0.05, "outline"
    both = (expected > 0) & (rendered > 0)
    assert both.sum() > 3000
    np.testing.assert_allclose(rendered[both], expected[both], atol=1e-4)


def test_render_takes_the_nearest_and_leaves_out_what_is_behind_the_camera(meter: QualityMeter) -> None:
    vertices, faces = sheet(0.0)
    far, behind = vertices + [0, 0, 0.5], vertices * [1, 1, -1]
    together = np.concatenate([far, behind, vertices])
    count = len(vertices)
    rendered = meter.render(live(together, np.concatenate([faces, faces + count, faces + 2 * count])))
    near = meter.render(live(vertices, faces))
    np.testing.assert_array_equal(rendered[near > 0], near[near > 0])
    assert np.count_nonzero(rendered) == np.count_nonzero(near), "the farther sheet is smaller in the image"


def test_silhouette_is_intersection_over_union(meter: QualityMeter) -> None:
    surface = live(*sheet())
    model = meter.render(surface) > 0
    depth_m = np.full(model.shape, 1.5, np.float32)
    for shift in (0, 7, 60):
        mask = np.roll(model, shift, axis=1)
        expected = (model & mask).sum() / (model | mask).sum()
        assert meter.measure(frame(depth_m), mask, surface).silhouette_iou == pytest.approx(expected, abs=1e-12)
    nothing = np.zeros_like(model)
    assert meter.measure(frame(depth_m), nothing, surface).silhouette_iou == 0


def test_depth_residual_is_the_median_over_measured_pixels_of_the_mask(meter: QualityMeter) -> None:
    surface = live(*sheet())
    model_m = meter.render(surface)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, model_m.shape).astype(np.float32)
    depth_m = np.where(model_m > 0, model_m + noise, 3.0).astype(np.float32)
    depth_m[::3] = 0  # holes
    mask = model_m > 0
    mask[:, :70] = False
    seen = mask & (depth_m > 0)
    expected = np.median(np.abs(model_m[seen] - depth_m[seen]))
    found = meter.measure(frame(depth_m), mask, surface)
    assert found.depth_residual_m == pytest.approx(expected, rel=1e-5)
    assert np.isnan(found.surface_error_m), "no truth"
    assert np.isnan(meter.measure(frame(np.zeros_like(depth_m)), mask, surface).depth_residual_m)


def test_the_masks_of_the_source_win(meter: QualityMeter) -> None:
    surface = live(*sheet())
    model = meter.render(surface) > 0
    given = replace(frame(np.full(model.shape, 1.5)), mask=model)
    assert meter.measure(given, np.zeros_like(model), surface).silhouette_iou == 1


def test_nothing_at_all_gives_nan(meter: QualityMeter) -> None:
    nothing = live(np.zeros((3, 3)), np.zeros((1, 3)))
    found = meter.measure(frame(np.zeros((120, 160))), np.zeros((120, 160), np.bool_), nothing)
    assert np.isnan(found.silhouette_iou) and np.isnan(found.depth_residual_m)


def test_surface_error_is_the_distance_to_the_true_surface() -> None:
    """The truth itself gives zero; the truth pushed out along its normals gives at most the push, and nearly that."""
    seen = frames()[5]
    assert seen.truth is not None and seen.truth.mesh.normals is not None
    meter = QualityMeter(seen.intrinsics, DEVICE)
    mesh = seen.truth.mesh
    exact = meter.measure(seen, seen.truth.mask, live(mesh.vertices, mesh.faces))
    assert exact.surface_error_m < 1e-5
    assert exact.silhouette_iou > 0.995
    pushed = mesh.vertices + 0.01 * mesh.normals
    found = meter.measure(seen, seen.truth.mask, live(pushed, mesh.faces))
    assert 0.007 < found.surface_error_m <= 0.01 + 1e-5
    # against numpy: the distance to the nearest of many samples of the surface bounds it from above
    corners = mesh.vertices[mesh.faces]
    samples = np.concatenate([corners.mean(axis=1), mesh.vertices])
    some = pushed[:: VERTEX_STRIDE * 40]
    nearest = np.sqrt(((some[:, None] - samples[None]) ** 2).sum(-1)).min(axis=1)
    assert found.surface_error_m < nearest.mean() + 0.002


def test_buffers_follow_the_size_of_the_surface(meter: QualityMeter) -> None:
    small = live(*sheet(columns=4, rows=3))
    assert np.count_nonzero(meter.render(small)) > 3000
    large = live(*sheet(columns=80, rows=60))
    covered = np.count_nonzero(meter.render(large))
    assert np.count_nonzero(meter.render(small)) == pytest.approx(covered, rel=0.05)
