"""Gauss-Newton for non-rigid tracking (NNRT Algorithm 1), with Levenberg damping, on any device."""
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import gather_motions, vec16
from bodystream.device import Kernel, LaunchCache, RecordedLaunch, Staged, download, upload, uploaded
from bodystream.device.camera import device_camera
from bodystream.tracking import assembly_kernels, cluster_kernels, rigid_kernels, step_kernels, term_kernels
from bodystream.tracking.groups import MAX_NODES, PointGroups
from bodystream.tracking.linear import BandedCholesky, ConjugateGradients, LinearReport, NormalEquations
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.pattern import analyse_pattern
from bodystream.tracking.solver_buffers import group_blocks, match_buffers
from bodystream.tracking.solver_types import FlowTargets, SolverConfig, SolveSummary, solve_status, term_weights
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FlowTargets", "GaussNewton", "SolveSummary", "SolverConfig"]

COST_CHUNK = 256
# So many points tell six numbers as well as all do.
RIGID_POINTS, RIGID_CHUNK = 1500, 64
# What a solve tells the host lies in one block, so that it is read back once: state, report of the linear solver,
# tally of nodes and points, and behind them the costs.
STATE, REPORT, TALLY, COSTS = 0, 4, 8, 16


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
        self._launch = LaunchCache(self.device)
        self._model: ModelPoints | None = None
        self._grouped: ModelPoints | None = None
        self._count = 0
        self._match_capacity = 0
        self._group_capacity = 0
        self._graph_version = -1
        self._use_flow = False
        self._use_icp = False
        self._solved_nodes = self._dropped_nodes = 0
        self._camera = device_camera(intrinsics)
        self._own_depth = Staged((intrinsics.height, intrinsics.width), float, self.device)
        self._depth = self._own_depth.array
        trials = self.config.iterations + 1
        self._results = Staged(COSTS + 4 * trials, float, self.device)
        self._state = self._results.array[STATE : STATE + step_kernels.STATES]
        self._report = self._results.array[REPORT : REPORT + 3]
        self._tally = self._results.array[TALLY : TALLY + 6]
        costs: Any = self._results.array[COSTS:]
        self._totals = costs.reshape((trials, 4))
        first = np.zeros(step_kernels.STATES)
        first[step_kernels.DAMPING] = self.config.damping
        first[step_kernels.ACCEPTED_COST], first[step_kernels.ACCEPTED] = -1.0, 1.0
        self._first_state = uploaded(first, float, self.device)
        self._rigid_step = wp.zeros(2, dtype=wp.vec3, device=self.device)

    @property
    def active(self) -> Array:
        """(N,) bool, the nodes that the last solve used; N = nodes at that time."""
        if self._dropped_nodes in (0, self._solved_nodes):
            return np.full(self._solved_nodes, self._dropped_nodes == 0)
        return download(self._active, self._solved_nodes).astype(bool)

    def set_points(self, model: ModelPoints) -> None:
        """The canonical points that will be matched; with normals for ICP.

        Sorts them by anchor set. To be called again when points or graph changed; what did not is not done again.
        """
        self._use_flow = self._use_icp = False
        if model is self._model and self.field.version == self._graph_version:
            return
        count = model.count
        if count > self._match_capacity or self._match_capacity == 0:
            self._allocate_matches(max(2 * self._match_capacity, count, 1))
        self._count = count
        self._model = None
        if count == 0 or self.field.count == 0:
            return  # `solve` reports that there is nothing to solve
        self._analyse_graph()
        if model is not self._grouped:
            self._groups.sort(model)
            self._grouped = model
        if self._groups.count > self._group_capacity:
            self._allocate_groups(max(2 * self._group_capacity, self._groups.count))
        self._record(model)
        self._model = model

    def set_flow(self, targets: FlowTargets) -> None:
        """Matches of this frame, in the order of the points that were set."""
        n = self._count
        if targets.pixels.shape != (n, 2):
            raise ValueError(f"flow targets must have shape {(n, 2)} as the points, got {targets.pixels.shape}")
        weight = np.nan_to_num(targets.weight, nan=0.0, posinf=0.0, neginf=0.0)
        finite = np.all(np.isfinite(targets.pixels), axis=1)
        depth = np.nan_to_num(targets.depth_m, posinf=0.0, neginf=0.0)
        if n and self._model is not None:
            grouped = self._groups.sorted
            upload(self._targets.pixels, grouped(np.where(finite[:, None], targets.pixels, 0).astype(np.float32)))
            upload(self._targets.depth, grouped(depth.astype(np.float32)))
            upload(self._targets.weight, grouped(np.where(finite, weight, 0).astype(np.float32)))
        self._use_flow = True

    @property
    def points(self) -> ModelPoints:
        """The points that were set, in the order in which the solver keeps them: those on the same nodes together."""
        return self._groups.points

    @property
    def flow_buffers(self) -> term_kernels.Targets:
        """Device buffers to fill in place of `set_flow`, in the order of `points`; then call `use_flow`."""
        return self._targets

    def use_flow(self) -> None:
        """Say that the `flow_buffers` hold this frame's matches."""
        self._use_flow = True

    def set_depth(self, depth_m: Array | wp.array) -> None:
        """(H, W) float32 foreground depth of this frame [m], 0 = none: turns dense ICP on.

        A device array is not copied, and must hold the same frame until `solve` has returned.
        """
        if isinstance(depth_m, wp.array):
            self._depth = depth_m
        else:
            self._own_depth.upload(depth_m)
            self._depth = self._own_depth.array
        self._use_icp = True

    def solve(self, reach_m: float | None = None) -> SolveSummary:
        """Improve the field's motion in place, starting from where it is (warm start).

        Args:
            reach_m: of ICP in place of `icp_reach_m`, for a start that is farther off than the last frame's motion is.
        """
        config = self.config
        if self.field.count == 0 or self._count == 0 or not (self._use_flow or self._use_icp):
            return self._nothing("no graph" if self.field.count == 0 else "no matches")
        self._term.icp_reach_m = config.icp_reach_m if reach_m is None else reach_m
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
            if report.shift_m is not None:
                step_m = report.shift_m
                if step_m < config.stop_step_m:
                    break
        self._evaluate(done)
        self.field.motion_changed()
        return self._summarise(done, linear_iterations, condition, failed, step_m)

    def begin(self) -> None:
        """What comes before the iterations: damping, dropped clusters, and the rigid steps."""
        self._results.array.zero_()
        wp.copy(self._state, self._first_state)
        self._select_active()
        last = self.config.rigid_iterations - 1
        for k in range(self.config.rigid_iterations):
            self._sum_rigid()
            self._solve_rigid()
            self._apply_rigid()
            self._terms(self._rigid_stride if k < last else 1)
        self._expect()

    def iterate(self, iteration: int) -> LinearReport:
        """One Gauss-Newton iteration. On CUDA it only launches kernels, so it may be captured in a graph."""
        self._evaluate(iteration)
        self._assemble()
        report = self._linear.solve()
        self._apply_step()
        return report

    def normal_equations(self, expected_m: Array | None = None) -> NormalEquations:
        """The system of a first iteration without rigid steps, to look into; `solve` makes its own.

        Args:
            expected_m: (N, 3) translations as if the solve had begun with them; None = those that there are.
        """
        self._results.array.zero_()
        wp.copy(self._state, self._first_state)
        self._select_active()
        self._expect()
        if expected_m is not None:
            upload(self._expected, expected_m)
        self._evaluate(0)
        self._assemble()
        return self._equations

    def _expect(self) -> None:
        """From where linked nodes are to depart alike."""
        wp.copy(self._expected, self.field.graph.translations, count=self.field.count)

    def _raise_damping(self) -> None:
        """After a system that could not be solved: its zero step will be accepted, which lowers damping again."""
        state = download(self._state).copy()
        state[step_kernels.DAMPING] = max(100.0 * state[step_kernels.DAMPING], 1e-2)
        upload(self._state, state)

    def _nothing(self, reason: str) -> SolveSummary:
        self._solved_nodes = self._dropped_nodes = self.field.count
        return SolveSummary.of_nothing(reason, self.config.damping, self.field.count)

    def _summarise(self, done: int, linear: int, condition: float, failed: bool, step_m: float) -> SolveSummary:
        nodes = self.field.count
        self._tally_nodes()
        if self._use_icp:
            self._tally_seen()
        results = self._results.download()
        state = results[STATE : STATE + step_kernels.STATES]
        matches, dropped, _, near, far, off = (int(n) for n in results[TALLY : TALLY + 6])
        costs = results[COSTS:].reshape(-1, 4)[: done + 1].astype(np.float64)
        if state[step_kernels.ACCEPTED] < 0.5:
            costs[-1] = costs[np.argmin(costs[:-1].sum(axis=1))]  # the last step was taken back
        self._solved_nodes, self._dropped_nodes = nodes, dropped
        unexplained = float("nan")
        if self._use_icp:
            facing = near + far + off
            unexplained = (far + off) / facing if facing else 1.0
        status, reason = solve_status(nodes, dropped, failed, self.config.min_matches)
        return SolveSummary(
            status=status,
            reason=reason,
            iterations=done,
            rejected=int(state[step_kernels.REJECTED]),
            costs=costs,
            damping=float(state[step_kernels.DAMPING]),
            linear_iterations=linear,
            condition_hint=condition,
            matches=matches,
            dropped_nodes=dropped,
            unexplained=unexplained,
            last_step_m=step_m,
        )

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
            uploaded(pattern.row_start, wp.int32, device),
            uploaded(pattern.columns, wp.int32, device),
            uploaded(pattern.slots, wp.int32, device),
            wp.zeros((len(pattern.columns), 4), dtype=wp.mat33, device=device),
            wp.zeros((n, 2), dtype=wp.vec3, device=device),
            wp.zeros((n, 2), dtype=wp.vec3, device=device),
            self._state,
            self._report,
        )
        linear = self.config.linear
        if linear == "auto":
            linear = "direct" if device.is_cpu and n <= self.config.direct_max_nodes else "pcg"
        if linear == "direct":
            self._linear = BandedCholesky(pattern, self._equations)
        else:
            self._linear = ConjugateGradients(
                n, self._equations, self.config.pcg_iterations, self.config.pcg_tolerance, self._launch
            )
        self._clusters = uploaded(field.clusters, wp.int32, device)
        self._cluster_counts = wp.zeros(int(field.clusters.max(initial=-1)) + 1, dtype=wp.int32, device=device)
        self._active = wp.zeros(n, dtype=wp.int32, device=device)
        self._motions = wp.zeros(n, dtype=vec16, device=device)
        self._kept_rotations = wp.zeros(n, dtype=wp.mat33, device=device)
        self._expected = wp.zeros(n, dtype=wp.vec3, device=device)
        self._kept_translations = wp.zeros(n, dtype=wp.vec3, device=device)

    def _allocate_matches(self, capacity: int) -> None:
        self.growth_count += self._match_capacity > 0
        self._match_capacity = capacity
        device = self.device
        self._groups = PointGroups(device, capacity)
        self._grouped = None
        self._targets, self._sums = match_buffers(capacity, device)
        self._seen = wp.zeros(capacity, dtype=wp.uint8, device=device)
        self._rigid_sums = wp.zeros((-(-capacity // RIGID_CHUNK), 27), dtype=float, device=device)

    def _allocate_groups(self, capacity: int) -> None:
        self._group_capacity = capacity
        self._parts = group_blocks(capacity, self.device)

    def _record(self, model: ModelPoints) -> None:
        """Record every launch once, and later only what changed; a step replays them."""
        field, config, graph = self.field, self.config, self.field.graph
        matches, nodes, groups = self._count, field.count, self._groups
        points, anchors = groups.points.packed, groups.points.anchors
        starts, system = groups.starts, self._equations.packed
        chunks = -(-matches // COST_CHUNK)
        self._rigid_stride = stride = max(1, matches // RIGID_POINTS)
        rigid_chunks = -(-matches // (stride * RIGID_CHUNK))
        state, active, sums = self._state, self._active, self._sums
        reg, even = config.lambda_reg, config.lambda_even
        self._term = term_weights(config, matches, model.stride)

        def record(kernel: Kernel, dim: int, inputs: list, split: bool = True, chunk: int = 1024) -> RecordedLaunch:
            return self._launch.prepare(kernel, dim, inputs, min_chunk=chunk, split=split)

        self._gather_motions = record(gather_motions, nodes, [graph, self._motions])
        inputs = [points, 1, self._motions, active, self._camera, self._targets, self._depth]
        inputs += [self._term, sums, self._seen]
        self._match_terms = record(term_kernels.match_terms, matches, inputs, chunk=512)
        inputs = [matches, COST_CHUNK, sums, anchors, active, 0, self._totals]
        self._sum_costs = record(step_kernels.sum_costs, chunks, inputs, split=False)
        inputs = [graph, active, reg, even, self._expected, 0, self._totals]
        self._regularisation_cost = record(step_kernels.regularisation_cost, nodes, inputs, split=False)
        self._decide = record(step_kernels.decide, 1, [0, self._totals, state], split=False)
        inputs = [state, graph, self._kept_rotations, self._kept_translations]
        self._keep_or_revert = record(step_kernels.keep_or_revert, nodes, inputs)

        inputs = [points, graph, active, matches, stride, RIGID_CHUNK, sums, self._rigid_sums]
        self._sum_rigid = record(rigid_kernels.sum_rigid, rigid_chunks, inputs, chunk=32)
        inputs = [rigid_chunks, self._rigid_sums, 1e-4, self._rigid_step]
        self._solve_rigid = record(rigid_kernels.solve_rigid, 1, inputs, split=False)
        limits = [config.max_rotation_rad, config.max_translation_m]
        self._apply_rigid = record(rigid_kernels.apply_rigid, nodes, [self._rigid_step, *limits, graph])

        assembly = assembly_kernels
        inputs = [state, starts, points, graph, active, sums, self._parts]
        self._accumulate = record(assembly.accumulate_groups, groups.count, inputs, chunk=64)
        self._clear_system = record(assembly.clear_system, nodes, [state, system], chunk=128)
        inputs = [state, starts, anchors, active, self._parts, system]
        self._scatter = record(assembly.scatter_groups, groups.count, inputs, split=False)
        inputs = [state, graph, active, reg, even, self._expected, system]
        self._regularise = record(assembly.regularisation_blocks, nodes, inputs, split=False)
        self._mirror = record(assembly.mirror_blocks, nodes, [state, active, system], chunk=128)
        self._apply_step = record(step_kernels.apply_step, nodes, [self._equations.step, active, *limits, graph])

        inputs = [anchors, sums, self._clusters, self._cluster_counts]
        self._count_matches = record(cluster_kernels.count_matches, matches, inputs, split=False)
        inputs = [self._clusters, self._cluster_counts, -(-config.min_matches // model.stride), active]
        self._activate = record(cluster_kernels.activate_nodes, nodes, inputs)
        inputs = [active, self._cluster_counts, self._tally]
        self._tally_nodes = record(cluster_kernels.tally_nodes, nodes, inputs, split=False)
        self._tally_seen = record(cluster_kernels.tally_seen, matches, [self._seen, self._tally], split=False)

    def _set_terms(self, first: bool) -> None:
        """Hand this frame's depth, and which terms there are, to the recorded launch."""
        self._term.use_flow, self._term.use_icp = int(self._use_flow), int(self._use_icp)
        self._term.first = int(first)
        self._match_terms.set_param("term", self._term)
        self._match_terms.set_param("depth_m", self._depth)

    def _terms(self, stride: int = 1) -> None:
        """Terms of every `stride`-th match; those of the others stay."""
        self._gather_motions()
        self._match_terms.set_param("stride", stride)
        self._match_terms(-(-self._count // stride))

    def _select_active(self) -> None:
        """Drop clusters with too few matches: only regularised, they could drift anywhere."""
        self._active.fill_(1)
        self._cluster_counts.zero_()
        self._set_terms(first=True)
        self._terms()
        self._set_terms(first=False)
        self._count_matches()
        self._activate()

    def _evaluate(self, iteration: int) -> None:
        """Terms and cost at the trial motion; keep it, or go back to the last one that was better."""
        if iteration > 0:
            self._terms()
        for launch in (self._sum_costs, self._regularisation_cost, self._decide):
            launch.set_param("iteration", iteration)
            launch()
        self._keep_or_revert()

    def _assemble(self) -> None:
        """Normal equations at the kept motion; skipped on the device when the trial was rejected."""
        self._accumulate()
        self._clear_system()
        self._scatter()
        self._regularise()
        self._mirror()
