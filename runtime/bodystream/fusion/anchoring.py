"""When cached anchors have to be asked for again: what changed in the graph since the last look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import uploaded
from bodystream.types import Array

__all__ = ["GraphChange", "GraphWatch"]


@dataclass(frozen=True, slots=True)
class GraphChange:
    """What became of a graph.

    Attributes:
        marks: (capacity,) uint8 device array, 1 = anchors whose nearest node this is may have changed.
        replaced: the older nodes are not those of before, so that no cached anchor means anything.
    """

    marks: wp.array
    replaced: bool


class GraphWatch:
    """Compares a graph with what it was, so that only anchors near its changes are refreshed.

    A point's anchors are its nearest node and that node's neighbours. So they stay while no new node comes closer
    and the nearest node keeps its edges.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Treat the next graph as new."""
        self._version = -1
        self._positions = np.zeros((0, 3), np.float32)
        self._edges = np.zeros((0, 0), np.int32)

    def trusted_distance(self, field: WarpField) -> float:
        """Up to here [m] from its nearest node, a point of an unmarked node is sure to have kept that node."""
        return 1.5 * field.sigma_m

    def changes(self, field: WarpField) -> GraphChange | None:
        """What changed since the last call; None for nothing."""
        if field.version == self._version:
            return None
        positions, edges = field.host_positions, field.host_edges
        marks = np.zeros(field.capacity, np.uint8)
        old = len(self._positions)
        replaced = old == 0 or old > len(positions) or not np.array_equal(positions[:old], self._positions)
        if not replaced:
            marks[:old] = _rows_differ(edges[:old], self._edges)
            marks[old : field.count] = 1
            new = positions[old:]
            if len(new):
                distances = np.linalg.norm(positions[:, None] - new, axis=2).min(axis=1)
                marks[: field.count] |= distances < 2.0 * self.trusted_distance(field)
        self._version = field.version
        self._positions = positions.copy()
        self._edges = edges.copy()
        return GraphChange(uploaded(marks, wp.uint8, field.device), replaced)


def _rows_differ(a: Array, b: Array) -> Array:
    """(N,) bool where the rows of two equally long lists differ."""
    if a.shape != b.shape:
        return np.ones(len(a), bool)
    return (a != b).any(axis=1)
