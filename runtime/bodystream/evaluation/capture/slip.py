"""How far a tracked model has slipped over the true surface: the drift of correspondence."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial import KDTree

from bodystream.types import Array, FrameTruth

__all__ = ["SlipMeter"]


class SlipMeter:
    """Holds each node of the graph to the point of the true surface that it lay nearest to when it was new.

    The distance of a model to the true surface does not tell whether the model slides along it. So a node is bound, in
    the first frame that has it, to the nearest point of the true surface, and its distance from that point is looked at
    from then on. Nodes that the capture does not hold to be seen do not count: nothing can tell where they are.
    """

    def __init__(self) -> None:
        self._rings: Array | None = None
        self.forget()

    def forget(self) -> None:
        """The model is gone, and its nodes with it."""
        self._triangles = np.zeros((0, 3), np.int64)
        self._barycentric = np.zeros((0, 3))

    def slip_m(self, live_nodes: Array, seen: Array, truth: FrameTruth) -> float:
        """Median slip of the nodes that are seen [m]; nan where none is.

        Args:
            live_nodes: (N, 3) in the camera's frame [m]; N never falls, unless `forget` was called.
            seen: (N,) bool, those that the capture holds to be seen.
        """
        vertices = truth.mesh.vertices.astype(np.float64)
        known = len(self._triangles)
        if len(live_nodes) > known:
            self._bind(live_nodes[known:].astype(np.float64), vertices, truth.mesh.faces)
        points = np.einsum("nk,nkd->nd", self._barycentric, vertices[self._triangles])
        slip = np.linalg.norm(live_nodes - points, axis=1)
        return float(np.median(slip[seen])) if seen.any() else float("nan")

    def _bind(self, nodes: Array, vertices: Array, faces: Array) -> None:
        """Take up nodes, each in the nearest of the triangles around its nearest vertex."""
        rings = self._rings
        if rings is None:
            self._rings = rings = np.asarray(trimesh.Trimesh(vertices, faces, process=False).vertex_faces)
        around = rings[KDTree(vertices).query(nodes)[1]]
        node, slot = np.nonzero(around >= 0)
        triangles = faces[around[node, slot]].astype(np.int64)
        nearest = trimesh.triangles.closest_point(vertices[triangles], nodes[node])
        distance_m = np.linalg.norm(nearest - nodes[node], axis=1)
        order = np.lexsort((distance_m, node))
        best = order[np.searchsorted(node[order], np.arange(len(nodes)))]
        barycentric = trimesh.triangles.points_to_barycentric(vertices[triangles[best]], nearest[best])
        self._triangles = np.concatenate([self._triangles, triangles[best]])
        self._barycentric = np.concatenate([self._barycentric, barycentric])
