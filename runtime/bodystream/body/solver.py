"""The sparse system of an `AcapSpace` for who solves it again and again: the twin of `AcapSpace.solve` in kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU

from bodystream.body import solver_kernels as kernels
from bodystream.body.acap import AcapSpace
from bodystream.device import RecordedLaunch, select_device, uploaded
from bodystream.device.quiet import quiet_warp
from bodystream.types import Array

__all__ = ["AcapSolver"]

_GROUP = 4
"""Columns of the factor that are taken together: as many as vectors hold. More would hold more zeros."""


class AcapSolver:
    """Solves for three right sides at once, on the processor and in float64; for one thread.

    A Cholesky factor is read twice where scipy's two factors are read once each, and a row of four of its columns has
    one index: a third of the memory, which is what takes the time. Solutions are those of `AcapSpace.solve`.

    Args:
        space: of the reference mesh; it is factorised here.

    Attributes:
        place: (V,) int32, the row of each vertex in `rows`: that in which the factor has it.
        rows: (N, 4) float64 right sides, N >= V, of which the fourth column says nothing. found: (V, 3) float64, the
            last solution. `device_rows` and `device_found` are the same memory.
    """

    def __init__(self, space: AcapSpace) -> None:
        factors, device = space.factorised(), select_device("cpu")
        count = space.count
        # The vertex that stays where it is has no column of the factor. It comes last, and its row is solved to zero.
        self.place: Array = np.append(count - 1, factors.perm_c).astype(np.int32)
        first, row, below, own_inverse = _grouped(factors)
        self.device_rows = wp.zeros(_GROUP * len(own_inverse), dtype=wp.vec4d, device=device)
        self.device_found = wp.zeros(count, dtype=wp.vec3d, device=device)
        balance, move = wp.zeros(1, dtype=wp.vec4d, device=device), wp.zeros(1, dtype=wp.vec3d, device=device)
        self.rows: Array = self.device_rows.numpy()
        self.found: Array = self.device_found.numpy()
        self._balance: Array = balance.numpy()
        self._move: Array = move.numpy()
        self._order = np.argsort(self.place)
        self._share = np.full(count, 1.0 / count)  # of a mean: numpy's own takes ten times as long over rows of four

        def array(values: Array, dtype: Any) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        inputs = [array(first, wp.int32), array(row, wp.int32), array(below, wp.vec4d), array(own_inverse, wp.mat44d)]
        out = [self.device_rows, array(self.place, wp.int32), move, self.device_found]
        with quiet_warp():  # kernels are built or loaded here
            self._steps = [
                RecordedLaunch(kernels.forward, 1, [*inputs, balance, self.device_rows], device, split=False),
                RecordedLaunch(kernels.back, 1, [*inputs, self.device_rows], device, split=False),
            ]
            self._take_out = RecordedLaunch(kernels.take_out, count, out, device, split=False)

    def solve(self, wanted: Array) -> Array:
        """(V, 3) the columns of the system's solution whose mean is zero, for (V, 3) right sides; the solver's own
        array, which changes with the next call."""
        self.rows[: len(self.place), :3] = wanted.take(self._order, axis=0)
        return self.solved(np.zeros(3))

    def solved(self, mean: Array) -> Array:
        """The same for the right sides that were written to `rows`, which are lost.

        Args:
            mean: (3,) of the solution.
        """
        used = self.rows[: len(self.place)]
        self._balance[0] = self._share @ used
        for step in self._steps:
            step()
        np.subtract(mean, (self._share @ used)[:3], out=self._move[0])
        self._take_out()
        return self.found


def _grouped(factors: SuperLU) -> tuple[Array, Array, Array, Array]:
    """The Cholesky factor of a symmetric matrix, see `solver_kernels.forward`: `first`, `row`, `below`, `own_inverse`,
    with at least one more column than the matrix has, whose solution is zero."""
    lower: csc_matrix = factors.L  # with a diagonal of ones: the other factor is its transpose times a diagonal
    count = len(factors.perm_c)
    groups = count // _GROUP + 1
    row, column = lower.indices.astype(np.int64), np.repeat(np.arange(count), np.diff(lower.indptr))
    value = lower.data * np.sqrt(factors.U.diagonal())[column]
    group, place = column // _GROUP, column % _GROUP
    own = row // _GROUP == group
    blocks = np.zeros((groups, _GROUP, _GROUP))
    blocks[group[own], row[own] % _GROUP, place[own]] = value[own]
    beyond = np.arange(count % _GROUP, _GROUP)
    blocks[-1, beyond, beyond] = 1.0
    own_inverse = np.linalg.inv(blocks)
    own_inverse[-1, beyond, beyond] = 0.0
    edges, edge = np.unique((group * count + row)[~own], return_inverse=True)
    below = np.zeros((len(edges), _GROUP))
    below[edge, place[~own]] = value[~own]
    return np.searchsorted(edges // count, np.arange(groups + 1)), edges % count, below, own_inverse
