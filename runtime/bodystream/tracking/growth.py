"""New nodes where the camera sees surface that the graph does not cover yet, found beside the live pipeline."""
# pyright: reportIndexIssue=false

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import CELL_PX
from bodystream.device import DeviceFrame
from bodystream.device.frame_kernels import FAR_M
from bodystream.tracking.config_checks import require_number, require_whole
from bodystream.tracking.graph import geodesic_neighbours, large_components, mesh_from_depth, sample_nodes
from bodystream.tracking.tearing import Tears, without_pairs
from bodystream.types import Array, CameraIntrinsics, GraphSnapshot, RgbdFrame

__all__ = ["GraphGrower", "Growth", "GrowthConfig", "filled", "plan_growth"]


# Depth samples along the radius that a node covers.
SAMPLES_PER_RADIUS = 3.0
# Nodes on one surface are as far from each other in the frame as canonically, but for so many node distances.
SAME_SURFACE = 0.8


@dataclass(frozen=True)
class GrowthConfig:
    """Options of graph growth.

    Attributes:
        stride: coarsest pixel stride at which the depth image is looked at; finer where a node covers few pixels.
        least_support: depth points (at that stride) that a new node must cover.
        least_piece: loose pieces of surface with fewer points get no nodes.
        reach_m: surface farther than this from every node is something else.
        max_nodes: the graph stops growing here.
    """

    stride: int = 4
    least_support: int = 8
    least_piece: int = 60
    reach_m: float = 0.3
    max_nodes: int = 2000

    def __post_init__(self) -> None:
        require_whole("growth", self, 1, "stride", "least_support", "least_piece", "max_nodes")
        require_number("growth", self, "reach_m", above=0)


@dataclass(frozen=True, slots=True)
class Growth:
    """What to add to a graph of N nodes.

    Attributes:
        positions: (A, 3) float32 canonical positions of new nodes [m]. parents: (A,) int32, the older node that each
            moves with at first. edges: (N + A, K) int32 of all nodes. version: of the graph that it was planned for.
    """

    positions: Array
    parents: Array
    edges: Array
    version: int


def plan_growth(
    depth_m: Array,
    mask: Array,
    owners: Array,
    intrinsics: CameraIntrinsics,
    graph: GraphSnapshot,
    sigma_m: float,
    config: GrowthConfig,
    torn: Array | None = None,
    version: int = 0,
) -> Growth:
    """Sample new nodes on the seen surface, in camera space, and bring them to canonical space with their parents.

    Their edges are geodesic on the surface that is seen in this frame, between nodes that lie canonically as far from
    each other as in the frame: surfaces that touch are not joined. Edges of older nodes stay, so that anchors which
    were given before keep their meaning; free places are filled, and torn edges are taken out.

    Args:
        depth_m: (H, W) [m]. mask: (H, W) bool foreground. graph: with the motion of this frame.
        owners: (h, w) int32, the node that each cell of the image belongs to, -1 = none; see `Ownership`.
        torn: (P, 2) int32 pairs of nodes that are not to be linked; None = none.
    """
    live = graph.positions + graph.translations
    torn = np.zeros((0, 2), np.int32) if torn is None else torn
    old_edges = without_pairs(graph.edges, torn)
    nothing = Growth(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), old_edges, version)
    seen_m = depth_m[::4, ::4][mask[::4, ::4]]
    seen_m = seen_m[seen_m > 0]
    if len(seen_m) == 0:
        return nothing
    radius_px = intrinsics.fx * sigma_m / float(np.median(seen_m))
    stride = int(np.clip(radius_px / SAMPLES_PER_RADIUS, 1, config.stride))
    mesh = mesh_from_depth(depth_m, mask, intrinsics, stride=stride)
    if len(mesh.points) == 0 or len(mesh.edges) == 0:
        return nothing
    distance, parent = KDTree(live).query(mesh.points, distance_upper_bound=config.reach_m)
    uncovered = np.isfinite(distance) & (distance > sigma_m)
    if np.count_nonzero(uncovered) < config.least_support:
        return nothing
    uncovered &= large_components(len(mesh.points), mesh.edges, config.least_piece)
    where = np.flatnonzero(uncovered)
    chosen = where[sample_nodes(mesh.points[where], sigma_m, minimum_support=config.least_support)]
    chosen = chosen[: max(0, config.max_nodes - len(live))]
    if len(chosen) == 0:
        return nothing
    owner = owners[mesh.pixels[chosen, 1] // CELL_PX, mesh.pixels[chosen, 0] // CELL_PX]
    parents = np.where((owner >= 0) & (owner < len(live)), owner, parent[chosen]).astype(np.int32)
    # Inverse of the parent's motion: p = R (q - v) + v + t.
    arm = mesh.points[chosen] - live[parents]
    born = np.einsum("nji,nj->ni", graph.rotations[parents], arm) + graph.positions[parents]
    canonical = np.concatenate([graph.positions, born])
    edges = _connect(mesh.points, mesh.edges, live, canonical, chosen, old_edges, sigma_m, torn)
    return Growth(born.astype(np.float32), parents, edges, version)


def _connect(
    points: Array,
    surface_edges: Array,
    live: Array,
    canonical: Array,
    chosen: Array,
    old_edges: Array,
    sigma_m: float,
    torn: Array,
) -> Array:
    """(N + A, K) edges: old ones kept, new nodes linked along the seen surface to the nodes that lie on it."""
    count, neighbours = old_edges.shape
    gap, nearest_point = KDTree(points).query(live, distance_upper_bound=0.5 * sigma_m)
    seen = np.flatnonzero(np.isfinite(gap))
    labels = np.concatenate([seen, count + np.arange(len(chosen))])
    node_points = np.concatenate([nearest_point[seen], chosen])
    positions = np.concatenate([live[seen], points[chosen]])
    local, _, _ = geodesic_neighbours(points, surface_edges, node_points, positions, neighbours, sigma_m)
    linked = np.where(local >= 0, labels[np.maximum(local, 0)], -1).astype(np.int32)
    rest_m = np.linalg.norm(canonical[labels][:, None] - canonical[np.maximum(linked, 0)], axis=2)
    now_m = np.linalg.norm(positions[:, None] - positions[np.maximum(local, 0)], axis=2)
    linked[np.abs(rest_m - now_m) > SAME_SURFACE * sigma_m] = -1
    edges = np.full((count + len(chosen), neighbours), -1, np.int32)
    edges[:count] = old_edges
    return filled(edges, labels, without_pairs(linked, torn, labels))


def filled(edges: Array, nodes: Array, neighbours: Array) -> Array:
    """(N, K) edges with further neighbours in the free places of some nodes, as many as there is room for.

    Args:
        nodes: (M,) distinct. neighbours: (M, L) of each, those that count most first, none twice; -1 = unused.
    """
    own = edges[nodes]
    fresh = (neighbours >= 0) & ~(neighbours[:, :, None] == own[:, None, :]).any(axis=2)
    rank = np.cumsum(fresh, axis=1) - 1
    row, column = np.nonzero(fresh & (rank < np.count_nonzero(own < 0, axis=1)[:, None]))
    free_first = np.argsort(own >= 0, axis=1, kind="stable")
    result = edges.copy()
    result[nodes[row], free_first[row, rank[row, column]]] = neighbours[row, column]
    return result


class GraphGrower:
    """Plans growth on a worker thread; the pipeline applies a finished plan between two frames."""

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, config: GrowthConfig | None = None) -> None:
        self.config = GrowthConfig() if config is None else config
        self._field = field
        self._intrinsics = intrinsics
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graph-growth")
        self._pending: Future[Growth] | None = None
        self._tears = Tears()

    def request(self, image: DeviceFrame, owners: Array, t_ns: int) -> None:
        """Start to plan for a frame with the field's motion at it, unless a plan is under way.

        Args:
            image: the frame. owners: (h, w) int32, see `plan_growth`.
        """
        field = self._field
        if self._pending is None and 0 < field.count < self.config.max_nodes:
            graph = field.snapshot(t_ns)
            frame, mask = image.frame, image.foreground
            self._pending = self._pool.submit(self._plan, frame, mask, owners, graph, field.version)

    def _plan(self, frame: RgbdFrame, mask: Array, owners: Array, graph: GraphSnapshot, version: int) -> Growth:
        scene_m = frame.depth_m if frame.mask is None else np.where(frame.mask, frame.depth_m, np.float32(FAR_M))
        self._tears.look(scene_m, self._intrinsics, graph)
        return plan_growth(
            frame.depth_m,
            mask,
            owners,
            self._intrinsics,
            graph,
            self._field.sigma_m,
            self.config,
            self._tears.torn,
            version,
        )

    def apply(self) -> bool:
        """Wait for the plan under way and take it up; whether the graph changed. New nodes move as their parents do."""
        if self._pending is None:
            return False
        growth, self._pending = self._pending.result(), None
        field = self._field
        if growth.version != field.version:
            return False
        if len(growth.positions) == 0 and np.array_equal(growth.edges, field.host_edges):
            return False
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
        return True

    def forget(self) -> None:
        """Drop a plan that is under way: the model that it was made for is gone."""
        if self._pending is not None and not self._pending.cancel():
            wait([self._pending])  # it looks at the tears, too
        self._pending = None
        self._tears.forget()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
