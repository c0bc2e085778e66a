"""The deformation graph on the device: nodes, edges, motion, and who is anchored where."""

from __future__ import annotations

import numpy as np
import warp as wp
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bodystream.deformation import kernels
from bodystream.device import LaunchCache, Staged, upload, view_as
from bodystream.types import Array, GraphSnapshot

__all__ = ["WarpField"]


class WarpField:
    """An embedded deformation graph and its motion from canonical to camera space (NNRT appendix A).

    Args:
        device: where its arrays live.
        sigma_m: node coverage, and the radius of the skinning weights [m].
        neighbours: K, edges per node.
        reach_m: points farther than this from every node are not covered [m]; default 2.5 sigma.
        capacity: nodes that fit before the arrays are doubled.

    Attributes:
        count: nodes in use; arrays are longer.
        version: grows when nodes or edges change, so that cached anchors can be refreshed.
        growth_count: how often the arrays were doubled.
        graph: the kernels' view of positions, rotations, translations and edges. One struct for life: its arrays are
            replaced when they are doubled.
        positions, rotations, translations: device arrays; see `types.GraphSnapshot`.
        edges: (capacity, K) int32 device array, -1 = unused.
        parents: (count,) int32 host array, the older node that each node was born from (itself for the first).
    """

    def __init__(
        self,
        device: wp.Device,
        sigma_m: float = 0.05,
        neighbours: int = 8,
        reach_m: float | None = None,
        capacity: int = 512,
    ) -> None:
        self.device = device
        self.sigma_m = sigma_m
        self.neighbours = neighbours
        self.reach_m = 2.5 * sigma_m if reach_m is None else reach_m
        self.version = 0
        self.growth_count = 0
        self.count = 0
        self.parents = np.zeros(0, np.int32)
        self._positions = np.zeros((0, 3), np.float32)
        self._edges = np.zeros((0, neighbours), np.int32)
        self._clusters = np.zeros(0, np.int32)
        # Cells as wide as points reach: a search that finds nothing nearby looks at 27 of them, not at 216 small ones.
        self._canonical_grid = wp.HashGrid(32, 32, 32, device=device)
        self._live_grid = wp.HashGrid(32, 32, 32, device=device)
        self._live_is_current = self._motions_are_current = False
        self._launch = LaunchCache(device)
        self.graph = kernels.Graph()
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        self.capacity = capacity
        self.positions = wp.zeros(capacity, dtype=wp.vec3, device=self.device)
        # All rotations and behind them all translations, so that the motion crosses to the host and back as one.
        self._motion = Staged(12 * capacity, float, self.device)
        self._host_motion_is_current = True
        split = 9 * capacity
        self.rotations = view_as(self._motion.array, wp.mat33, capacity)
        self.translations = view_as(self._motion.array, wp.vec3, capacity, begin=4 * split)
        self._host_rotations = self._motion.host[:split].reshape(capacity, 3, 3)
        self._host_translations = self._motion.host[split:].reshape(capacity, 3)
        self.edges = wp.full((capacity, self.neighbours), -1, dtype=wp.int32, device=self.device)
        self._live = wp.zeros(capacity, dtype=wp.vec3, device=self.device)
        self._motions = wp.zeros(capacity, dtype=kernels.vec16, device=self.device)
        graph = self.graph
        graph.positions, graph.rotations, graph.translations = self.positions, self.rotations, self.translations
        graph.edges = self.edges

    @property
    def host_positions(self) -> Array:
        """(N, 3) float32 canonical node positions [m]; do not write."""
        return self._positions

    @property
    def host_edges(self) -> Array:
        """(N, K) int32, -1 = unused; do not write."""
        return self._edges

    @property
    def clusters(self) -> Array:
        """(N,) int32, the connected component of each node."""
        return self._clusters

    def clear(self) -> None:
        """Forget all nodes; buffers stay."""
        self.count = 0
        self.version += 1
        self.parents = np.zeros(0, np.int32)
        self._positions = np.zeros((0, 3), np.float32)
        self._edges = np.zeros((0, self.neighbours), np.int32)
        self._clusters = np.zeros(0, np.int32)
        self._live_is_current = self._motions_are_current = False

    def set_scale(self, sigma_m: float) -> None:
        """Another node coverage [m] for the graph to come, with the reach in proportion.

        Raises:
            ValueError: there are nodes already.
        """
        if self.count:
            raise ValueError("the node coverage of a graph is set before its nodes: clear it first")
        self.reach_m *= sigma_m / self.sigma_m
        self.sigma_m = sigma_m

    def set_graph(
        self,
        positions: Array,
        edges: Array,
        rotations: Array | None = None,
        translations: Array | None = None,
        parents: Array | None = None,
    ) -> None:
        """Replace nodes, edges and motion; the first nodes may be those of before.

        Args:
            positions: (N, 3) canonical [m]. edges: (N, K) int32, -1 = unused.
            rotations: (N, 3, 3), none where None. translations: (N, 3) [m], none where None.
            parents: (N,) int32, each node its own where None.
        """
        n = len(positions)
        if edges.shape != (n, self.neighbours):
            raise ValueError(f"edges must have shape {(n, self.neighbours)}, got {edges.shape}")
        if n > self.capacity:
            self.growth_count += 1
            self._allocate(max(2 * self.capacity, n))
        self.count = n
        self.version += 1
        self._positions = np.ascontiguousarray(positions, np.float32)
        self._edges = np.ascontiguousarray(edges, np.int32)
        self.parents = np.arange(n, dtype=np.int32) if parents is None else np.ascontiguousarray(parents, np.int32)
        upload(self.positions, self._positions)
        upload(self.edges, self._edges)
        self._clusters = _connected_clusters(self._edges)
        self._canonical_grid.build(self.positions[:n], self.reach_m)
        self.set_motion(rotations, translations)

    def set_motion(self, rotations: Array | None = None, translations: Array | None = None) -> None:
        """Set (N, 3, 3) rotations and (N, 3) translations [m] from the host; none where None."""
        self._motion.wait()
        self._host_rotations[: self.count] = np.eye(3, dtype=np.float32) if rotations is None else rotations
        self._host_translations[: self.count] = 0.0 if translations is None else translations
        self._motion.send()
        self._host_motion_is_current = True
        self._live_is_current = self._motions_are_current = False

    def motion_changed(self) -> None:
        """Say that `rotations` or `translations` were written on the device."""
        self._host_motion_is_current = False
        self._live_is_current = self._motions_are_current = False

    def motion(self) -> tuple[Array, Array]:
        """Host copies of the (N, 3, 3) rotations and (N, 3) translations [m]; read back once per change."""
        if not self._host_motion_is_current:
            self._motion.download()
            self._host_motion_is_current = True
        return self._host_rotations[: self.count].copy(), self._host_translations[: self.count].copy()

    @property
    def motions(self) -> wp.array:
        """(capacity,) vec16 device array, the motion of each node for `kernels.blended`; gathered once per change."""
        if not self._motions_are_current:
            self._launch(kernels.gather_motions, self.count, [self.graph, self._motions], min_chunk=1024)
            self._motions_are_current = True
        return self._motions

    def snapshot(self, t_ns: int, active: Array | None = None) -> GraphSnapshot:
        rotations, translations = self.motion()
        return GraphSnapshot(
            t_ns,
            self._positions,
            rotations,
            translations,
            self._edges,
            self._clusters,
            np.ones(self.count, bool) if active is None else active,
        )

    def anchor(self, points: wp.array, count: int, anchors_out: wp.array, weights_out: wp.array) -> None:
        """Four geodesic anchors and weights of `count` canonical points; zero weights where not covered.

        Args:
            points: vec3 device array [m]. anchors_out, weights_out: vec4i and vec4 device arrays.
        """
        if self.count == 0:
            anchors_out[:count].zero_()
            weights_out[:count].zero_()
            return
        inputs = [points, self.graph, self._canonical_grid.id, self.sigma_m, self.reach_m]
        self._launch(kernels.anchor_points, count, [*inputs, anchors_out, weights_out], min_chunk=1024)

    def unwarp(self, points_live: wp.array, count: int, points_out: wp.array, valid_out: wp.array) -> None:
        """Approximate inverse of the warp: `count` camera-space points to canonical space.

        A point follows the nodes that are nearest to it in camera space; `valid_out` is 0 where there is none.
        """
        if self.count == 0:
            valid_out[:count].zero_()
            return
        self._refresh_live()
        inputs = [points_live, self.graph, self._live, self._live_grid.id, self.sigma_m, 2.0 * self.reach_m]
        inputs += [points_out, valid_out]
        self._launch(kernels.unwarp_points, count, inputs, min_chunk=1024)

    def warp(self, points: wp.array, anchors: wp.array, weights: wp.array, count: int, points_out: wp.array) -> None:
        """Q(p) of `count` canonical points (NNRT eq. 17); the origin where the weights are zero."""
        self._launch(kernels.warp_points, count, [points, anchors, weights, self.graph, points_out], min_chunk=1024)

    def _refresh_live(self) -> None:
        if not self._live_is_current:
            self._launch(kernels.move_nodes, self.count, [self.graph, self._live], min_chunk=1024)
            self._live_grid.build(self._live[: self.count], self.reach_m)
            self._live_is_current = True


def _connected_clusters(edges: Array) -> Array:
    """(N,) int32 component of each node of an (N, K) neighbour list."""
    n = len(edges)
    if n == 0:
        return np.zeros(0, np.int32)
    rows, slots = np.nonzero(edges >= 0)
    matrix = coo_matrix((np.ones(len(rows), bool), (rows, edges[rows, slots])), shape=(n, n))
    return connected_components(matrix, directed=False)[1].astype(np.int32)
