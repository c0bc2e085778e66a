"""Features to meshes in kernels, beside the slow twin."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import AcapSpace
from bodystream.body.acap import AFFINE_WEIGHT
from bodystream.body.mesher import FeatureMesher
from bodystream.errors import InputError
from bodystream.types import Mesh
from helpers.bar_people import bar_person, bent
from helpers.body_meshes import flat_box, shipped_body, shipped_in_poses

CLOSE_MM = 0.02  # kernels work in float32


@pytest.fixture(scope="module")
def space() -> AcapSpace:
    return AcapSpace(bar_person(0))


def test_meshes_are_those_of_the_twin(space: AcapSpace) -> None:
    mesher = FeatureMesher(space)
    meshes = [bar_person(1).vertices, bent(bar_person(2), 2.0, 1.0), bent(bar_person(3), 9.0, 0.3), space.reference]
    for vertices in meshes:
        features = space.features(vertices)
        found = mesher.vertices(features)
        assert 1e3 * np.abs(found - space.vertices(features)).max() < CLOSE_MM
        assert 1e3 * np.abs((found - vertices) - (found - vertices).mean(axis=0)).max() < 0.05


def test_features_of_no_mesh_give_the_twins_compromise(space: AcapSpace) -> None:
    mesher, rng = FeatureMesher(space), np.random.default_rng(0)
    features = space.features(bar_person(1).vertices) + rng.normal(0.0, 0.3, (space.count, 9))
    features[0] = 0.0  # a ring that is a point
    mesher.features[:] = features
    assert 1e3 * np.abs(mesher.vertices() - space.vertices(features)).max() < CLOSE_MM


def test_flat_rings_and_a_whole_body() -> None:
    box = flat_box(3)
    for mesh, vertices in ((box, box.vertices * (1.0, 1.2, 0.9)), (shipped_body()[0], shipped_in_poses(1)[0])):
        space = AcapSpace(Mesh(mesh.vertices, mesh.faces))
        features = space.features(vertices)
        assert 1e3 * np.abs(FeatureMesher(space).vertices(features) - space.vertices(features)).max() < CLOSE_MM


def test_features_of_another_mesh_are_refused(space: AcapSpace) -> None:
    with pytest.raises(InputError, match=r"features must have shape \(106, 9\), got \(5, 9\)"):
        FeatureMesher(space).vertices(np.zeros((5, 9)))


def test_the_right_side_is_that_of_the_definition(space: AcapSpace) -> None:
    """C^T H^-1 D(T) of the module's words, and eq. 6 with its weight, for which two matrices stand."""
    rings, features = space.rings, space.features(bent(bar_person(1), 1.0, 0.7))
    given = space.transforms_of(features)
    lifted = rings.normal_weights[:, None] * rings.lifted(given)
    spread = given @ rings.moments - lifted[:, :, None] * rings.normals[:, None, :]
    wanted = rings.spread.T @ (rings.inverse @ spread.swapaxes(1, 2)).reshape(-1, 3)
    pulled = np.einsum("e,eij,ej->ei", rings.weights, given[rings.start] + given[rings.end], rings.edges_m)
    for axis in range(3):
        wanted[:, axis] += AFFINE_WEIGHT * np.bincount(rings.start, pulled[:, axis], space.count)
    short = space.pull @ given.swapaxes(1, 2).reshape(-1, 3) - space.lift @ rings.lifted(given)
    np.testing.assert_allclose(short, wanted, atol=1e-12)
