"""Two ways to solve the block-sparse normal equations (H + damping diag H) x = b.

`BandedCholesky` is direct and runs on the host: best for small graphs on a CPU. `ConjugateGradients` stays on the
device without synchronisation, and grows linearly with the graph.
"""
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOptionalMemberAccess=false

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import warp as wp
from scipy.linalg import lapack
from threadpoolctl import ThreadpoolController

from bodystream.device import LaunchCache, download, upload
from bodystream.tracking import pcg_kernels, step_kernels
from bodystream.tracking.pattern import BlockPattern

__all__ = ["BandedCholesky", "ConjugateGradients", "LinearReport", "NormalEquations"]

# A band is too narrow to gain from threads, and OpenBLAS's spin while other threads of the pipeline want the cores.
_blas = ThreadpoolController()
# The number of threads is the process's: of two limits that overlap, the second would restore that of the first.
_blas_lock = threading.Lock()


@dataclass(slots=True)
class NormalEquations:
    """Device arrays of one system.

    Attributes:
        row_start (N + 1,), columns (S,), slots (N, N): int32, see `BlockPattern`.
        values: (S, 4) mat33. right: (N, 2) vec3. step: (N, 2) vec3, the solution.
        state: (4,) float, [0] = Levenberg damping relative to the diagonal.
        report: (3,) float, where conjugate gradients on a CPU say how they went.
    """

    row_start: wp.array
    columns: wp.array
    slots: wp.array
    values: wp.array
    right: wp.array
    step: wp.array
    state: wp.array
    report: wp.array

    @property
    def packed(self) -> pcg_kernels.System:
        """The kernels' view of it."""
        system = pcg_kernels.System()
        system.row_start, system.columns, system.slots = self.row_start, self.columns, self.slots
        system.values, system.right = self.values, self.right
        return system


@dataclass(frozen=True, slots=True)
class LinearReport:
    """How one solve went.

    Attributes:
        solved: false when the matrix was not positive definite; the step is then zero.
        iterations: of conjugate gradients; 1 for a direct solve.
        condition_hint: ratio of the largest to the smallest pivot, squared; 0 where it is not known.
        shift_m: root mean square of the nodes' translations in the step; None on CUDA, where nothing is read back.
    """

    solved: bool
    iterations: int
    condition_hint: float = 0.0
    shift_m: float | None = None


class BandedCholesky:
    """LAPACK's banded Cholesky in float64 on the reverse Cuthill-McKee order of the nodes."""

    def __init__(self, pattern: BlockPattern, equations: NormalEquations) -> None:
        self._equations = equations
        n = len(pattern.order)
        self.unknowns = 6 * n
        self.band = min(self.unknowns - 1, 6 * (pattern.bandwidth + 1) - 1)
        rank = np.empty(n, np.int64)
        rank[pattern.order] = np.arange(n)
        row_of = np.repeat(np.arange(n), np.diff(pattern.row_start))
        rows = 6 * rank[row_of][:, None, None] + np.arange(6)[:, None]
        columns = 6 * rank[pattern.columns][:, None, None] + np.arange(6)[None, :]
        lower = rows >= columns
        # LAPACK's lower band storage, Fortran order: entry (r, c) stands at [r - c, c].
        self._target = (columns * (self.band + 1) + rows - columns)[lower]
        # Entry (a, b) of a block is entry (a % 3, b % 3) of its 3x3 matrix number 2 (a // 3) + b // 3.
        a, b = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
        inside = (2 * (a // 3) + b // 3) * 9 + 3 * (a % 3) + b % 3
        source = np.arange(len(pattern.columns))[:, None, None] * 36 + inside
        self._source = source[np.broadcast_to(lower, source.shape)]
        self._diagonal = np.arange(self.unknowns) * (self.band + 1)
        self._unknown_of = (6 * rank[:, None] + np.arange(6)).reshape(-1)
        self._storage = np.zeros(self.unknowns * (self.band + 1))
        self._right = np.zeros(self.unknowns)

    def solve(self) -> LinearReport:
        """Write the step."""
        equations = self._equations
        values = download(equations.values).reshape(-1)
        storage = self._storage
        storage[:] = 0.0
        storage[self._target] = values[self._source]
        diagonal = storage[self._diagonal]
        damping = float(download(equations.state)[step_kernels.DAMPING])
        floor = 1e-7 + 1e-6 * diagonal.reshape(-1, 2, 3).sum(axis=2).repeat(3)
        storage[self._diagonal] = diagonal * (1.0 + damping) + floor
        self._right[self._unknown_of] = download(equations.right).reshape(-1)
        band = storage.reshape(self.unknowns, self.band + 1).T
        with _blas_lock, _blas.limit(limits=1, user_api="blas"):
            factor, x, info = lapack.dpbsv(band, self._right, lower=1, overwrite_ab=1)  # pyright: ignore[reportAttributeAccessIssue]
        if info != 0 or not np.isfinite(x).all():
            equations.step.zero_()
            return LinearReport(False, 1, shift_m=0.0)
        step = x[self._unknown_of].astype(np.float32).reshape(-1, 2, 3)
        upload(equations.step, step)
        pivots = factor[0]
        shift_m = float(np.sqrt(np.mean(np.sum(step[:, 1] ** 2, axis=1))))
        return LinearReport(True, 1, float((pivots.max() / pivots.min()) ** 2), shift_m)


class ConjugateGradients:
    """Block-Jacobi preconditioned conjugate gradients.

    Args:
        max_iterations: exactly as many run on CUDA, where nothing may wait for the host; a CPU stops earlier when the
            preconditioned residual fell below `tolerance` of its start.
        launch: of the owner, which keeps its launches when graph and equations are replaced.
    """

    def __init__(
        self, nodes: int, equations: NormalEquations, max_iterations: int, tolerance: float, launch: LaunchCache
    ) -> None:
        device = equations.values.device
        self._device = device
        self._max_iterations = max_iterations
        e = equations
        work, system = pcg_kernels.Work(), e.packed
        work.inverse = wp.zeros((nodes, 4), dtype=wp.mat33, device=device)
        for name in ("r", "z", "p", "q"):
            setattr(work, name, wp.zeros((nodes, 2), dtype=wp.vec3, device=device))
        work.x = e.step
        if device.is_cpu:
            self._report = e.report
            inputs = [nodes, system, e.state, max_iterations, tolerance, work, self._report]
            self._serial = launch.prepare(pcg_kernels.solve_serially, 1, inputs, split=False)
            return
        self._scalars = wp.zeros((max_iterations + 1, 2), dtype=float, device=device)
        outputs = [work, self._scalars]
        self._start = launch.prepare(pcg_kernels.start_pcg, nodes, [system, e.state, *outputs])
        self._multiply = launch.prepare(pcg_kernels.multiply, nodes, [0, system, e.state, *outputs])
        self._advance = launch.prepare(pcg_kernels.advance, nodes, [0, *outputs])
        self._turn = launch.prepare(pcg_kernels.turn, nodes, [0, self._scalars, work])

    def solve(self) -> LinearReport:
        """Write the step."""
        if self._device.is_cpu:
            self._serial()
            iterations, rz, shift_m = download(self._report)
            return LinearReport(bool(np.isfinite(rz)), int(iterations), shift_m=float(shift_m))
        self._scalars.zero_()
        self._start()
        for k in range(self._max_iterations):
            for launch in (self._multiply, self._advance, self._turn):
                launch.set_param("iteration", k)
                launch()
        return LinearReport(True, self._max_iterations)
