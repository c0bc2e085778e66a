"""Non-rigid tracking of one pair of frames: the problem that NNRT states in eq. 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator
from bodystream.deformation import WarpField
from bodystream.errors import InputError
from bodystream.geometry.camera import depth_edges, project, sample_bilinear
from bodystream.timing import now_ns
from bodystream.tracking.graph import build_graph, mesh_from_depth
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig, SolveSummary
from bodystream.types import Array, FlowField, RgbdFrame

__all__ = ["PairConfig", "PairErrors", "PairTracker", "TrackedPair", "pair_errors"]


@dataclass(frozen=True)
class PairConfig:
    """Options of pair tracking.

    Attributes:
        sigma_m: node coverage. least_piece: loose pieces of surface with fewer pixels get no nodes of their own.
        step_m: target depth beside a jump larger than this is not used.
        reach_m: pixels up to this far from every node follow the nearest ones.
        solver: NNRT's weights and its 3 iterations, all matches, outliers bounded by a Huber loss.
    """

    sigma_m: float = 0.05
    least_piece: int = 1000
    step_m: float = 0.03
    reach_m: float = 0.5
    solver: SolverConfig = SolverConfig(flow_huber_px=5.0)


@dataclass(frozen=True, slots=True)
class TrackedPair:
    """The solved motion.

    Attributes:
        pixels: (M, 2) int32 source pixels (u, v). points, warped: (M, 3) float32, before and after [m].
        node_pixels: (N, 2) int32, the source pixels of the nodes. node_motion_m: (N, 3) float32, their translations.
        flow: what was used. summary: of the solver. matches, nodes: counts.
        flow_ms: of the correspondence. solve_ms: of the solver alone.
    """

    pixels: Array
    points: Array
    warped: Array
    node_pixels: Array
    node_motion_m: Array
    flow: FlowField
    summary: SolveSummary
    matches: int
    nodes: int
    flow_ms: float
    solve_ms: float


class PairTracker:
    """Builds a graph on the source frame and solves its motion to the target frame."""

    def __init__(self, estimator: CorrespondenceEstimator, device: wp.Device, config: PairConfig | None = None) -> None:
        self.config = PairConfig() if config is None else config
        self._estimator = estimator
        self._device = device

    def step(self, source: RgbdFrame, target: RgbdFrame) -> TrackedPair:
        """Track the masked pixels of `source` (all with depth where it has no mask).

        Raises:
            InputError: nothing to track, or frames of different size.
        """
        config, device = self.config, self._device
        mask = source.depth_m > 0 if source.mask is None else source.mask & (source.depth_m > 0)
        mesh = mesh_from_depth(source.depth_m, mask, source.intrinsics)
        graph = build_graph(mesh.points, mesh.edges, config.sigma_m, minimum_points=config.least_piece)
        nodes, count = len(graph.positions), len(mesh.points)
        if nodes == 0:
            raise InputError(
                f"frame {source.label}: no connected surface of {config.least_piece} pixels in the mask, "
                f"which has {count} pixels with depth: check mask and depth"
            )
        field = WarpField(device, config.sigma_m, reach_m=config.reach_m, capacity=nodes)
        field.set_graph(graph.positions, graph.edges)
        points = wp.array(mesh.points, dtype=wp.vec3, device=device)
        anchors = wp.zeros(count, dtype=wp.vec4i, device=device)
        weights = wp.zeros(count, dtype=wp.vec4, device=device)
        field.anchor(points, count, anchors, weights)

        start = now_ns()
        flow = self._estimator.step(source, target, source_mask=mask)
        flow_ms = (now_ns() - start) * 1e-6
        targets = self._targets(flow, target, mesh.pixels)
        solver = GaussNewton(field, source.intrinsics, config.solver)
        solver.set_points(ModelPoints(points, anchors, weights, count))
        solver.set_flow(targets)
        solver.solve()  # warm-up: kernels are built and buffers touched
        field.set_motion()
        start = now_ns()
        summary = solver.solve()
        wp.synchronize_device(device)
        solve_ms = (now_ns() - start) * 1e-6
        warped = wp.zeros(count, dtype=wp.vec3, device=device)
        field.warp(points, anchors, weights, count, warped)
        matches = int(np.count_nonzero(targets.weight))
        moved = np.where(np.any(weights.numpy(), axis=1)[:, None], warped.numpy(), mesh.points)
        at_nodes = mesh.pixels[graph.points]
        return TrackedPair(
            mesh.pixels, mesh.points, moved, at_nodes, field.motion()[1], flow, summary, matches, nodes, flow_ms,
            solve_ms,
        )  # fmt: skip

    def _targets(self, flow: FlowField, target: RgbdFrame, pixels: Array) -> FlowTargets:
        u, v = pixels.T // flow.cell_px
        landed = (pixels + flow.flow_px[v, u]).astype(np.float32)
        weight = np.where(np.isfinite(landed).all(axis=1), flow.weight[v, u], 0).astype(np.float32)
        usable = (target.depth_m > 0) & ~depth_edges(target.depth_m, self.config.step_m)
        depth_m, good = sample_bilinear(target.depth_m, landed, usable)
        inside = (landed >= 0).all(axis=1) & (landed[:, 0] <= target.intrinsics.width - 1)
        inside &= landed[:, 1] <= target.intrinsics.height - 1
        return FlowTargets(landed, np.where(good, depth_m, 0).astype(np.float32), np.where(inside, weight, 0))


@dataclass(frozen=True, slots=True)
class PairErrors:
    """Errors against ground truth.

    Attributes:
        epe3d_mm, epe3d_median_mm: distance of warped points to source point + scene flow, over the mask's pixels
            with finite scene flow; no_motion_mm is what standing still would give.
        graph_error_mm: mean distance of the nodes' translations to the scene flow of their pixels, nan where it is
            known of none. A node that the solver dropped stands still.
        epe2d_px: mean distance of the projected warped points to the true flow's end.
        flow_epe2d_px: of the correspondences that were used, weighted by their confidence.
    """

    epe3d_mm: float
    epe3d_median_mm: float
    graph_error_mm: float
    epe2d_px: float
    flow_epe2d_px: float
    no_motion_mm: float


def pair_errors(result: TrackedPair, source: RgbdFrame, true_flow_px: Array, true_scene_flow_m: Array) -> PairErrors:
    """Compare with (H, W, 2) true flow [px] and (H, W, 3) true scene flow [m], not finite = unknown.

    Raises:
        InputError: the scene flow is known nowhere on the tracked pixels.
    """
    u, v = result.pixels.T
    motion = true_scene_flow_m[v, u]
    known = np.isfinite(motion).all(axis=1)
    if not known.any():
        raise InputError(f"frame {source.label}: no tracked pixel has a finite scene flow: check that the files match")
    error = np.linalg.norm(result.warped[known] - (result.points[known] + motion[known]), axis=1)
    still = np.linalg.norm(motion[known], axis=1)
    flow = true_flow_px[v, u]
    seen = np.isfinite(flow).all(axis=1) & (result.warped[:, 2] > 0)
    ends = result.pixels[seen] + flow[seen]
    error2d = np.linalg.norm(project(result.warped[seen], source.intrinsics) - ends, axis=1)
    found, cell = result.flow, (v // result.flow.cell_px, u // result.flow.cell_px)
    weight = found.weight[cell][seen]
    used = np.linalg.norm(found.flow_px[cell][seen] - flow[seen], axis=1)
    flow_error = float(np.average(used, weights=weight)) if weight.sum() > 0 else float("nan")
    u, v = result.node_pixels.T
    node_error = np.linalg.norm(result.node_motion_m - true_scene_flow_m[v, u], axis=1)
    node_error = node_error[np.isfinite(node_error)]
    return PairErrors(
        epe3d_mm=float(error.mean() * 1e3),
        epe3d_median_mm=float(np.median(error) * 1e3),
        graph_error_mm=float(node_error.mean() * 1e3) if len(node_error) else float("nan"),
        epe2d_px=float(error2d.mean()),
        flow_epe2d_px=flow_error,
        no_motion_mm=float(still.mean() * 1e3),
    )
