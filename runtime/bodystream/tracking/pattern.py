"""The sparsity of the normal equations, analysed once per graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from bodystream.types import Array

__all__ = ["BlockPattern", "analyse_pattern"]


@dataclass(frozen=True, slots=True)
class BlockPattern:
    """Which 6x6 blocks of the normal equations can be non-zero.

    Attributes:
        row_start: (N + 1,) int32 and columns: (S,) int32, block CSR of both triangles, columns ascending.
        slots: (N, N) int32, index of a block in `columns`, -1 where it is always zero.
        order: (N,) int32 reverse Cuthill-McKee order of the nodes.
        bandwidth: largest distance of two coupled nodes in that order.
    """

    row_start: Array
    columns: Array
    slots: Array
    order: Array
    bandwidth: int


def analyse_pattern(edges: Array) -> BlockPattern:
    """Pattern of a graph's (N, K) neighbour lists, -1 = unused.

    A point is anchored on one node and that node's neighbours, so two nodes are coupled when some node
    has both among itself and its neighbours; that covers every match and every edge.
    """
    n = len(edges)
    rows, slots_of_edge = np.nonzero(edges >= 0)
    neighbours = edges[rows, slots_of_edge]
    ball_rows = np.concatenate([np.arange(n), rows])
    ball_columns = np.concatenate([np.arange(n), neighbours])
    balls = coo_matrix((np.ones(len(ball_rows), np.int32), (ball_rows, ball_columns)), shape=(n, n)).tocsr()
    coupled = (balls.T @ balls).tocsr()
    coupled.sort_indices()
    row_start = coupled.indptr.astype(np.int32)
    columns = coupled.indices.astype(np.int32)
    row_of = np.repeat(np.arange(n), np.diff(row_start))
    slots = np.full((n, n), -1, np.int32)
    slots[row_of, columns] = np.arange(len(columns), dtype=np.int32)
    order = reverse_cuthill_mckee(coupled, symmetric_mode=True).astype(np.int32)
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    bandwidth = int(np.abs(rank[row_of] - rank[columns]).max(initial=0))
    return BlockPattern(row_start, columns, slots, order, bandwidth)
