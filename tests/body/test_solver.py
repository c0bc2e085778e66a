"""The sparse system in kernels, beside scipy's factors."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import AcapSpace
from bodystream.body.solver import AcapSolver
from bodystream.types import Mesh
from helpers.bar_people import bar_person
from helpers.body_meshes import shipped_body


def tube(rings: int, around: int) -> Mesh:
    """An open tube with `rings * around` vertices."""
    turn, up = np.meshgrid(np.arange(around) * 2.0 * np.pi / around, np.arange(rings) * 0.1)
    vertices = np.stack([0.2 * np.cos(turn), up, 0.3 * np.sin(turn)], axis=-1).reshape(-1, 3)
    at = np.arange(rings * around).reshape(rings, around)
    a, b, c, d = at[:-1], np.roll(at, -1, axis=1)[:-1], at[1:], np.roll(at, -1, axis=1)[1:]
    faces = np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, c, b), (b, c, d))])
    return Mesh(vertices, faces.astype(np.int32))


@pytest.mark.parametrize("mesh", [tube(rings, 5) for rings in (4, 5, 6, 7)] + [bar_person(0), shipped_body()[0]])
def test_solutions_are_those_of_the_space(mesh: Mesh) -> None:
    """Whatever number of columns the last group has."""
    space, rng = AcapSpace(Mesh(mesh.vertices, mesh.faces)), np.random.default_rng(0)
    solver = AcapSolver(space)
    for wanted in (rng.normal(size=(space.count, 3)), np.eye(space.count, 3) + 5.0):
        expected = space.solve(wanted)
        for _ in range(2):  # nothing is left of the last one
            np.testing.assert_allclose(solver.solve(wanted), expected, atol=1e-9 * np.abs(expected).max())


def test_right_sides_may_be_written_where_they_are_solved() -> None:
    space = AcapSpace(tube(4, 5))
    solver, wanted = AcapSolver(space), np.random.default_rng(1).normal(size=(20, 3))
    solver.rows[:] = 7.0
    solver.rows[solver.place, :3] = wanted
    found = solver.solved(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, space.solve(wanted) + (1.0, 2.0, 3.0), atol=1e-9)
    assert sorted(solver.place) == list(range(20))
