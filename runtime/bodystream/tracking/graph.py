"""Building and growing the deformation graph: sigma-coverage sampling and geodesic edges (NNRT appendix A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from bodystream.geometry.camera import back_project_pixels
from bodystream.types import Array, CameraIntrinsics

__all__ = [
    "DepthMesh",
    "NodeGraph",
    "build_graph",
    "geodesic_neighbours",
    "large_components",
    "mesh_from_depth",
    "sample_nodes",
]

# Longest geodesic between connected nodes, in node distances: farther ones do not hold the surface together.
EDGE_REACH = 4.0
# Tangent of the most oblique view under which neighbouring pixels are still taken for one surface.
STEEPEST = 2.0
RANGE_NOISE_M = 0.01


@dataclass(frozen=True, slots=True)
class DepthMesh:
    """The surface seen in one depth image.

    Attributes:
        points: (P, 3) float32, camera frame [m]. pixels: (P, 2) int32 (u, v).
        edges: (E, 2) int32 pairs of points on one surface.
    """

    points: Array
    pixels: Array
    edges: Array


@dataclass(frozen=True, slots=True)
class NodeGraph:
    """Nodes on a surface.

    Attributes:
        positions: (N, 3) float32 [m]. edges: (N, K) int32 nearest nodes by geodesic distance, -1 = unused.
        points: (N,) int64, the surface point at which each node sits.
        nearest: (P,) int32, the geodesically nearest node of each surface point, -1 = none reaches it.
        distance_m: (P,) float32 to it, inf where there is none.
    """

    positions: Array
    edges: Array
    points: Array
    nearest: Array
    distance_m: Array


def mesh_from_depth(
    depth_m: Array, mask: Array, intrinsics: CameraIntrinsics, max_edge_m: float = 0.03, stride: int = 1
) -> DepthMesh:
    """Connect neighbouring pixels (8-neighbourhood) that can lie on one surface.

    They can where their points are nearer than `max_edge_m`; those of a coarser grid also where the surface between
    them would be seen at less than `STEEPEST`. So an arm is not joined to the chest that it passes before.

    Args:
        depth_m: (H, W) [m]. mask: (H, W) bool. stride: take every n-th pixel in both directions.
    """
    grid_m = depth_m[::stride, ::stride]
    row, column = np.nonzero(mask[::stride, ::stride] & (grid_m > 0))
    # With a border of nothing at the left, at the right and below, where neighbours are looked for.
    index = np.full((grid_m.shape[0] + 1, grid_m.shape[1] + 2), -1, np.int32)
    index[row, column + 1] = np.arange(len(row), dtype=np.int32)
    pixels = np.stack([column * stride, row * stride], axis=1).astype(np.int32)
    points = back_project_pixels(pixels, grid_m[row, column], intrinsics)
    pairs = []
    for du, dv in ((1, 0), (0, 1), (1, 1), (-1, 1)):
        b = index[row + dv, column + 1 + du]
        a = np.flatnonzero(b >= 0)
        b = b[a]
        apart = points[a] - points[b]
        along = np.hypot(apart[:, 0], apart[:, 1])
        near = np.linalg.norm(apart, axis=1) < max_edge_m
        if stride > 1:
            near |= np.abs(apart[:, 2]) < STEEPEST * along + RANGE_NOISE_M
        pairs.append(np.stack([a[near], b[near]], axis=1))
    return DepthMesh(points, pixels, np.concatenate(pairs).astype(np.int32))


def sample_nodes(points: Array, sigma_m: float, minimum_support: int = 1) -> Array:
    """Indices of points chosen greedily so that every point has a node within `sigma_m` (sigma-coverage).

    Args:
        points: (P, 3) [m], those that no older node covers.
        minimum_support: points that a new node must cover to be worth having.
    """
    points = np.asarray(points)
    if len(points) == 0:
        return np.zeros(0, np.int64)
    tree = KDTree(points)
    is_open = np.ones(len(points), bool)
    chosen = []
    for k in range(len(points)):
        if not is_open[k]:
            continue
        ball = np.asarray(tree.query_ball_point(points[k], sigma_m))
        if len(ball) >= minimum_support:
            chosen.append(k)
            is_open[ball] = False
        else:
            is_open[k] = False
    return np.asarray(chosen, np.int64)


def _mesh_matrix(points: Array, edges: Array) -> csr_array:
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    # A zero entry would read as "no edge".
    lengths = np.maximum(lengths, 1e-9)
    return csr_array((lengths, (edges[:, 0], edges[:, 1])), shape=(len(points), len(points)))


def geodesic_neighbours(
    points: Array, surface_edges: Array, node_points: Array, positions: Array, neighbours: int, sigma_m: float
) -> tuple[Array, Array, Array]:
    """K nearest nodes of each node along the surface, and the nearest node of each point.

    One multi-source Dijkstra gives each point its node; where the regions of two nodes touch, the nodes are
    linked by the length of the path through that contact; shortest paths over those links are the geodesics.

    Args:
        points: (P, 3) surface points. surface_edges: (E, 2) pairs of points. node_points: (N,) the surface point
            at which each node sits. positions: (N, 3) of the nodes.

    Returns:
        (N, K) int32 edges with -1 = unused, (P,) int32 nearest node or -1, (P,) float32 distance [m] or inf.
    """
    n = len(node_points)
    matrix = _mesh_matrix(points, surface_edges)
    # Several nodes may sit at the same point; one of them stands for it, and links of length 1e-9 join the others.
    representative, first = np.unique(node_points, return_index=True)
    distance, _, source = dijkstra(
        matrix, directed=False, indices=representative, min_only=True, return_predecessors=True
    )
    node_at = np.full(len(points), -1, np.int32)
    node_at[representative] = first
    nearest = np.where(source >= 0, node_at[np.maximum(source, 0)], -1).astype(np.int32)
    a, b = surface_edges[:, 0], surface_edges[:, 1]
    contact = (nearest[a] >= 0) & (nearest[b] >= 0) & (nearest[a] != nearest[b])
    a, b = a[contact], b[contact]
    length = distance[a] + distance[b] + np.linalg.norm(points[a] - points[b], axis=1)
    i, j = np.minimum(nearest[a], nearest[b]), np.maximum(nearest[a], nearest[b])
    key = i.astype(np.int64) * n + j
    by_key = np.lexsort((length, key))
    unique, where = np.unique(key[by_key], return_index=True)
    rows, columns, weights = unique // n, unique % n, length[by_key][where]
    shared = np.flatnonzero(node_at[node_points] != np.arange(n))
    rows = np.r_[rows, shared]
    columns = np.r_[columns, node_at[node_points[shared]]]
    weights = np.r_[weights, np.full(len(shared), 1e-9)]
    # The path through a contact is never shorter than the straight line.
    weights = np.maximum(weights, np.linalg.norm(positions[rows] - positions[columns], axis=1))
    links = coo_matrix((weights, (rows, columns)), shape=(n, n)).tocsr()
    between = dijkstra(links, directed=False, limit=EDGE_REACH * sigma_m)
    np.fill_diagonal(between, np.inf)
    k = min(neighbours, n - 1)
    edges = np.full((n, neighbours), -1, np.int32)
    if k > 0:
        ranked = np.argpartition(between, k - 1, axis=1)[:, :k]
        reach = np.take_along_axis(between, ranked, axis=1)
        by_reach = np.argsort(reach, axis=1, kind="stable")
        ranked = np.take_along_axis(ranked, by_reach, axis=1)
        reach = np.take_along_axis(reach, by_reach, axis=1)
        edges[:, :k] = np.where(np.isfinite(reach), ranked, -1)
    return edges, nearest, distance.astype(np.float32)


def large_components(point_count: int, surface_edges: Array, minimum_points: int) -> Array:
    """(P,) bool: points whose connected piece of surface has at least `minimum_points`."""
    links = coo_matrix(
        (np.ones(len(surface_edges), bool), (surface_edges[:, 0], surface_edges[:, 1])), shape=(point_count,) * 2
    )
    labels = connected_components(links, directed=False)[1]
    return np.bincount(labels)[labels] >= minimum_points


def build_graph(
    points: Array, surface_edges: Array, sigma_m: float = 0.05, neighbours: int = 8, minimum_points: int = 1
) -> NodeGraph:
    """Sample nodes on a surface and connect them (NNRT appendix A: sigma = 5 cm, K = 8).

    Args:
        points: (P, 3) float32 [m]. surface_edges: (E, 2) int32 pairs of points.
        minimum_points: smaller loose pieces of surface (flying pixels) get no nodes of their own.
    """
    candidates = np.arange(len(points))
    if minimum_points > 1 and len(points):
        candidates = np.flatnonzero(large_components(len(points), surface_edges, minimum_points))
    chosen = candidates[sample_nodes(np.asarray(points)[candidates], sigma_m)]
    positions = np.asarray(points, np.float32)[chosen]
    if len(chosen) == 0:
        nearest, distance = np.full(len(points), -1, np.int32), np.full(len(points), np.inf, np.float32)
        return NodeGraph(positions, np.zeros((0, neighbours), np.int32), chosen, nearest, distance)
    edges, nearest, distance = geodesic_neighbours(points, surface_edges, chosen, positions, neighbours, sigma_m)
    return NodeGraph(positions, edges, chosen, nearest, distance)
