"""Input that determines little or nothing ends in a typed result and a finite motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig
from bodystream.types import Array, Status
from helpers.solver_problems import (
    CAMERA,
    PLAIN,
    Problem,
    SolverCase,
    at_rest,
    device_points,
    make_field,
    random_problem,
    surface_problem,
)

BOTH = pytest.mark.parametrize("linear", ["direct", "pcg"])


def assert_sane(case: SolverCase) -> None:
    """Finite motion, rotations that are rotations."""
    rotations, translations = case.field.motion()
    assert np.isfinite(translations).all()
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (len(rotations), 1, 1)), atol=1e-5
    )


def two_clusters(seed: int = 0) -> tuple[Problem, Array]:
    """Two copies of a problem that share no edge, and which nodes belong to the second."""
    one = random_problem(seed, nodes=16, matches=400)
    n = len(one.nodes)
    apart = np.float32([0.0, 0.0, 1.0])
    shifted_edges = np.where(one.edges >= 0, one.edges + n, -1).astype(np.int32)
    targets = FlowTargets(
        *(np.concatenate([a, a]) for a in (one.targets.pixels, one.targets.depth_m, one.targets.weight))
    )
    rotations, translations = at_rest(2 * n)
    both = replace(
        one,
        points=np.concatenate([one.points, one.points + apart]),
        anchors=np.concatenate([one.anchors, one.anchors + n]),
        weights=np.concatenate([one.weights, one.weights]),
        nodes=np.concatenate([one.nodes, one.nodes + apart]),
        edges=np.concatenate([one.edges, shifted_edges]),
        targets=targets, rotations=rotations, translations=translations,
    )  # fmt: skip
    return both, np.arange(2 * n) >= n


def with_weight(problem: Problem, weight: Array) -> Problem:
    return replace(problem, targets=replace(problem.targets, weight=weight.astype(np.float32)))


def target_copies(problem: Problem) -> tuple[Array, Array, Array]:
    t = problem.targets
    return t.pixels.copy(), t.depth_m.copy(), t.weight.copy()


@BOTH
@pytest.mark.parametrize("left", [0, 99])
def test_cluster_with_too_few_matches_is_dropped_and_stays(linear: str, left: int) -> None:
    problem, second = two_clusters()
    weight = problem.targets.weight.copy()
    weight[len(weight) // 2 + left :] = 0.0
    case = SolverCase(with_weight(problem, weight), replace(PLAIN, linear=linear, min_matches=100))
    summary = case.solve()
    rotations, translations = case.field.motion()
    assert (summary.status, summary.reason) == (Status.TRACKED, ""), "that parts are not seen is no fault"
    assert summary.dropped_nodes == 16 and summary.matches == 400 + left
    assert np.array_equal(case.solver.active, ~second)
    assert np.array_equal(rotations[second], np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)))
    assert np.array_equal(translations[second], np.zeros((16, 3), np.float32))
    alone = SolverCase(random_problem(0, nodes=16, matches=400), replace(PLAIN, linear=linear, min_matches=100))
    alone.solve()
    # With conjugate gradients the other cluster's equations are in the same system, so the iterates differ a little.
    np.testing.assert_allclose(
        translations[~second], alone.field.motion()[1], atol=1e-6 if linear == "direct" else 1e-4
    )


@BOTH
def test_dropped_cluster_returns_with_its_matches(linear: str) -> None:
    problem, second = two_clusters()
    weight = problem.targets.weight.copy()
    weight[len(weight) // 2 :] = 0.0
    case = SolverCase(with_weight(problem, weight), replace(PLAIN, linear=linear, min_matches=100))
    assert case.solve().dropped_nodes == 16
    case.solver.set_flow(problem.targets)
    summary = case.solve()
    assert summary.status is Status.TRACKED and summary.dropped_nodes == 0 and case.solver.active.all()
    assert np.linalg.norm(case.field.motion()[1][second], axis=1).min() > 0


@BOTH
def test_no_weight_anywhere_is_lost(linear: str) -> None:
    problem = with_weight(random_problem(), np.zeros(900))
    case = SolverCase(problem, replace(PLAIN, linear=linear, min_matches=100))
    summary = case.solve()
    assert summary.status is Status.LOST and "100 matches" in summary.reason
    assert summary.matches == 0 and summary.dropped_nodes == 24
    for part, still in zip(case.field.motion(), at_rest(24), strict=True):
        assert np.array_equal(part, still)


@BOTH
def test_no_weight_with_no_minimum_stays_at_rest(linear: str) -> None:
    """Nothing but the regulariser, whose matrix is singular: the floor on the diagonal has to hold it."""
    case = SolverCase(with_weight(random_problem(), np.zeros(900)), replace(PLAIN, linear=linear, min_matches=0))
    case.solve()
    np.testing.assert_allclose(case.field.motion()[1], 0.0, atol=1e-6)
    assert_sane(case)


@BOTH
@pytest.mark.parametrize("with_depth", [True, False])
def test_collinear_matches(linear: str, with_depth: bool) -> None:
    """Points on one line say nothing about the turn around it."""
    problem = random_problem(3, matches=300)
    line = np.linspace(-0.3, 0.3, 300)[:, None] * np.float32([1.0, 0.0, 0.0]) + np.float32([0.0, 0.0, 1.45])
    problem = replace(problem, points=line.astype(np.float32))
    problem = problem.aimed_at(line + [0.0, 0.03, 0.02])
    if not with_depth:
        problem = replace(problem, targets=replace(problem.targets, depth_m=np.zeros(300, np.float32)))
    case = SolverCase(problem, replace(PLAIN, linear=linear, iterations=6))
    summary = case.solve()
    assert summary.status in (Status.TRACKED, Status.DEGRADED)
    assert summary.costs[-1].sum() < 0.05 * summary.costs[0].sum()
    assert_sane(case)


@BOTH
def test_all_matches_at_one_point(linear: str) -> None:
    problem = random_problem(3, matches=200)
    same = np.tile(problem.points[:1], (200, 1))
    tile = [np.tile(a[:1], (200, 1)) for a in (problem.anchors, problem.weights)]
    problem = replace(problem, points=same, anchors=tile[0], weights=tile[1]).aimed_at(same + [0.0, 0.02, 0.0])
    case = SolverCase(problem, replace(PLAIN, linear=linear, iterations=5))
    summary = case.solve()
    np.testing.assert_allclose(case.warped(), same + [0.0, 0.02, 0.0], atol=1e-3)
    assert np.isfinite(summary.costs).all()
    assert_sane(case)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["pixels", "depth_m", "weight"])
def test_targets_that_are_not_numbers_are_no_targets(field: str, bad: float) -> None:
    """The result is that of the same matches left out (or, for depth, without their depth)."""
    problem = random_problem(8)
    where = np.arange(900) % 4 == 0
    pixels, depth_m, weight = target_copies(problem)
    {"pixels": pixels, "depth_m": depth_m, "weight": weight}[field][where] = bad
    dirty = SolverCase(replace(problem, targets=FlowTargets(pixels, depth_m, weight)))
    pixels, depth_m, weight = target_copies(problem)
    (depth_m if field == "depth_m" else weight)[where] = 0.0
    clean = SolverCase(replace(problem, targets=FlowTargets(pixels, depth_m, weight)))
    assert dirty.solve().status is Status.TRACKED
    clean.solve()
    for got, expected in zip(dirty.field.motion(), clean.field.motion(), strict=True):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0])
def test_depth_images_with_bad_pixels(bad: float) -> None:
    """A depth image from a buggy driver: bad pixels are holes. Some lie in the column of the principal point."""
    problem = surface_problem()
    normals = np.tile(np.float32([0, 0, -1]), (len(problem.points), 1))
    u, v = np.rint(problem.aimed_at(problem.points).targets.pixels).astype(int).T
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[v, u] = problem.points[:, 2] + 0.01
    holes = depth.copy()
    holes[::3, :] = 0.0
    depth[::3, :] = bad
    motions = []
    for image in (depth, holes):
        case = SolverCase(problem, replace(PLAIN, icp_huber_m=0.01), normals)
        case.solver.set_depth(image)
        assert case.solve().status is Status.TRACKED
        assert_sane(case)
        motions.append(case.field.motion()[1])
    np.testing.assert_allclose(motions[0], motions[1], atol=1e-6)
    assert np.abs(motions[0]).max() > 0.005


def test_points_behind_the_camera_or_uncovered_are_ignored() -> None:
    problem = random_problem(9)
    weights, points = problem.weights.copy(), problem.points.copy()
    weights[::2] = 0.0  # uncovered, as `WarpField.anchor` says it
    points[1::8, 2] = -3.0
    case = SolverCase(replace(problem, weights=weights, points=points))
    summary = case.solve()
    assert summary.status is Status.TRACKED and summary.matches < 450
    assert_sane(case)


def test_targets_far_away_move_no_node_farther_than_allowed() -> None:
    problem = random_problem(10)
    far = FlowTargets(problem.targets.pixels + np.float32(1e6), problem.targets.depth_m * 1e4, problem.targets.weight)
    config = replace(PLAIN, iterations=2, max_translation_m=0.5, max_rotation_rad=0.1)
    case = SolverCase(replace(problem, targets=far), config)
    summary = case.solve()
    assert np.linalg.norm(case.field.motion()[1], axis=1).max() <= 1.0 + 1e-5
    assert np.isfinite(summary.costs).all()
    assert_sane(case)


def test_zero_points() -> None:
    problem = random_problem()
    solver = GaussNewton(make_field(problem.nodes, problem.edges), CAMERA, PLAIN)
    one = device_points(solver.device, np.zeros((1, 3)), np.zeros((1, 4)), np.zeros((1, 4)))
    solver.set_points(replace(one, count=0))
    solver.set_flow(FlowTargets(np.zeros((0, 2)), np.zeros(0), np.zeros(0)))
    summary = solver.solve()
    assert summary.status is Status.LOST and summary.reason == "no matches"
    assert not solver.active.any() and len(solver.active) == 24


def test_zero_points_after_some() -> None:
    """The model was reset between two frames."""
    case = SolverCase(random_problem())
    case.solve()
    before = case.field.motion()
    case.solver.set_points(replace(case.model, count=0))
    case.solver.set_flow(FlowTargets(np.zeros((0, 2)), np.zeros(0), np.zeros(0)))
    assert case.solver.solve().status is Status.LOST
    for got, expected in zip(case.field.motion(), before, strict=True):
        assert np.array_equal(got, expected)


def test_empty_graph() -> None:
    field = make_field(np.zeros((0, 3), np.float32), np.zeros((0, 8), np.int32))
    solver = GaussNewton(field, CAMERA, PLAIN)
    assert solver.solve().status is Status.LOST
    solver.set_points(device_points(solver.device, np.zeros((5, 3)), np.zeros((5, 4)), np.zeros((5, 4))))
    solver.set_flow(FlowTargets(np.zeros((5, 2)), np.ones(5), np.ones(5)))
    summary = solver.solve()
    assert summary.status is Status.LOST and summary.reason == "no graph"


def test_solving_before_anything_was_set() -> None:
    problem = random_problem()
    solver = GaussNewton(make_field(problem.nodes, problem.edges), CAMERA, PLAIN)
    summary = solver.solve()
    assert summary.status is Status.LOST and summary.reason == "no matches" and summary.iterations == 0


@BOTH
def test_single_node_follows_a_rigid_motion(linear: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.1, -0.1, 1.3], [0.1, 0.1, 1.5], (300, 3)).astype(np.float32)
    anchors = np.zeros((300, 4), np.int32)
    weights = np.tile(np.float32([1, 0, 0, 0]), (300, 1))
    nodes, edges = np.float32([[0, 0, 1.4]]), np.full((1, 8), -1, np.int32)
    nothing = FlowTargets(np.zeros((300, 2)), np.zeros(300), np.zeros(300))
    problem = Problem(points, anchors, weights, nodes, edges, nothing, *at_rest(1))
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    truth = (points - nodes[0]) @ turn.T + nodes[0] + [0.01, 0.02, -0.03]
    case = SolverCase(problem.aimed_at(truth), replace(PLAIN, linear=linear, iterations=6))
    assert case.solve().status is Status.TRACKED
    np.testing.assert_allclose(case.warped(), truth, atol=2e-5)


def with_loose_nodes(count: int) -> Problem:
    """A problem of 24 nodes, and so many more far from everything and without edges."""
    problem = random_problem(12)
    alone = np.float32([[0.0, 0.0, 3.0 + k] for k in range(count)])
    rotations, translations = at_rest(24 + count)
    return replace(
        problem, nodes=np.concatenate([problem.nodes, alone]),
        edges=np.concatenate([problem.edges, np.full((count, 8), -1, np.int32)]),
        rotations=rotations, translations=translations,
    )  # fmt: skip


@BOTH
def test_node_without_edges_and_without_points(linear: str) -> None:
    """It has an empty row in the system: a cluster of its own, which is dropped, or keeps still."""
    case = SolverCase(with_loose_nodes(1), replace(PLAIN, linear=linear, min_matches=0))
    assert (case.solve().dropped_nodes, case.solve().status) == (0, Status.TRACKED)
    for count in (1, 2):
        case = SolverCase(with_loose_nodes(count), replace(PLAIN, linear=linear, min_matches=1))
        summary = case.solve()
        assert (summary.dropped_nodes, summary.status) == (count, Status.TRACKED)
        np.testing.assert_allclose(case.field.motion()[1][24:], 0.0, atol=1e-9)
        assert_sane(case)


def test_wrong_number_of_targets_is_an_error() -> None:
    case = SolverCase(random_problem())
    with pytest.raises(ValueError, match="900"):
        case.solver.set_flow(FlowTargets(np.zeros((5, 2)), np.zeros(5), np.zeros(5)))


def test_default_options_are_those_of_the_paper() -> None:
    config = SolverConfig()
    assert (config.lambda_flow, config.lambda_depth, config.lambda_reg, config.iterations) == (0.001, 1.0, 1.0, 3)
