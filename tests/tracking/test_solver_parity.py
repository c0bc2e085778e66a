"""The fast solver against the plain dense float64 one: the same motion to 1e-5, for both linear solvers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking.solver import SolverConfig
from bodystream.types import Array, Status
from helpers import dense_gauss_newton
from helpers.solver_problems import (
    PLAIN,
    Problem,
    SolverCase,
    motion_difference,
    random_problem,
    solve_densely,
    surface_problem,
)

# Relative difference of motions after three iterations: float32 residuals and blocks, float64 factorisation.
PARITY = 1e-5

Linear = Literal["direct", "pcg"]


def config_for(linear: Linear, **changes: object) -> SolverConfig:
    tight = replace(PLAIN, linear=linear, pcg_iterations=1000, pcg_tolerance=1e-9)
    return replace(tight, **changes)


def bent_surface() -> Problem:
    """A depth image's surface, turned, moved and bent, with noisy targets of uneven confidence."""
    problem = surface_problem(sigma_m=0.12, stride=2)
    rng = np.random.default_rng(1)
    live = problem.points.astype(np.float64) @ matrix_from_rotation_vector(np.array([0.05, 0.1, 0.02])).T
    live += [0.03, 0.0, 0.05]
    live[:, 2] += 0.03 * np.sin(8 * problem.points[:, 1])
    live += rng.normal(0, 0.002, live.shape)
    return problem.aimed_at(live, rng.uniform(0.2, 1.0, len(live)))


PROBLEMS = {
    "random": random_problem,
    "large, warm": partial(random_problem, 3, 60, 4000, start=0.5),
    "surface": bent_surface,
}


@pytest.mark.parametrize("linear", ["direct", "pcg"])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_motion_agrees_with_the_dense_reference(name: str, linear: Linear) -> None:
    problem = PROBLEMS[name]()
    config = config_for(linear)
    case = SolverCase(problem, config)
    summary = case.solve()
    rotations, translations, costs = solve_densely(problem, config)
    assert summary.status is Status.TRACKED and summary.iterations == config.iterations and summary.rejected == 0
    assert motion_difference(*case.field.motion(), rotations, translations) < PARITY
    expected = [[cost.flow, cost.depth, 0.0, cost.arap] for cost in costs]
    # The sums are of float32; near the minimum their rounding is larger than what the motion still does to them.
    np.testing.assert_allclose(summary.costs, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("linear", ["direct", "pcg"])
def test_one_step_is_the_dense_step_with_the_same_floor(linear: Linear) -> None:
    """A single step shows the small floor on the diagonal; with it in the reference, nothing else is different."""
    problem = random_problem(7, start=0.3)
    config = config_for(linear, iterations=1)
    case = SolverCase(problem, config)
    case.solve()
    residual, dense, _ = dense_gauss_newton.evaluate(
        problem.points.astype(np.float64), problem.targets.pixels.astype(np.float64),
        problem.targets.depth_m.astype(np.float64), problem.targets.weight.astype(np.float64),
        problem.anchors, problem.weights.astype(np.float64), problem.nodes.astype(np.float64),
        problem.directed_edges, problem.camera, (config.lambda_flow, config.lambda_depth, config.lambda_reg),
        problem.rotations.astype(np.float64), problem.translations.astype(np.float64),
    )  # fmt: skip
    assert dense is not None
    normal = dense.T @ dense
    traces = np.diag(normal).reshape(-1, 2, 3).sum(axis=2).repeat(3)
    normal[np.diag_indices_from(normal)] += 1e-7 + 1e-6 * traces
    step = cho_solve(cho_factor(normal), -dense.T @ residual).reshape(-1, 6)
    expected = (
        matrix_from_rotation_vector(step[:, :3]) @ problem.rotations.astype(np.float64),
        problem.translations + step[:, 3:],
    )
    assert motion_difference(*case.field.motion(), *expected) < PARITY


def test_more_matches_than_the_reference_count_weigh_as_much_as_that_many() -> None:
    """`reference_matches` scales the data terms, and nothing but them."""
    problem = random_problem(5, matches=1200)
    scaled = SolverCase(problem, config_for("direct", reference_matches=300))
    scaled.solve()
    by_hand = config_for("direct", lambda_flow=PLAIN.lambda_flow / 4, lambda_depth=PLAIN.lambda_depth / 4)
    expected: tuple[Array, Array, object] = solve_densely(problem, by_hand)
    assert motion_difference(*scaled.field.motion(), *expected[:2]) < PARITY


def test_points_may_come_in_any_order() -> None:
    problem = random_problem(11)
    config = config_for("direct")
    first = SolverCase(problem, config)
    first.solve()
    order = np.random.default_rng(0).permutation(len(problem.points))
    targets = problem.targets
    shuffled = replace(
        problem,
        points=problem.points[order], anchors=problem.anchors[order], weights=problem.weights[order],
        targets=type(targets)(targets.pixels[order], targets.depth_m[order], targets.weight[order]),
    )  # fmt: skip
    second = SolverCase(shuffled, config)
    second.solve()
    assert motion_difference(*second.field.motion(), *first.field.motion()) < PARITY


def test_anchors_may_repeat_a_node_without_weight() -> None:
    """Points of a graph with fewer than four nodes in reach repeat their nearest node, with weight zero."""
    problem = random_problem(13)
    anchors, weights = problem.anchors.copy(), problem.weights.copy()
    anchors[::3, 2:] = anchors[::3, :1]
    weights[::3, 2:] = 0.0
    anchors[1::3, 1:] = anchors[1::3, :1]
    weights[1::3, 1:] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    problem = replace(problem, anchors=anchors, weights=weights)
    case = SolverCase(problem, config_for("direct"))
    assert case.solve().status is Status.TRACKED
    assert motion_difference(*case.field.motion(), *solve_densely(problem, case.solver.config)[:2]) < PARITY
