"""Distances to the true surface against trimesh and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from bodystream.errors import InputError
from bodystream.geometry.camera import back_project
from bodystream.sources.synthetic import (
    SyntheticConfig,
    SyntheticSource,
    TruthSurface,
    surface_error_m,
    visible_points,
)
from bodystream.types import FrameTruth, Mesh, RgbdFrame


@pytest.fixture(scope="module")
def frames() -> list[RgbdFrame]:
    source = SyntheticSource(SyntheticConfig(seed=1, noise="none"), device="cpu")
    return [source.render(index, 0) for index in (0, 100)]


def truth_of_mesh(vertices: np.ndarray, faces: np.ndarray) -> FrameTruth:
    empty = np.zeros((2, 2))
    return FrameTruth(
        Mesh(vertices.astype(np.float32), faces.astype(np.int32)),
        empty.astype(np.int32) - 1,
        np.zeros((2, 2, 2), np.float32),
        empty.astype(np.float32),
        empty.astype(bool),
    )


def test_distances_agree_with_trimesh_after_a_refit(frames: list[RgbdFrame]) -> None:
    surface = TruthSurface("cpu")
    rng = np.random.default_rng(0)
    for frame in frames:
        assert frame.truth is not None
        mesh = frame.truth.mesh
        points = mesh.vertices[rng.integers(0, len(mesh.vertices), 60)] + rng.normal(0, 0.02, (60, 3))
        points = points.astype(np.float32)
        triangles = mesh.vertices.astype(np.float64)[mesh.faces]
        expected = [  # of all triangles, without a hierarchy
            np.linalg.norm(
                trimesh.triangles.closest_point(triangles, np.tile(p, (len(triangles), 1))) - p, axis=1
            ).min()
            for p in points.astype(np.float64)
        ]
        np.testing.assert_allclose(surface.distance_m(points, frame.truth), expected, atol=2e-6)


def test_distance_to_a_square_is_the_closed_form() -> None:
    square = truth_of_mesh(np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]), np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.array([[0.3, 0.6, 1.25], [0.5, 0.5, 1.0], [-0.3, 0.5, 1.4], [1.3, 1.4, 1.0], [0.2, 0.2, 9.0]])
    expected = [0.25, 0.0, 0.5, 0.5, 1.0]  # above, on it, beside an edge, beside a corner, out of reach
    np.testing.assert_allclose(TruthSurface("cpu").distance_m(points, square), expected, atol=1e-6)


def test_points_of_the_surface_have_no_error_and_offsets_have_theirs(frames: list[RgbdFrame]) -> None:
    truth = frames[1].truth
    assert truth is not None and truth.mesh.normals is not None
    surface = TruthSurface("cpu")
    seen = back_project(truth.depth_m, frames[1].intrinsics)[truth.mask]
    assert surface_error_m(seen, truth, surface).max() < 5e-6 * 400  # clamped pixels of edge-on faces
    assert np.median(surface_error_m(seen, truth, surface)) < 2e-6
    lifted = truth.mesh.vertices + 0.004 * truth.mesh.normals
    error = surface_error_m(lifted, truth, surface)
    assert error.max() <= 0.004 + 1e-5 and np.median(error) == pytest.approx(0.004, rel=0.05)


def test_another_topology_gets_its_own_hierarchy(frames: list[RgbdFrame]) -> None:
    truth = frames[0].truth
    assert truth is not None
    surface = TruthSurface("cpu")
    surface.distance_m(truth.mesh.vertices[:10], truth)
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    distance = surface.distance_m(np.array([[0.0, 0.0, 0.8]]), truth_of_mesh(sphere.vertices, sphere.faces))
    assert distance[0] == pytest.approx(0.3, abs=2e-3)


def test_only_points_that_the_camera_sees_are_kept(frames: list[RgbdFrame]) -> None:
    frame = frames[0]
    truth = frame.truth
    assert truth is not None and truth.mesh.normals is not None
    vertices = truth.mesh.vertices
    seen = visible_points(vertices, truth, frame.intrinsics, margin_m=0.005)
    facing = np.einsum("ij,ij->i", truth.mesh.normals, vertices) < 0
    assert seen[facing].mean() > 0.6 and seen[~facing].mean() < 0.2
    seen = visible_points(vertices, truth, frame.intrinsics)
    error = surface_error_m(vertices, truth, TruthSurface("cpu"), visible_in=frame.intrinsics)
    assert np.array_equal(np.isfinite(error), seen)
    odd = np.array([[np.nan, 0, 1], [0, 0, -1], [0, 0, 0], [9, 0, 1], [np.inf, 0, 2]], np.float32)
    assert not visible_points(odd, truth, frame.intrinsics).any()


def test_odd_points_and_bad_shapes(frames: list[RgbdFrame]) -> None:
    truth = frames[0].truth
    assert truth is not None
    surface = TruthSurface("cpu")
    points = np.concatenate([truth.mesh.vertices[:2], [[np.nan, 0, 0]]])
    distance = surface.distance_m(points, truth)
    assert distance[:2].max() < 1e-6 and np.isnan(distance[2])
    assert surface.distance_m(np.zeros((0, 3)), truth).shape == (0,)
    with pytest.raises(InputError, match=r"\(V, 3\)"):
        surface.distance_m(np.zeros((4, 2)), truth)
