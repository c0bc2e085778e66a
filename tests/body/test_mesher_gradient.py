"""Derivatives by features in kernels, beside automatic differentiation through the slow twin in float64."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import AcapSpace
from bodystream.body.mesher import FeatureMesher
from bodystream.errors import InputError
from bodystream.types import Array, Mesh
from helpers.bar_people import bar_person, bent
from helpers.body_meshes import shipped_body, shipped_in_poses
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.body.surface import AcapSurface  # noqa: E402

CLOSE = 5e-6  # kernels work in float32


def by_torch(space: AcapSpace, features: Array, vertices_bar: Array) -> Array:
    given = torch.from_numpy(features.astype(np.float64))[None].requires_grad_()
    (found,) = torch.autograd.grad(AcapSurface(space)(given), given, torch.from_numpy(vertices_bar)[None])
    return found[0].numpy()


def check(space: AcapSpace, features: Array, vertices_bar: Array) -> None:
    mesher = FeatureMesher(space)
    mesher.vertices(features)
    found = mesher.pull_back(vertices_bar)
    wanted = by_torch(space, mesher.features, vertices_bar)
    assert np.linalg.norm(found - wanted) < CLOSE * np.linalg.norm(wanted)
    assert np.abs(found - wanted).max() < CLOSE * np.abs(wanted).max()


@pytest.fixture(scope="module")
def space() -> AcapSpace:
    return AcapSpace(bar_person(0))


def test_derivatives_are_those_of_automatic_differentiation(space: AcapSpace) -> None:
    rng = np.random.default_rng(0)
    meshes = [bar_person(1).vertices, bent(bar_person(2), 2.0, 1.0), bent(bar_person(3), 9.0, 0.3), space.reference]
    for vertices in meshes:
        check(space, space.features(vertices), rng.normal(size=(space.count, 3)))
    features = space.features(bar_person(1).vertices) + rng.normal(0.0, 0.3, (space.count, 9))
    check(space, features, rng.normal(size=(space.count, 3)))


@pytest.mark.parametrize("angle_rad", [1e-4, 0.01, 0.19, 0.21, 1.0, 3.1, 7.0])
def test_turns_of_any_size(space: AcapSpace, angle_rad: float) -> None:
    rng = np.random.default_rng(1)
    features = np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0], (space.count, 1))
    axes = rng.normal(size=(space.count, 3))
    features[:, :3] = angle_rad * axes / np.linalg.norm(axes, axis=1)[:, None]
    check(space, features, rng.normal(size=(space.count, 3)))


def test_a_ring_that_is_a_point_has_finite_derivatives(space: AcapSpace) -> None:
    mesher = FeatureMesher(space)
    mesher.features[:] = space.features(bar_person(1).vertices)
    mesher.features[3] = 0.0
    mesher.vertices()
    assert np.isfinite(mesher.pull_back(np.random.default_rng(2).normal(size=(space.count, 3)))).all()


def test_a_whole_body_along_a_smooth_field() -> None:
    mesh, vertices = shipped_body()[0], shipped_in_poses(1)[0]
    space = AcapSpace(Mesh(mesh.vertices, mesh.faces))
    check(space, space.features(vertices), vertices - mesh.vertices)


def test_moving_the_whole_changes_no_feature(space: AcapSpace) -> None:
    mesher = FeatureMesher(space)
    mesher.vertices(space.features(bar_person(1).vertices))
    assert np.abs(mesher.pull_back(np.tile([1.0, -2.0, 0.5], (space.count, 1)))).max() < 1e-9


def test_derivatives_of_another_mesh_are_refused(space: AcapSpace) -> None:
    with pytest.raises(InputError, match=r"vertices_bar must have shape \(106, 3\), got \(5, 3\)"):
        FeatureMesher(space).pull_back(np.zeros((5, 3)))
