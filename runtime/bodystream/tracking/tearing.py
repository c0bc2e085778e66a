"""Edges of the graph that the camera sees through: what was taken for one surface and is two.

Source: the free space between two nodes is seen to be empty, as in the topology rules of DoubleFusion and SurfelWarp.
"""

from __future__ import annotations

import numpy as np

from bodystream.geometry.camera import nearest_pixels, project
from bodystream.types import Array, CameraIntrinsics, GraphSnapshot

__all__ = ["Tears", "opened_edges", "without_pairs"]

SEEN_M = 0.03  # a node is seen where the depth agrees this well
OPEN_M = 0.05  # free space behind an edge, on a line of sight that crosses it
SAMPLES = 9
LOOKS = 2  # in a row that must see the same edge open


def opened_edges(scene_depth_m: Array, intrinsics: CameraIntrinsics, graph: GraphSnapshot) -> Array:
    """(P, 2) int32 pairs of linked nodes, i < j, between which the camera sees through.

    Both nodes must be where the depth says, so that what is wrong is the edge and not the motion.

    Args:
        scene_depth_m: (H, W) all measurements [m], 0 = none. graph: with the motion of this frame.
    """
    rows, slots = np.nonzero(graph.edges >= 0)
    columns = graph.edges[rows, slots]
    live = (graph.positions + graph.translations).astype(np.float64)

    def measured(points: Array) -> Array:
        """Depth at the pixels of (..., 3) points [m]; 0 = none."""
        at, inside = nearest_pixels(project(points, intrinsics), intrinsics)
        return np.where(inside, scene_depth_m[at[..., 1], at[..., 0]], 0)

    seen = np.abs(measured(live) - live[:, 2]) < SEEN_M
    both = seen[rows] & seen[columns]
    rows, columns = rows[both], columns[both]
    keys = np.unique(np.minimum(rows, columns) * len(live) + np.maximum(rows, columns))
    pairs = np.stack([keys // len(live), keys % len(live)], axis=1)
    share = np.linspace(0, 1, SAMPLES + 2)[1:-1, None]
    along = live[pairs[:, 0], None] * (1 - share) + live[pairs[:, 1], None] * share
    through = measured(along) - along[..., 2] > OPEN_M
    # One pixel may be a hole or a speck.
    return pairs[through.sum(axis=1) >= 2].astype(np.int32)


def without_pairs(edges: Array, pairs: Array, nodes: Array | None = None) -> Array:
    """(N, K) edges without those between (P, 2) pairs of nodes; `nodes` (N,) are whose edges they are, None = all."""
    if len(pairs) == 0:
        return edges
    nodes = np.arange(len(edges)) if nodes is None else nodes
    count = max(int(pairs.max()), int(edges.max(initial=-1)), int(nodes.max(initial=-1))) + 1
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    key = both[:, 0] * count + both[:, 1]
    own = nodes[:, None] * np.int64(count) + edges
    return np.where((edges >= 0) & np.isin(own, key), -1, edges).astype(np.int32)


class Tears:
    """Remembers which edges were seen open, and tears those that stay so."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let nothing be torn."""
        self.torn = np.zeros((0, 2), np.int32)
        self._looks: dict[tuple[int, int], int] = {}

    def look(self, scene_depth_m: Array, intrinsics: CameraIntrinsics, graph: GraphSnapshot) -> int:
        """Look at a frame; returns how many more edges are torn."""
        opened = {tuple(pair) for pair in opened_edges(scene_depth_m, intrinsics, graph).tolist()}
        # An edge that is torn stays in the graph until a plan is applied.
        opened -= set(map(tuple, self.torn.tolist()))
        self._looks = {pair: self._looks.get(pair, 0) + 1 for pair in sorted(opened)}
        fresh = [pair for pair, looks in self._looks.items() if looks >= LOOKS]
        if fresh:
            self.torn = np.concatenate([self.torn, np.array(fresh, np.int32)])
        return len(fresh)
