"""Deformation and geometry error against plain loops, and against a reconstruction that is the truth."""

from __future__ import annotations

from math import dist

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.evaluation.reconstruction.metrics import (
    MAX_ERROR_M,
    annotated_points,
    deformation_errors_m,
    geometry_errors_m,
    solid,
    visible_points,
)
from bodystream.types import Array, CameraIntrinsics

CAMERA = CameraIntrinsics(60.0, 61.0, 23.5, 15.5, 48, 32)


def scene(seed: int = 0) -> tuple[Array, Array]:
    """Depth with holes, one of them nan, and a mask with a ragged outline."""
    rng = np.random.default_rng(seed)
    depth_m = rng.uniform(0.8, 1.2, (32, 48)).astype(np.float32)
    depth_m[rng.uniform(size=depth_m.shape) < 0.01] = 0.0
    depth_m[20, 30] = np.nan
    v, u = np.indices(depth_m.shape)
    return depth_m, (np.hypot((u - 24) / 20, (v - 16) / 13) < 1.0) & (rng.uniform(size=depth_m.shape) < 0.997)


def plainly_solid(depth_m: Array, mask: Array, rim: int) -> list[list[bool]]:
    height, width = depth_m.shape

    def measured(v: int, u: int) -> bool:
        inner = 0 < v < height - 1 and 0 < u < width - 1
        return inner and bool(mask[v, u]) and depth_m[v, u] > 0

    around = range(-rim, rim + 1)
    return [[all(measured(v + b, u + a) for b in around for a in around) for u in range(width)] for v in range(height)]


def plain_point(u: int, v: int, z: float) -> tuple[float, float, float]:
    return (u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z


@pytest.mark.parametrize("rim", [1, 2, 5])
def test_outlines_do_not_count(rim: int) -> None:
    depth_m, mask = scene()
    got = solid(depth_m, mask, rim)
    assert np.array_equal(got, plainly_solid(depth_m, mask, rim)) and (rim == 5 or got.any())
    everything = solid(np.ones((32, 48), np.float32), np.ones((32, 48), bool), rim)
    assert everything.sum() == (32 - 2 * rim - 2) * (48 - 2 * rim - 2)


def test_annotated_pixels_are_in_space_where_the_depth_says() -> None:
    depth_m, mask = scene()
    pixels = np.random.default_rng(1).uniform([0, 0], [47.4, 31.4], (300, 2))
    points, counts = annotated_points(pixels, depth_m, mask, CAMERA)
    whole = plainly_solid(depth_m, mask, 2)
    for (u, v), point, count in zip(pixels, points, counts, strict=True):
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        assert count == whole[row][column]
        if count:
            assert point == pytest.approx(plain_point(column, row, float(depth_m[row, column])), abs=1e-6)
    assert 20 < counts.sum() < 280


def plain_deformation(point: Array, target: Array, vertices: Array, later: Array) -> float:
    order = sorted(range(len(vertices)), key=lambda i: dist(vertices[i], point))[:6]
    reach = dist(vertices[order[5]], point)
    weights = [(1 - dist(vertices[i], point) / reach) ** 2 for i in order[:5]]
    carried = [
        sum(w * later[i][axis] for w, i in zip(weights, order, strict=False)) / sum(weights) for axis in range(3)
    ]
    return dist(carried, target)


def test_deformation_is_that_of_the_five_nearest_vertices() -> None:
    rng = np.random.default_rng(2)
    vertices = rng.uniform(-0.3, 0.3, (400, 3)).astype(np.float32)
    later = (vertices + rng.normal(0, 0.05, (400, 3))).astype(np.float32)
    points, targets = rng.uniform(-0.3, 0.3, (40, 3)), rng.uniform(-0.3, 0.3, (40, 3))
    got = deformation_errors_m(points, targets, vertices, later)
    wanted = [plain_deformation(p, q, vertices, later) for p, q in zip(points, targets, strict=True)]
    assert np.allclose(got, wanted, atol=1e-6)
    # What stands exactly where six vertices lie goes with their mean.
    stack = np.tile(vertices[:1], (6, 1))
    moved = stack + np.arange(6)[:, None].astype(np.float32) * np.array([0.01, 0, 0], np.float32)
    at_once = deformation_errors_m(stack[:1].astype(float), stack[:1].astype(float), stack, moved)
    assert 0.0 <= at_once[0] <= 0.05


def test_geometry_is_the_distance_to_the_nearest_vertex() -> None:
    depth_m, mask = scene(3)
    mask = np.ones_like(mask)
    depth_m[depth_m == 0] = 1.0
    points = visible_points(depth_m, mask, CAMERA)
    whole = plainly_solid(depth_m, mask, 5)
    wanted = [plain_point(u, v, float(depth_m[v, u])) for v in range(32) for u in range(48) if whole[v][u]]
    assert len(points) > 100 and np.allclose(points, wanted, atol=1e-6)
    vertices = np.random.default_rng(4).uniform([-0.4, -0.3, 0.8], [0.4, 0.3, 1.2], (50, 3)).astype(np.float32)
    plain = [min(dist(p, v) for v in vertices) for p in points]
    assert np.allclose(geometry_errors_m(points, vertices), plain, atol=1e-6)


def test_without_a_surface_the_largest_error_counts() -> None:
    points = np.zeros((3, 3))
    assert (geometry_errors_m(points, np.zeros((0, 3))) == MAX_ERROR_M).all()
    assert (deformation_errors_m(points, points, np.zeros((5, 3)), np.zeros((5, 3))) == MAX_ERROR_M).all()


def test_what_does_not_fit_is_refused() -> None:
    depth_m, mask = scene()
    with pytest.raises(InputError, match=r"the mask is 47x32, but the depth is 48x32"):
        visible_points(depth_m, mask[:, 1:], CAMERA)
    with pytest.raises(InputError, match=r"pixel \(48, 3\) is annotated, outside of the 48x32 image"):
        annotated_points(np.array([[4.0, 4.0], [48.0, 3.0]]), depth_m, mask, CAMERA)
    with pytest.raises(InputError, match="9 vertices in the source frame and 8 in the target"):
        deformation_errors_m(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((9, 3)), np.zeros((8, 3)))
