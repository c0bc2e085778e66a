"""A body fitted to the front of somebody: how thick it is comes from how people are, not from leaps of the search."""

from __future__ import annotations

import numpy as np
import trimesh

from bodystream.body import BodyDecoder
from bodystream.body.fitting import fit_surface, neutral_start, scan_points
from bodystream.body.fitting.surface import SurfaceStage, stages_for
from bodystream.bundles import find_bundle
from bodystream.geometry.normals import vertex_normals
from bodystream.types import Array, Mesh
from helpers.body_meshes import shipped_body


def someone() -> tuple[Array, Array]:
    """The shipped body, facing +z."""
    mesh, _ = shipped_body()
    return mesh.vertices @ np.diag([-1.0, 1.0, -1.0]), mesh.faces


def front(noise_m: float) -> Mesh:
    vertices, faces = someone()
    seen = vertex_normals(vertices, faces)[:, 2] > 0.15
    noisy = vertices + noise_m * np.random.default_rng(0).normal(size=vertices.shape)
    return Mesh(noisy.astype(np.float32), faces[seen[faces].all(axis=1)])


def curved(stages: tuple[SurfaceStage, ...]) -> bool:
    return any(stage.curved for stage in stages)


def test_only_whole_surfaces_are_searched_with_the_curvature_that_was_seen() -> None:
    vertices, faces = someone()
    whole, half = scan_points(Mesh(vertices, faces)), scan_points(front(0.003))
    points_alone = scan_points(Mesh(vertices, np.zeros((0, 3), np.int32)))
    for near in (False, True):
        assert curved(stages_for(whole, near)) and not curved(stages_for(half, near))
        assert not curved(stages_for(points_alone, near)), "nobody knows which side of them is seen"


def test_the_front_of_somebody_makes_no_body_of_paper() -> None:
    decoder = BodyDecoder(find_bundle("body"))
    surface = scan_points(front(0.003))
    decoder.open_gradient()
    found = fit_surface(decoder, surface, start=neutral_start(decoder, surface.points))
    assert found.point_to_mesh_mean_m < 0.006
    assert np.linalg.norm(found.codes.shape) < 4.0
    meshes = (found.vertices, decoder.space.faces), someone()
    thin, true = (trimesh.Trimesh(*mesh, process=False).volume for mesh in meshes)
    assert thin > 0.6 * true
