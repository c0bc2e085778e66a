"""Which nodes have been out of sight for so long, or moved so much meanwhile, that nobody knows where they are."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from bodystream.geometry.camera import project
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Sight", "found_again", "nearest_seen", "seen_nodes"]

FOUND_M = 0.04
"""A node that was lost is found where the camera sees surface no farther than this before or behind it."""


def seen_nodes(owners: Array, count: int) -> Array:
    """(count,) bool: nodes that own a cell of the image.

    Args:
        owners: (h, w) int32, the node that is seen in each cell of the image, -1 = none.
    """
    return np.bincount(owners[(owners >= 0) & (owners < count)], minlength=count) > 0


def found_again(lost: Array, live: Array, depth_m: Array, mask: Array, intrinsics: CameraIntrinsics) -> Array:
    """(N,) bool: nodes that were lost, and at whose place the camera sees surface again.

    A node whose surface was forgotten owns nothing, since nothing of it can be seen; did it stay lost, all that is
    fused around it would be forgotten at once. What is fused there now is what the camera sees now.

    Args:
        lost: (M,) bool, nodes that were lost when they were looked at last, M <= N: nodes are added at the end.
        live: (N, 3) where they are now, in the camera's frame [m].
        depth_m: (H, W) [m], 0 = none. mask: (H, W) bool, the foreground.
    """
    found = np.zeros(len(live), bool)
    where = np.flatnonzero(lost)
    if len(where) == 0:
        return found
    pixels = np.rint(project(live[where], intrinsics))
    inside = ((pixels >= 0) & (pixels < (intrinsics.width, intrinsics.height))).all(axis=1)
    where, (u, v) = where[inside], pixels[inside].astype(np.intp).T
    seen_m = depth_m[v, u]
    found[where] = mask[v, u] & (seen_m > 0) & (np.abs(seen_m - live[where, 2]) < FOUND_M)
    return found


def nearest_seen(positions: Array, edges: Array, seen: Array) -> tuple[Array, Array]:
    """The nearest node along the graph that is seen: (N,) float distances to it [m], and (N,) int which one it is.

    Where no node that is seen is linked, inf and -1.

    Args:
        positions: (N, 3) canonical [m]. edges: (N, K) int32, -1 = unused. seen: (N,) bool.
    """
    count = len(positions)
    if not seen.any():
        return np.full(count, np.inf), np.full(count, -1)
    rows, slots = np.nonzero(edges >= 0)
    columns = edges[rows, slots]
    lengths = np.maximum(np.linalg.norm(positions[rows] - positions[columns], axis=1), 1e-9)
    links = coo_matrix((lengths, (rows, columns)), shape=(count, count)).tocsr()
    far, _, nearest = dijkstra(
        links, directed=False, indices=np.flatnonzero(seen), min_only=True, return_predecessors=True
    )
    return far, np.maximum(nearest, -1)


class Sight:
    """Remembers of each node when it was seen last, and how it has moved since against what is seen.

    A hidden part moves on as its surroundings do, which is right for the back of a torso that turns, a hand's breadth
    from what is seen, and a guess for an arm behind it. So a node is lost that is farther along the surface from all
    that is seen than `reach_m` for longer than `patience_s`; or than `near_m` after it has moved by more than
    `drift_m` against the nearest node that is seen: most of that motion is guessed.

    Args:
        patience_s, reach_m, drift_m, near_m: see above.

    Attributes:
        far_m: (N,) how far each node is along the graph from the nearest that is seen [m]; 0 = it is seen.
        drift_m: (N,) by how much it moved against that one since it was seen last [m].
    """

    def __init__(
        self, patience_s: float = 0.25, reach_m: float = 0.1, drift_m: float = 0.07, near_m: float = 0.09
    ) -> None:
        self._patience_ns = round(patience_s * 1e9)
        self._reach_m, self._near_m, self._most_drift_m = reach_m, near_m, drift_m
        self.forget()

    def forget(self) -> None:
        """Know no node."""
        self._near_t_ns = np.zeros(0, np.int64)
        self._live = np.zeros((0, 3), np.float32)
        self.far_m, self.drift_m = np.zeros(0), np.zeros(0)

    def look(self, t_ns: int, seen: Array, positions: Array, edges: Array, live: Array) -> Array:
        """(N,) bool: nodes that are lost.

        Args:
            seen: (N,) bool, nodes that are seen, see `seen_nodes`.
            positions: (N, 3) canonical [m]. edges: (N, K) int32. live: (N, 3) where they are at that time [m].
        """
        count, known = len(positions), min(len(positions), len(self._near_t_ns))
        # Nodes are added where they are seen.
        self._near_t_ns = np.concatenate([self._near_t_ns[:known], np.full(count - known, t_ns, np.int64)])
        self.far_m, nearest = nearest_seen(positions, edges, seen)
        self._near_t_ns[self.far_m <= self._reach_m] = t_ns
        step = np.zeros((count, 3), np.float32)
        step[:known] = live[:known] - self._live[:known]
        # An island moves against nothing; how a node that was just added has moved is not known.
        against = np.where((nearest >= 0)[:, None], step[nearest], 0.0)
        against[nearest >= known] = step[nearest >= known]
        drift = np.concatenate([self.drift_m[:known], np.zeros(count - known)])
        self.drift_m = np.where(seen, 0.0, drift + np.linalg.norm(step - against, axis=1))
        self._live = live
        astray = (self.far_m > self._near_m) & (self.drift_m > self._most_drift_m)
        return astray | (t_ns - self._near_t_ns > self._patience_ns)
