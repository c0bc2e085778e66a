"""Motions that are known are found: from flow and depth, from depth alone, and from where the last frame ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.geometry.camera import back_project
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking.solver import FlowTargets, SolverConfig
from bodystream.types import Array, Status
from helpers.solver_problems import (
    CAMERA,
    PLAIN,
    Problem,
    SolverCase,
    bumpy_depth,
    random_problem,
    surface_problem,
)


@pytest.fixture(scope="module")
def surface() -> Problem:
    return surface_problem(sigma_m=0.08, stride=2)


def error_m(case: SolverCase, truth: Array) -> float:
    return float(np.linalg.norm(case.warped() - truth, axis=1).mean())


def turned_half(points: Array, angle_rad: float) -> Array:
    """The part at x > 0 turned about an axis of its own, blended over 12 cm, as a limb turns on a body."""
    joint = np.array([0.0, 0.0, points[:, 2].mean()])
    share = np.clip(points[:, 0] / 0.12, 0, 1)
    share = share**2 * (3 - 2 * share)
    turn = matrix_from_rotation_vector(np.outer(share * angle_rad, [0.0, 1.0, 0.0]))
    return np.einsum("mij,mj->mi", turn, points - joint) + joint


def bent(points: Array, angle_rad: float) -> Array:
    """A bend about the x axis that grows with y: a sheet rolled onto a cylinder."""
    z0, height = points[:, 2].mean(), np.ptp(points[:, 1])
    radius = height / angle_rad
    phi = points[:, 1] / radius
    reach = radius + (points[:, 2] - z0)
    return np.stack([points[:, 0], reach * np.sin(phi), z0 - radius + reach * np.cos(phi)], axis=1)


@pytest.mark.parametrize(("motion", "angle_rad"), [(turned_half, 0.5), (bent, 0.6)])
def test_known_motion_is_recovered(surface: Problem, motion, angle_rad: float) -> None:
    truth = motion(surface.points.astype(np.float64), angle_rad)
    problem = surface.aimed_at(truth)
    case = SolverCase(problem, replace(PLAIN, iterations=6))
    no_motion = float(np.linalg.norm(problem.points - truth, axis=1).mean())
    summary = case.solve()
    assert summary.status is Status.TRACKED
    assert no_motion > 0.015
    assert error_m(case, truth) < 0.04 * no_motion
    rotations, _ = case.field.motion()
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (len(rotations), 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-5)


def test_rigid_motion_is_exact_and_costs_nothing(surface: Problem) -> None:
    """A rigid motion bends no edge, so that all terms vanish at the truth."""
    turn = matrix_from_rotation_vector(np.array([0.1, -0.2, 0.3]))
    truth = (surface.points - [0, 0, 1.2]) @ turn.T + [0.05, -0.02, 1.25]
    case = SolverCase(surface.aimed_at(truth), replace(PLAIN, iterations=8))
    summary = case.solve()
    assert error_m(case, truth) < 1e-5
    assert summary.costs[-1].sum() < 1e-7 * summary.costs[0].sum()
    rotations, _ = case.field.motion()
    np.testing.assert_allclose(rotations, np.tile(turn, (len(rotations), 1, 1)), atol=2e-4)


@pytest.mark.parametrize("matches", [700, 5000])
def test_rigid_steps_alone_recover_a_rigid_motion(matches: int) -> None:
    """However many points there are: of many, these steps look at a part."""
    problem = random_problem(3, matches=matches)
    turn = matrix_from_rotation_vector(np.array([0.05, -0.1, 0.15]))
    truth = (problem.points.astype(np.float64) - [0, 0, 1.4]) @ turn.T + [0.03, -0.02, 1.42]
    case = SolverCase(problem.aimed_at(truth), replace(PLAIN, rigid_iterations=6, iterations=0))
    summary = case.solve()
    assert np.linalg.norm(problem.points - truth, axis=1).mean() > 0.04
    assert error_m(case, truth) < 2e-5
    assert summary.matches == matches


def normals_of(depth_m: Array) -> Array:
    """(H, W, 3) unit normals towards the camera, by differences of neighbouring points."""
    points = back_project(depth_m, CAMERA).astype(np.float64)
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.where((normals * points).sum(axis=2, keepdims=True) > 0, -normals, normals)


def render_moved(turn: Array, shift: Array) -> Array:
    """(H, W) depth of the bumpy surface after a small rigid motion, following each ray to where it meets it."""
    depth, _ = bumpy_depth()
    moved = back_project(depth, CAMERA).astype(np.float64)
    centre = np.array([0, 0, 1.2])
    rows, columns = np.indices(depth.shape)
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(depth.shape)], axis=-1)
    z = depth.astype(np.float64)
    for _ in range(30):
        p = (rays * z[..., None] - shift - centre) @ turn + centre
        u = np.clip(CAMERA.fx * p[..., 0] / p[..., 2] + CAMERA.cx, 0, CAMERA.width - 1.001)
        v = np.clip(CAMERA.fy * p[..., 1] / p[..., 2] + CAMERA.cy, 0, CAMERA.height - 1.001)
        u0, v0 = u.astype(int), v.astype(int)
        fu, fv = u - u0, v - v0
        top = moved[v0, u0, 2] * (1 - fu) + moved[v0, u0 + 1, 2] * fu
        bottom = moved[v0 + 1, u0, 2] * (1 - fu) + moved[v0 + 1, u0 + 1, 2] * fu
        z += (top * (1 - fv) + bottom * fv) - p[..., 2]
    return z.astype(np.float32)


ICP_ONLY = SolverConfig(
    iterations=8, damping=1e-4, reference_matches=0, min_matches=20, lambda_icp=10.0, lambda_reg=1.0, icp_min_cosine=0.1
)


def test_depth_alone_recovers_a_small_motion(surface: Problem) -> None:
    """Dense ICP slides on a plane, not on bumps."""
    turn, shift = matrix_from_rotation_vector(np.array([0.01, -0.015, 0.02])), np.array([0.006, -0.004, 0.008])
    depth, mask = bumpy_depth()
    normals = normals_of(depth)[mask & _on_stride(mask.shape, 2)].astype(np.float32)
    case = SolverCase(surface, ICP_ONLY, normals)
    case.solver.set_depth(render_moved(turn, shift))
    truth = (surface.points - [0, 0, 1.2]) @ turn.T + [0, 0, 1.2] + shift
    no_motion = float(np.linalg.norm(surface.points - truth, axis=1).mean())
    summary = case.solve()
    assert summary.status is Status.TRACKED
    assert summary.costs[-1, 2] < 0.05 * summary.costs[0, 2]
    assert no_motion > 0.009
    assert error_m(case, truth) < 0.12 * no_motion


def test_points_that_face_away_change_nothing_until_flow_finds_them(surface: Problem) -> None:
    """The surface with its back: the same points again, with normals that point away from the camera."""
    turn, shift = matrix_from_rotation_vector(np.array([0.01, -0.015, 0.02])), np.array([0.006, -0.004, 0.008])
    depth, mask = bumpy_depth()
    normals = normals_of(depth)[mask & _on_stride(mask.shape, 2)].astype(np.float32)
    twice = np.tile(np.arange(len(surface.points)), 2)
    both = replace(
        surface, points=surface.points[twice], anchors=surface.anchors[twice], weights=surface.weights[twice]
    )  # fmt: skip
    front, with_back = (
        SolverCase(surface, ICP_ONLY, normals),
        SolverCase(both, ICP_ONLY, np.concatenate([normals, -normals])),
    )
    for case in (front, with_back):
        case.solver.set_depth(render_moved(turn, shift))
    summaries = [case.solve() for case in (front, with_back)]
    assert summaries[0].matches == summaries[1].matches > 1000
    assert summaries[0].unexplained == summaries[1].unexplained
    for got, expected in zip(with_back.field.motion(), front.field.motion(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    # In the next solve the back is seen by flow alone.
    truth = (surface.points - [0, 0, 1.2]) @ turn.T + [0, 0, 1.2] + shift
    weight = np.repeat([0.0, 1.0], len(surface.points))
    with_back.restart()
    with_back.solver.set_points(with_back.model)
    with_back.solver.set_flow(both.aimed_at(truth[twice], weight).targets)
    assert with_back.solve().matches == len(surface.points)
    assert error_m(with_back, truth[twice]) < 2e-4


def _on_stride(shape: tuple[int, int], stride: int) -> Array:
    grid = np.zeros(shape, bool)
    grid[::stride, ::stride] = True
    return grid


def test_warm_start_continues_where_the_last_solve_ended(surface: Problem) -> None:
    """Two solves of three iterations are one of six, and a solve from the solution stays there."""
    problem = surface.aimed_at(turned_half(surface.points.astype(np.float64), 0.6))
    twice = SolverCase(problem, replace(PLAIN, iterations=3))
    twice.solve()
    first = twice.solve()
    once = SolverCase(problem, replace(PLAIN, iterations=6))
    once.solve()
    for got, expected in zip(twice.field.motion(), once.field.motion(), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5)
    again = twice.solve()
    assert again.costs[0].sum() == pytest.approx(first.costs[-1].sum(), rel=1e-5)
    assert again.last_step_m < 1e-4


def test_new_targets_replace_the_old(surface: Problem) -> None:
    shifted = surface.points + np.array([0.02, 0.0, 0.0])
    case = SolverCase(surface.aimed_at(surface.points + np.array([0.0, 0.05, 0.0])), replace(PLAIN, iterations=5))
    case.solve()
    case.solver.set_flow(surface.aimed_at(shifted).targets)
    case.solve()
    assert error_m(case, shifted) < 1e-4


def test_small_steps_end_the_iteration_early() -> None:
    problem = random_problem()
    case = SolverCase(problem, replace(PLAIN, iterations=20, stop_step_m=1e-4))
    summary = case.solve()
    assert 1 < summary.iterations < 20
    assert summary.last_step_m < 1e-4
    assert summary.costs.shape == (summary.iterations + 1, 4)


def test_outliers_are_bounded_by_the_huber_loss(surface: Problem) -> None:
    truth = surface.points + np.array([0.03, 0.01, 0.02])
    problem = surface.aimed_at(truth)
    rng = np.random.default_rng(4)
    wrong = rng.random(len(truth)) < 0.15
    pixels = problem.targets.pixels + np.where(wrong[:, None], np.float32([25.0, 10.0]), np.float32(0))
    problem = replace(
        problem, targets=FlowTargets(pixels.astype(np.float32), problem.targets.depth_m, problem.targets.weight)
    )
    plain, robust = (SolverCase(problem, replace(PLAIN, iterations=8, flow_huber_px=bound)) for bound in (0.0, 1.0))
    plain.solve()
    robust.solve()
    assert error_m(robust, truth) < 0.3 * error_m(plain, truth)


def test_two_solves_give_the_same_bits() -> None:
    problem = random_problem(21, 60, 5000)
    runs = []
    for _ in range(2):
        for linear in ("direct", "pcg"):
            case = SolverCase(problem, replace(PLAIN, linear=linear))
            case.solve()
            runs.append([part.tobytes() for part in case.field.motion()])
            case.restart()
            case.solve()
            runs.append([part.tobytes() for part in case.field.motion()])
    direct, pcg = runs[0], runs[2]
    assert all(run == direct for run in (runs[0], runs[1], runs[4], runs[5]))
    assert all(run == pcg for run in (runs[2], runs[3], runs[6], runs[7]))
