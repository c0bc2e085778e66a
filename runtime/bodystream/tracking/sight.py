"""Which nodes have been out of sight for so long, and so far from what is seen, that nobody knows where they are."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from bodystream.types import Array

__all__ = ["Sight", "distance_to_seen_m"]


def distance_to_seen_m(positions: Array, edges: Array, seen: Array) -> Array:
    """(N,) float, how far each node is along the graph from the nearest one that is seen [m]; inf = not linked to any.

    Args:
        positions: (N, 3) canonical [m]. edges: (N, K) int32, -1 = unused. seen: (N,) bool.
    """
    count = len(positions)
    if not seen.any():
        return np.full(count, np.inf)
    rows, slots = np.nonzero(edges >= 0)
    columns = edges[rows, slots]
    lengths = np.maximum(np.linalg.norm(positions[rows] - positions[columns], axis=1), 1e-9)
    links = coo_matrix((lengths, (rows, columns)), shape=(count, count)).tocsr()
    return dijkstra(links, directed=False, indices=np.flatnonzero(seen), min_only=True)


class Sight:
    """Remembers when each node was seen last.

    A hidden part moves on as its surroundings do, which is right for the back of a torso that turns, a hand's breadth
    from what is seen, and a guess for an arm behind it. So what is farther than `reach_m` along the surface from all
    that is seen, for longer than `patience_s`, is lost.

    Args:
        patience_s, reach_m: see above.
    """

    def __init__(self, patience_s: float = 0.4, reach_m: float = 0.12) -> None:
        self._patience_ns = round(patience_s * 1e9)
        self._reach_m = reach_m
        self.forget()

    def forget(self) -> None:
        """Know no node."""
        self._near_t_ns = np.zeros(0, np.int64)

    def look(self, t_ns: int, owners: Array, positions: Array, edges: Array) -> Array:
        """(N,) bool: nodes that are lost.

        Args:
            owners: (h, w) int32, the node that is seen in each cell of the image, -1 = none.
            positions: (N, 3) canonical [m]. edges: (N, K) int32.
        """
        count, known = len(positions), len(self._near_t_ns)
        # Nodes are added where they are seen.
        self._near_t_ns = np.concatenate([self._near_t_ns[:count], np.full(max(0, count - known), t_ns, np.int64)])
        seen = np.bincount(owners[(owners >= 0) & (owners < count)], minlength=count) > 0
        self._near_t_ns[distance_to_seen_m(positions, edges, seen) <= self._reach_m] = t_ns
        return t_ns - self._near_t_ns > self._patience_ns
