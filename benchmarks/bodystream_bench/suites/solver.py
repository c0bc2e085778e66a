"""Gauss-Newton with 3 iterations on about 111 nodes, beside a dense solve as the paper describes it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.tracking.graph import NodeGraph, build_graph
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig
from bodystream.types import Array, Status
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.peers.dense_gauss_newton import DenseGaussNewton, TrackingProblem
from bodystream_bench.recordings import MatchedSurface, matched_surface

__all__ = ["run"]

NODES = 111
NODE_TOLERANCE = 3
SAMPLED_MATCHES = 10_000
LEAST_PIECE = 1000
DENSE_RUNS = 3


def run(context: Context) -> None:
    """`solver.nodes`, `solver.10k.*`, `solver.all.*`; the peer is run for `solver.10k.speedup_vs_dense`."""
    surface = matched_surface()
    context.measured_on("solver", surface.name)
    sigma_m, graph = graph_of(surface, NODES)
    matches = np.flatnonzero(surface.matched)
    context.note(
        f"solver: {surface.name}, {len(surface.mesh.points)} points, {len(matches)} matches, "
        f"{len(graph.positions)} nodes {sigma_m * 100:.2f} cm apart"
    )
    context.add("solver.nodes", len(graph.positions), "count", "lower", 0.05)
    case = _Case(context.device, surface, graph, sigma_m)
    sampled = np.random.default_rng(0).choice(matches, min(SAMPLED_MATCHES, len(matches)), replace=False)
    if context.wants("solver.10k"):
        ours_ms = _measure(context, "solver.10k", case, sampled)
        if context.wants("solver.10k.speedup_vs_dense"):
            dense_ms = _dense_ms(context, case, sampled)
            context.add("solver.10k.speedup_vs_dense", dense_ms / ours_ms, "x", "higher", 0.4)
    if context.wants("solver.all"):
        _measure(context, "solver.all", case, matches)


def graph_of(surface: MatchedSurface, nodes: int) -> tuple[float, NodeGraph]:
    """The node distance at which the surface has about `nodes` nodes, and its graph."""
    sigma_m, best = 0.05, None
    for _ in range(20):
        graph = build_graph(surface.mesh.points, surface.mesh.edges, sigma_m, minimum_points=LEAST_PIECE)
        count = len(graph.positions)
        if best is None or abs(count - nodes) < abs(len(best[1].positions) - nodes):
            best = (sigma_m, graph)
        if abs(count - nodes) <= NODE_TOLERANCE:
            break
        # The area that a node covers grows with the square of the distance; a part of the way avoids swinging.
        sigma_m *= (count / nodes) ** 0.4
    assert best is not None
    count = len(best[1].positions)
    expect(abs(count - nodes) <= NODE_TOLERANCE, f"solver: no node distance gives {nodes} nodes, nearest {count}")
    return best


class _Case:
    """The surface on the device."""

    def __init__(self, device: wp.Device, surface: MatchedSurface, graph: NodeGraph, sigma_m: float) -> None:
        self.device, self.surface, self.graph = device, surface, graph
        n, count = len(graph.positions), len(surface.mesh.points)
        # Every pixel follows the nearest nodes, also at the rim: all of them count in the error.
        self.field = WarpField(device, sigma_m, reach_m=0.5, capacity=n)
        self.field.set_graph(graph.positions, graph.edges)
        self.points = wp.array(surface.mesh.points, dtype=wp.vec3, device=device)
        self.anchors = wp.zeros(count, dtype=wp.vec4i, device=device)
        self.weights = wp.zeros(count, dtype=wp.vec4, device=device)
        self.field.anchor(self.points, count, self.anchors, self.weights)

    def solver(self, chosen: Array, config: SolverConfig) -> GaussNewton:
        """A solver for some of the points."""
        surface, device = self.surface, self.device
        solver = GaussNewton(self.field, surface.intrinsics, config)
        model = ModelPoints(
            wp.array(surface.mesh.points[chosen], dtype=wp.vec3, device=device),
            wp.array(self.anchors.numpy()[chosen], dtype=wp.vec4i, device=device),
            wp.array(self.weights.numpy()[chosen], dtype=wp.vec4, device=device),
            len(chosen),
        )
        solver.set_points(model)
        weight = np.ones(len(chosen), np.float32)
        solver.set_flow(FlowTargets(surface.target_px[chosen], surface.target_depth_m[chosen], weight))
        return solver

    def warped(self) -> Array:
        """(P, 3) all points of the surface at the field's motion."""
        count = len(self.surface.mesh.points)
        out = wp.zeros(count, dtype=wp.vec3, device=self.device)
        self.field.warp(self.points, self.anchors, self.weights, count, out)
        return out.numpy()

    def epe3d_mm(self, warped: Array) -> float:
        """Mean distance to the true positions, where they are known."""
        error = np.linalg.norm(warped - self.surface.truth, axis=1)
        return float(error[np.isfinite(error)].mean() * 1e3)


def _measure(context: Context, key: str, case: _Case, chosen: Array) -> float:
    """Record timing and accuracy on some of the points; returns the median [ms]."""
    solver = case.solver(chosen, SolverConfig())
    case.field.set_motion()
    summary = solver.solve()
    error_mm = case.epe3d_mm(case.warped())
    expect(summary.status is Status.TRACKED, f"{key}: the solve was {summary.status}: {summary.reason}")
    limit_mm = case.surface.limit_mm
    expect(error_mm < limit_mm, f"{key}: mean error {error_mm:.2f} mm, wanted below {limit_mm:.1f} mm")
    timing = measure(solver.solve, context.steps(), before=case.field.set_motion, device=case.device)
    context.add_timing(key, timing)
    context.add(f"{key}.epe3d_mm", error_mm, "mm", "lower", 0.1)
    return timing.p50_ms


def _dense_ms(context: Context, case: _Case, chosen: Array) -> float:
    """Median time of the dense peer in the precision that is faster for it [ms]."""
    surface, config = case.surface, SolverConfig()
    rows, columns = np.nonzero(case.graph.edges >= 0)
    problem = TrackingProblem(
        surface.mesh.points[chosen],
        case.anchors.numpy()[chosen],
        case.weights.numpy()[chosen],
        case.graph.positions,
        np.stack([rows, case.graph.edges[rows, columns]], axis=1),
        surface.target_px[chosen],
        surface.target_depth_m[chosen],
        surface.intrinsics,
        (config.lambda_flow, config.lambda_depth, config.lambda_reg),
    )
    solver = case.solver(chosen, config)
    case.field.set_motion()
    solver.solve()
    ours = case.warped()
    times = {}
    for dtype in (np.float32, np.float64):
        peer = DenseGaussNewton(problem, dtype)
        case.field.set_motion(*peer.solve(config.iterations))
        off = np.linalg.norm(case.warped() - ours, axis=1)[chosen].mean()
        expect(off < 2e-4, f"solver: our motion is {off * 1e3:.3f} mm from the dense solve in {dtype.__name__}")
        times[dtype.__name__] = _median_ms(lambda peer=peer: peer.solve(config.iterations), DENSE_RUNS)
    name = min(times, key=lambda k: times[k])
    context.note(f"solver: dense solve in {name} (faster than the other precision), {times[name]:.0f} ms")
    return times[name]


def _median_ms(step: Callable[[], object], runs: int) -> float:
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        durations.append((time.perf_counter() - start) * 1e3)
    return float(np.median(durations))
