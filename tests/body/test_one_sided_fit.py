"""A body fitted to the front of somebody: how thick it is comes from how people are, not from leaps of the search."""

from __future__ import annotations

import numpy as np
import trimesh

from bodystream.body import BodyDecoder
from bodystream.body.fitting import Start, fit_surface, neutral_start, scan_points
from bodystream.body.fitting.surface import SurfaceStage, stages_for
from bodystream.body.nearest import BodySurface
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


def test_the_back_that_nobody_saw_is_where_a_person_has_it() -> None:
    """Half a millimetre of noise on the front is no reason for a body a third too thin."""
    decoder = BodyDecoder(find_bundle("body"))
    surface = scan_points(front(0.003))
    decoder.open_gradient()
    true = trimesh.Trimesh(*someone(), process=False)
    start = neutral_start(decoder, surface.points)
    for near in (False, True):
        found = fit_surface(decoder, surface, start=start, near=near)
        start = Start(found.codes, found.placement, 0.0)  # as after a registration
        assert found.point_to_mesh_mean_m < 0.006
        body = trimesh.Trimesh(found.vertices, decoder.space.faces, process=False)
        assert 0.8 * true.volume < body.volume < 1.15 * true.volume
        missing = BodySurface(body.vertices, body.faces).distances(np.asarray(true.vertices))
        assert missing.mean() < 0.007
