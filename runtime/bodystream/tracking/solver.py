"""Gauss-Newton for non-rigid tracking (NNRT Algorithm 1), with Levenberg damping, on any device."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import ParallelLaunch
from bodystream.tracking import assembly_kernels, kernels
from bodystream.tracking.linear import BandedCholesky, ConjugateGradients, LinearReport, NormalEquations
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.pattern import analyse_pattern
from bodystream.tracking.solver_types import FlowTargets, SolverConfig, SolveSummary
from bodystream.types import Array, CameraIntrinsics, Status

__all__ = ["FlowTargets", "GaussNewton", "SolveSummary", "SolverConfig"]

# Fits four node indices of 15 bits into one signed 64-bit sort key.
MAX_NODES = 1 << 15
COST_CHUNK = 256


class GaussNewton:
    """Solves the motion of a `WarpField` from matches; all buffers are kept between frames.

    Use: `set_points`, then per frame `set_flow` and/or `set_depth`, then `solve`.
    """

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, config: SolverConfig | None = None) -> None:
        self.config = SolverConfig() if config is None else config
        self.field = field
        self.intrinsics = intrinsics
        self.device = field.device
        self.growth_count = 0
        self.active = np.zeros(0, bool)
        self._points: tuple[wp.array, wp.array] | None = None
        self._count = 0
        self._match_capacity = 0
        self._group_capacity = 0
        self._graph_version = -1
        self._use_flow = False
        self._use_icp = False
        camera = kernels.Pinhole()
        camera.fx, camera.fy, camera.cx, camera.cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
        camera.width, camera.height = intrinsics.width, intrinsics.height
        self._camera = camera
        self._depth = wp.zeros((intrinsics.height, intrinsics.width), dtype=float, device=self.device)
        self._state = wp.zeros(4, dtype=float, device=self.device)
        self._rigid_step = wp.zeros(2, dtype=wp.vec3, device=self.device)
        self._totals = wp.zeros((self.config.iterations + 1, 4), dtype=float, device=self.device)

    def set_points(self, model: ModelPoints) -> None:
        """The canonical points that will be matched; with normals for ICP.

        Sorts them by anchor set. To be called again when the points, their anchors or the graph changed.
        """
        count = model.count
        if count > self._match_capacity or self._match_capacity == 0:
            self._allocate_matches(max(2 * self._match_capacity, count, 1))
        self._count = count
        self._use_flow = self._use_icp = False
        if count == 0 or self.field.count == 0:
            return  # `solve` reports that there is nothing to solve
        self._analyse_graph()
        self._points = (model.points, model.points if model.normals is None else model.normals)
        inputs = [model.anchors, model.weights, self._anchors, self._weights]
        ParallelLaunch(kernels.sort_anchors, count, inputs, self.device)()
        ids = self._anchors.numpy()[:count].astype(np.int64)
        keys = ((ids[:, 0] << 45) | (ids[:, 1] << 30)) | ((ids[:, 2] << 15) | ids[:, 3])
        order = np.argsort(keys)
        sorted_keys = keys[order]
        starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        self._groups = len(starts)
        if self._groups > self._group_capacity:
            self._allocate_groups(max(2 * self._group_capacity, self._groups))
        self._order[:count].assign(order.astype(np.int32))
        self._group_start[: self._groups + 1].assign(np.r_[starts, count].astype(np.int32))
        self._record()

    def set_flow(self, targets: FlowTargets) -> None:
        """Matches of this frame, in the order of the points."""
        n = self._count
        if targets.pixels.shape != (n, 2):
            raise ValueError(f"flow targets must have shape {(n, 2)} as the points, got {targets.pixels.shape}")
        weight = np.nan_to_num(targets.weight, nan=0.0, posinf=0.0, neginf=0.0)
        finite = np.isfinite(targets.pixels).all(axis=1)
        self._target_px[:n].assign(np.where(finite[:, None], targets.pixels, 0).astype(np.float32))
        self._target_z[:n].assign(np.nan_to_num(targets.depth_m, posinf=0.0, neginf=0.0).astype(np.float32))
        self._flow_weight[:n].assign(np.where(finite, weight, 0).astype(np.float32))
        self._use_flow = True

    @property
    def flow_buffers(self) -> tuple[wp.array, wp.array, wp.array]:
        """Device buffers (pixels vec2, depth [m], weight) to fill in place of `set_flow`; then call `use_flow`."""
        return self._target_px, self._target_z, self._flow_weight

    def use_flow(self) -> None:
        """Say that the `flow_buffers` hold this frame's matches."""
        self._use_flow = True

    def set_depth(self, depth_m: Array | wp.array) -> None:
        """(H, W) float32 foreground depth of this frame [m], 0 = none: turns dense ICP on."""
        if isinstance(depth_m, wp.array):
            wp.copy(self._depth, depth_m)
        else:
            self._depth.assign(depth_m)
        self._use_icp = True

    def solve(self) -> SolveSummary:
        """Improve the field's motion in place, starting from where it is (warm start)."""
        config = self.config
        if self.field.count == 0 or self._count == 0 or not (self._use_flow or self._use_icp):
            return self._nothing("no graph" if self.field.count == 0 else "no matches")
        self.begin()
        linear_iterations, condition, failed, done, step_m = 0, 0.0, False, 0, 0.0
        for iteration in range(config.iterations):
            report = self.iterate(iteration)
            linear_iterations += report.iterations
            condition = max(condition, report.condition_hint)
            if not report.solved:
                failed = True
                self._raise_damping()
            done = iteration + 1
            if self.device.is_cpu:
                step_m = float(np.abs(self._equations.step.numpy()[:, 1]).max())
                if step_m < config.stop_step_m:
                    break
        self._evaluate(done)
        self.field.motion_changed()
        return self._summarise(done, linear_iterations, condition, failed, step_m)

    def begin(self) -> None:
        """What comes before the iterations: damping, dropped clusters, and the rigid steps."""
        self._totals.zero_()
        self._state.assign(np.array([self.config.damping, -1.0, 1.0, 0.0], np.float32))
        self._select_active()
        for _ in range(self.config.rigid_iterations):
            self._sum_rigid()
            self._solve_rigid()
            self._apply_rigid()
            self._terms()

    def iterate(self, iteration: int) -> LinearReport:
        """One Gauss-Newton iteration. On CUDA it only launches kernels, so it may be captured in a graph."""
        self._evaluate(iteration)
        self._assemble()
        report = self._linear.solve()
        self._apply_step()
        return report

    def _raise_damping(self) -> None:
        """After a system that could not be solved: its zero step will be accepted, which lowers damping again."""
        state = self._state.numpy().copy()
        state[0] = max(100.0 * state[0], 1e-2)
        self._state.assign(state)

    def _nothing(self, reason: str) -> SolveSummary:
        self.active = np.zeros(self.field.count, bool)
        return SolveSummary(
            status=Status.LOST,
            reason=reason,
            iterations=0,
            rejected=0,
            costs=np.zeros((1, 4)),
            damping=self.config.damping,
            linear_iterations=0,
            condition_hint=0.0,
            matches=0,
            dropped_nodes=self.field.count,
            unexplained=float("nan"),
            last_step_m=0.0,
        )

    def _summarise(self, done: int, linear: int, condition: float, failed: bool, step_m: float) -> SolveSummary:
        state = self._state.numpy()
        costs = self._totals.numpy()[: done + 1].astype(np.float64)
        if state[2] < 0.5:
            costs[-1] = costs[np.argmin(costs[:-1].sum(axis=1))]  # the last step was taken back
        counts = self._cluster_counts.numpy()
        self.active = self._active.numpy()[: self.field.count].astype(bool)
        dropped = int((~self.active).sum())
        status, reason = Status.TRACKED, ""
        if dropped == self.field.count:
            status, reason = Status.LOST, f"no cluster of nodes has {self.config.min_matches} matches"
        elif failed:
            status, reason = Status.DEGRADED, "a linear system was not positive definite"
        elif dropped:
            status, reason = Status.DEGRADED, f"{dropped} nodes are in clusters with too few matches"
        return SolveSummary(
            status=status,
            reason=reason,
            iterations=done,
            rejected=int(state[3]),
            costs=costs,
            damping=float(state[0]),
            linear_iterations=linear,
            condition_hint=condition,
            matches=int(counts.sum()),
            dropped_nodes=dropped,
            unexplained=self._unexplained(),
            last_step_m=step_m,
        )

    def _unexplained(self) -> float:
        if not self._use_icp:
            return float("nan")
        _, near, far, off = np.bincount(self._seen.numpy()[: self._count], minlength=4)
        facing = near + far + off
        return float((far + off) / facing) if facing else 1.0

    def _analyse_graph(self) -> None:
        field = self.field
        if field.version == self._graph_version:
            return
        self._graph_version = field.version
        n = field.count
        if n >= MAX_NODES:
            raise ValueError(f"a graph has at most {MAX_NODES - 1} nodes, got {n}: use a larger node distance")
        pattern = analyse_pattern(field.host_edges)
        device = self.device
        self._equations = NormalEquations(
            wp.array(pattern.row_start, dtype=wp.int32, device=device),
            wp.array(pattern.columns, dtype=wp.int32, device=device),
            wp.array(pattern.slots, dtype=wp.int32, device=device),
            wp.zeros((len(pattern.columns), 4), dtype=wp.mat33, device=device),
            wp.zeros((n, 2), dtype=wp.vec3, device=device),
            wp.zeros((n, 2), dtype=wp.vec3, device=device),
            self._state,
        )
        linear = self.config.linear
        if linear == "auto":
            linear = "direct" if device.is_cpu and n <= self.config.direct_max_nodes else "pcg"
        if linear == "direct":
            self._linear = BandedCholesky(pattern, self._equations)
        else:
            self._linear = ConjugateGradients(n, self._equations, self.config.pcg_iterations, self.config.pcg_tolerance)
        self._clusters = wp.array(field.clusters, dtype=wp.int32, device=device)
        self._cluster_counts = wp.zeros(int(field.clusters.max(initial=-1)) + 1, dtype=wp.int32, device=device)
        self._active = wp.zeros(n, dtype=wp.int32, device=device)
        self._kept_rotations = wp.zeros(n, dtype=wp.mat33, device=device)
        self._kept_translations = wp.zeros(n, dtype=wp.vec3, device=device)

    def _allocate_matches(self, capacity: int) -> None:
        self.growth_count += self._match_capacity > 0
        self._match_capacity = capacity
        device = self.device
        self._anchors = wp.zeros(capacity, dtype=wp.vec4i, device=device)
        self._weights = wp.zeros(capacity, dtype=wp.vec4, device=device)
        self._order = wp.zeros(capacity, dtype=wp.int32, device=device)
        self._target_px = wp.zeros(capacity, dtype=wp.vec2, device=device)
        self._target_z = wp.zeros(capacity, dtype=float, device=device)
        self._flow_weight = wp.zeros(capacity, dtype=float, device=device)
        self._information = wp.zeros(capacity, dtype=wp.mat33, device=device)
        self._gradient = wp.zeros(capacity, dtype=wp.vec3, device=device)
        self._cost = wp.zeros(capacity, dtype=wp.vec3, device=device)
        self._seen = wp.zeros(capacity, dtype=wp.uint8, device=device)
        self._rigid_sums = wp.zeros((-(-capacity // COST_CHUNK), 27), dtype=float, device=device)

    def _allocate_groups(self, capacity: int) -> None:
        self._group_capacity = capacity
        self._group_start = wp.zeros(capacity + 1, dtype=wp.int32, device=self.device)
        self._blocks = wp.zeros((capacity, 40), dtype=wp.mat33, device=self.device)
        self._block_right = wp.zeros((capacity, 8), dtype=wp.vec3, device=self.device)

    def _record(self) -> None:
        """Record every launch once; a step replays them."""
        assert self._points is not None
        points, normals = self._points
        f, e, m, g, n = self.field, self._equations, self._count, self._groups, self.field.count
        k, a, state = kernels, assembly_kernels, self._state
        term = k.TermWeights()
        c = self.config
        share = min(1.0, c.reference_matches / max(m, 1)) if c.reference_matches else 1.0
        term.flow, term.depth, term.icp = c.lambda_flow * share, c.lambda_depth * share, c.lambda_icp * share
        term.reg = c.lambda_reg
        term.flow_huber_px, term.icp_huber_m = c.flow_huber_px, c.icp_huber_m
        term.icp_reach_m, term.icp_min_cosine = c.icp_reach_m, c.icp_min_cosine
        motion = [f.positions, f.rotations, f.translations]
        sums = [self._information, self._gradient, self._cost]

        def record(kernel: wp.Kernel, dim: int, inputs: list, split: bool = True, chunk: int = 1024) -> ParallelLaunch:
            return ParallelLaunch(kernel, dim, inputs, self.device, min_chunk=chunk, split=split)

        where = [self._anchors, self._weights, *motion, self._active, self._camera, term]
        targets = [self._target_px, self._target_z, self._flow_weight]
        self._clear_terms = record(k.clear_terms, m, sums, chunk=16384)
        self._flow_terms = record(k.flow_terms, m, [points, *where, *targets, *sums])
        self._icp_terms = record(k.icp_terms, m, [points, normals, *where, self._depth, *sums, self._seen])
        inputs = [m, COST_CHUNK, self._cost, self._anchors, self._active, 0, self._totals]
        self._sum_costs = record(k.sum_costs, -(-m // COST_CHUNK), inputs, split=False)
        chunks = -(-m // COST_CHUNK)
        inputs = [m, COST_CHUNK, points, self._anchors, self._weights, *motion, self._active]
        inputs += [self._information, self._gradient, self._rigid_sums]
        self._sum_rigid = record(k.sum_rigid, chunks, inputs, chunk=4)
        inputs = [chunks, 1e-4, self._rigid_sums, self._rigid_step]
        self._solve_rigid = record(k.solve_rigid, 1, inputs, split=False)
        inputs = [self._rigid_step, f.positions, c.max_rotation_rad, c.max_translation_m, f.rotations, f.translations]
        self._apply_rigid = record(k.apply_rigid, n, inputs)
        inputs = [*motion, f.edges, self._active, c.lambda_reg, 0, self._totals]
        self._regularisation_cost = record(k.regularisation_cost, n, inputs, split=False)
        self._decide = record(k.decide, 1, [0, self._totals, state], split=False)
        inputs = [state, f.rotations, f.translations, self._kept_rotations, self._kept_translations]
        self._keep_or_revert = record(k.keep_or_revert, n, inputs)
        inputs = [state, self._group_start, self._order, points, self._anchors, self._weights]
        inputs += [self._information, self._gradient, f.positions, f.rotations, self._active]
        self._accumulate = record(a.accumulate_groups, g, [*inputs, self._blocks, self._block_right], chunk=64)
        self._clear_system = record(a.clear_system, n, [state, e.row_start, e.values, e.right], chunk=128)
        inputs = [state, self._group_start, self._order, self._anchors, self._blocks, self._block_right]
        self._scatter = record(a.scatter_groups, g, [*inputs, e.slots, self._active, e.values, e.right], split=False)
        inputs = [state, *motion, f.edges, self._active, e.slots, c.lambda_reg, e.values, e.right]
        self._regularise = record(a.regularisation_blocks, n, inputs, split=False)
        inputs = [state, e.row_start, e.columns, e.slots, self._active, e.values]
        self._mirror = record(a.mirror_blocks, n, inputs, chunk=128)
        inputs = [e.step, self._active, c.max_rotation_rad, c.max_translation_m, f.rotations, f.translations]
        self._apply_step = record(k.apply_step, n, inputs)
        inputs = [self._anchors, self._information, self._clusters, self._cluster_counts]
        self._count_matches = record(k.count_matches, m, inputs, split=False)
        inputs = [self._clusters, self._cluster_counts, c.min_matches, self._active]
        self._activate = record(k.activate_nodes, n, inputs)

    def _terms(self) -> None:
        self._clear_terms()
        if self._use_flow:
            self._flow_terms()
        if self._use_icp:
            self._icp_terms()

    def _select_active(self) -> None:
        """Drop clusters with too few matches: only regularised, they could drift anywhere."""
        self._active.fill_(1)
        self._cluster_counts.zero_()
        self._terms()
        self._count_matches()
        self._activate()

    def _evaluate(self, iteration: int) -> None:
        """Terms and cost at the trial motion; keep it, or go back to the last one that was better."""
        if iteration > 0:
            self._terms()
        for launch, index in ((self._sum_costs, 5), (self._regularisation_cost, 6), (self._decide, 0)):
            launch.set_param(index, iteration)
            launch()
        self._keep_or_revert()

    def _assemble(self) -> None:
        """Normal equations at the kept motion; skipped on the device when the trial was rejected."""
        self._accumulate()
        self._clear_system()
        self._scatter()
        self._regularise()
        self._mirror()
