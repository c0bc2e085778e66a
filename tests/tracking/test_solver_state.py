"""Levenberg damping, and what the solver keeps between frames."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from typing import Literal

import numpy as np
import psutil
import pytest
import warp as wp

from bodystream.device.transfers import counted
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.solver import SolverConfig
from bodystream.types import Status
from helpers.solver_problems import PLAIN, SolverCase, device_points, random_problem, surface_problem


def overshooting(config: SolverConfig, away_m: float = 1.1) -> SolverCase:
    """Pixels only, of a surface that is nearer than the solver believes.

    A pixel goes with 1 / z, so that the linearised step from z towards the truth z* is z (1 - z / z*): from beyond
    twice the truth it would end behind the camera.
    """
    problem = surface_problem(sigma_m=0.12, stride=3)
    aimed = problem.aimed_at(problem.points)
    targets = replace(aimed.targets, depth_m=np.zeros(len(problem.points), np.float32))
    away = problem.translations + np.float32([0, 0, away_m])
    return SolverCase(replace(aimed, targets=targets, translations=away), config)


def energy(case: SolverCase) -> float:
    """Cost at the field's motion, by a solve that takes no step."""
    other = SolverCase(
        replace(case.problem, rotations=case.field.motion()[0], translations=case.field.motion()[1]),
        replace(case.solver.config, iterations=0),
    )
    return float(other.solve().costs[0].sum())


FREE = replace(PLAIN, max_rotation_rad=10.0, max_translation_m=10.0)


def test_steps_that_overshoot_are_taken_back_and_counted() -> None:
    case = overshooting(replace(FREE, iterations=10))
    start = energy(case)
    summary = case.solve()
    totals = summary.costs.sum(axis=1)
    assert summary.rejected > 0
    # Trials that cost more than the best so far are exactly those that were rejected.
    best, rejected = totals[0], 0
    for total in totals[1:]:
        rejected += total > best * (1 + 1e-6)
        best = min(best, total)
    # The last row is the end result; the trial that it replaced was one more where it was rejected.
    assert summary.rejected - rejected in (0, 1)
    assert totals[-1] == pytest.approx(best)
    assert summary.damping > 0
    assert energy(case) == pytest.approx(best, rel=1e-4)
    assert totals[1] > 2 * start and best < 0.01 * start


@pytest.mark.parametrize("away_m", [1.5, 3.0])
def test_matches_that_fall_behind_the_camera_are_no_progress(away_m: float) -> None:
    """They have no pixel there; left out of the cost, the worst step would look like the best."""
    case = overshooting(replace(FREE, iterations=12), away_m)
    before = energy(case)
    summary = case.solve()
    assert summary.rejected > 0
    assert case.warped()[:, 2].min() > 0.1
    assert energy(case) < 0.05 * before


@pytest.mark.parametrize("linear", ["direct", "pcg"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 8])
def test_cost_is_never_higher_at_the_end(iterations: int, linear: Literal["direct", "pcg"]) -> None:
    """Also where the very last step is the one that overshot."""
    case = overshooting(replace(FREE, iterations=iterations, linear=linear))
    before = energy(case)
    case.solve()
    assert energy(case) <= before * (1 + 1e-5)


def test_damping_shortens_steps_and_relaxes_when_they_help() -> None:
    problem = random_problem()
    free, damped = (SolverCase(problem, replace(PLAIN, iterations=1, damping=d)) for d in (0.0, 10.0))
    free.solve()
    summary = damped.solve()
    size = [np.linalg.norm(case.field.motion()[1]) for case in (free, damped)]
    assert size[1] < 0.5 * size[0]
    assert summary.damping == pytest.approx(3.0)


@pytest.mark.parametrize("linear", ["direct", "pcg"])
def test_two_hundred_solves_allocate_nothing(linear: Literal["direct", "pcg"]) -> None:
    problem = random_problem(1, 40, 3000)
    case = SolverCase(problem, replace(PLAIN, linear=linear))

    def frame() -> None:
        case.solver.set_flow(problem.targets)
        case.restart()
        assert case.solve().status is Status.TRACKED

    def buffers() -> dict[str, int]:
        holders = (case.solver, case.field, case.solver._equations, case.solver._linear)
        found = {}
        for holder in holders:
            names = getattr(holder, "__dict__", None) or getattr(type(holder), "__slots__", ())
            for name in names:
                value = getattr(holder, name)
                if isinstance(value, wp.array):
                    found[f"{type(holder).__name__}.{name}"] = value.ptr
                if isinstance(value, np.ndarray):
                    found[f"{type(holder).__name__}.{name}"] = value.ctypes.data if name != "active" else 0
        return found

    for _ in range(20):
        frame()
    gc.collect()
    before = buffers()
    process = psutil.Process()
    resident = process.memory_info().rss
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        frame()
    gc.collect()
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert buffers() == before and len(before) > 20
    assert case.solver.growth_count == 0 and case.field.growth_count == 0
    assert grown - base < 64 * 1024
    assert peak - base < 4 * 1024 * 1024  # host copies of targets and of the small system, freed again
    assert process.memory_info().rss - resident < 8 * 1024 * 1024


def test_more_points_grow_the_buffers_by_doubling() -> None:
    small, large = random_problem(1, 24, 500), random_problem(1, 24, 600)
    case = SolverCase(small)
    assert case.solver.growth_count == 0
    grown = SolverCase(large)
    grown.solve()
    for problem in (large, small, large):
        case.solver.set_points(device_points(case.device, problem.points, problem.anchors, problem.weights))
        case.solver.set_flow(problem.targets)
        case.field.set_motion(problem.rotations, problem.translations)
        case.solve()
    assert case.solver.growth_count == 1
    for got, expected in zip(case.field.motion(), grown.field.motion(), strict=True):
        assert np.array_equal(got, expected)


def test_graph_that_grew_is_analysed_again() -> None:
    """A second cluster of nodes appears between two solves."""
    problem = random_problem(4, 24, 600)
    case = SolverCase(replace(problem, nodes=problem.nodes[:24]), replace(PLAIN, min_matches=0))
    case.solve()
    n = 24
    far = problem.nodes + np.float32([0, 0, 2])
    edges = np.concatenate([problem.edges, np.where(problem.edges >= 0, problem.edges + n, -1)])
    rotations, translations = case.field.motion()
    case.field.set_graph(
        np.concatenate([problem.nodes, far]), edges, np.concatenate([rotations, rotations]),
        np.concatenate([translations, translations]),
    )  # fmt: skip
    case.solver.set_points(case.model)
    case.solver.set_flow(problem.targets)
    summary = case.solve()
    assert summary.status is Status.TRACKED and len(case.solver.active) == 2 * n
    assert case.solver._equations.row_start.shape[0] == 2 * n + 1


def test_points_are_sorted_again_only_when_they_changed() -> None:
    """A graph that changed is analysed again, for the points as they lie."""
    problem = random_problem()
    case, twin = SolverCase(problem), SolverCase(problem)
    model = case.model

    def read_backs(points: ModelPoints) -> int:
        with counted() as transfers:
            case.solver.set_points(points)
        return transfers.downloads

    assert [read_backs(points) for points in (model, model, replace(model), model, model)] == [0, 0, 1, 1, 0]
    rotations, translations = case.field.motion()
    case.field.set_graph(
        case.field.host_positions, case.field.host_edges, rotations, translations, case.field.parents
    )  # fmt: skip
    pattern = case.solver._equations.row_start
    assert [read_backs(model), read_backs(model)] == [0, 0]
    assert case.solver._equations.row_start is not pattern
    case.solver.set_flow(problem.targets)
    assert case.solve().status is twin.solve().status is Status.TRACKED
    for got, expected in zip(case.field.motion(), twin.field.motion(), strict=True):
        assert np.array_equal(got, expected)


def test_a_solve_on_the_device_reads_back_one_block_and_a_few_numbers_per_iteration() -> None:
    problem = random_problem()
    case = SolverCase(problem, replace(PLAIN, linear="pcg", iterations=3, stop_step_m=0.0))
    with counted() as transfers:
        summary = case.solve()
        assert case.solver.active.all()
    assert transfers.uploads == 0 and transfers.downloads == summary.iterations + 1
    assert transfers.download_bytes < 200
