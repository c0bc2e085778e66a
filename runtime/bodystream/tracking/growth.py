"""New nodes where the fused surface has outgrown the graph, found beside the live pipeline."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from bodystream.deformation import WarpField
from bodystream.tracking.graph import geodesic_neighbours, large_components, sample_nodes
from bodystream.types import Array, Mesh

__all__ = ["GraphGrower", "GrowthConfig"]


@dataclass(frozen=True)
class GrowthConfig:
    """Options of graph growth.

    Attributes:
        least_support: surface vertices that a new node must cover.
        least_piece: loose pieces of surface with fewer vertices get no nodes.
        max_nodes: the graph stops growing here.
    """

    least_support: int = 12
    least_piece: int = 150
    max_nodes: int = 2000


@dataclass(frozen=True, slots=True)
class _Growth:
    positions: Array  # (A, 3) new nodes
    parents: Array  # (A,) the older node nearest to each
    edges: Array  # (N + A, K) of all nodes
    version: int


def plan_growth(
    mesh: Mesh, positions: Array, old_edges: Array, sigma_m: float, config: GrowthConfig
) -> tuple[Array, Array, Array]:
    """Where new nodes should stand on a canonical mesh, and the edges of the graph with them.

    Edges of older nodes stay, so that anchors which were given before keep their meaning; free places are filled.

    Args:
        positions: (N, 3) and old_edges: (N, K) of the graph so far.

    Returns:
        (A, 3) float32 new nodes, (A,) int32 their nearest older node, (N + A, K) int32 edges of all nodes.
        A may be 0.
    """
    neighbours = old_edges.shape[1]
    faces = mesh.faces
    surface_edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    solid = large_components(len(mesh.vertices), surface_edges, config.least_piece)
    where = np.flatnonzero(solid)
    chosen = where[sample_nodes(mesh.vertices[where], sigma_m, positions, config.least_support)]
    chosen = chosen[: max(0, config.max_nodes - len(positions))]
    born = mesh.vertices[chosen].astype(np.float32)
    every = np.concatenate([positions, born])
    node_points = cKDTree(mesh.vertices).query(every)[1]
    edges, _, _ = geodesic_neighbours(mesh.vertices, surface_edges, node_points, every, neighbours, sigma_m)
    edges[: len(positions)] = _extend(old_edges, edges[: len(positions)])
    parents = cKDTree(positions).query(born)[1].astype(np.int32) if len(born) else np.zeros(0, np.int32)
    return born, parents, edges


def _extend(old: Array, new: Array) -> Array:
    """(N, K) old neighbour lists with their free places (-1) filled from the new lists."""
    out = old.copy()
    for i in np.flatnonzero((old < 0).any(axis=1)):
        fresh = [j for j in new[i] if j >= 0 and j not in old[i]]
        free = np.flatnonzero(old[i] < 0)[: len(fresh)]
        out[i, free] = fresh[: len(free)]
    return out


class GraphGrower:
    """Plans growth on a worker thread; the pipeline applies a finished plan between two frames."""

    def __init__(self, field: WarpField, config: GrowthConfig | None = None) -> None:
        self.config = GrowthConfig() if config is None else config
        self._field = field
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graph-growth")
        self._pending: Future[_Growth] | None = None

    @property
    def busy(self) -> bool:
        return self._pending is not None

    def request(self, mesh: Mesh) -> None:
        """Start to plan on a host copy of the canonical surface, unless a plan is under way."""
        if self._pending is None and len(mesh.vertices) and len(mesh.faces) and self._field.count:
            field = self._field
            self._pending = self._pool.submit(self._plan, mesh, field.host_positions, field.host_edges, field.version)

    def _plan(self, mesh: Mesh, positions: Array, edges: Array, version: int) -> _Growth:
        return _Growth(*plan_growth(mesh, positions, edges, self._field.sigma_m, self.config), version)

    def apply(self, wait: bool = False) -> int:
        """Add the nodes of a finished plan; returns how many. A new node moves as its nearest older node does."""
        if self._pending is None or not (wait or self._pending.done()):
            return 0
        growth, self._pending = self._pending.result(), None
        field = self._field
        if growth.version != field.version or len(growth.positions) == 0:
            return 0
        rotations, translations = field.motion()
        turn = rotations[growth.parents]
        v = field.host_positions[growth.parents]
        moved = np.einsum("nij,nj->ni", turn, growth.positions - v) + v + translations[growth.parents]
        field.set_graph(
            np.concatenate([field.host_positions, growth.positions]),
            growth.edges,
            np.concatenate([rotations, turn]),
            np.concatenate([translations, moved - growth.positions]),
            np.concatenate([field.parents, growth.parents]),
        )
        return len(growth.positions)

    def forget(self) -> None:
        """Drop a plan that is under way: the model that it was made for is gone."""
        self._pending = None

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
