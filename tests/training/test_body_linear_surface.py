"""The derivative of the mesh of features at the reference, beside differences of meshes."""

from __future__ import annotations

import numpy as np

from bodystream.body import AcapSpace
from helpers.body_meshes import bar
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
from bodystream_training.body.linear_surface import LinearSurface  # noqa: E402


def test_vertices_move_as_the_difference_of_two_meshes_says() -> None:
    rng = np.random.default_rng(0)
    space = AcapSpace(bar(around=8, along=9))
    gain = rng.uniform(0.2, 1.5, (space.count, 9))
    directions = torch.from_numpy(rng.normal(size=(3, 9 * space.count))).float()
    found = LinearSurface(space, gain).vertices(directions).numpy()
    still, little = space.features(space.reference), 1e-5
    for direction, moved in zip(directions.double().numpy(), found, strict=True):
        step = little * gain * direction.reshape(-1, 9)
        wanted = (space.vertices(still + step) - space.vertices(still - step)) / (2.0 * little)
        assert np.abs(moved - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_pulling_vertices_is_the_transpose() -> None:
    rng = np.random.default_rng(1)
    space = AcapSpace(bar(around=6, along=7))
    surface = LinearSurface(space, rng.uniform(0.2, 1.5, (space.count, 9)))
    directions = torch.from_numpy(rng.normal(size=(4, 9 * space.count))).float()
    pulls = torch.from_numpy(rng.normal(size=(5, space.count, 3))).float()
    one = surface.vertices(directions).flatten(1) @ pulls.flatten(1).T
    other = directions @ surface.scaled(pulls).T
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))
