"""Deformation graphs of image pairs, as the runtime builds them, and padded batches of them (NNRT appendix A, C.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import warp as wp
from torch import Tensor

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.tracking.graph import build_graph, mesh_from_depth
from bodystream.types import Array
from bodystream_training.flow.sample import FlowSample

__all__ = ["GraphBatch", "GraphConfig", "PairGraph", "build_pair_graph", "collate_graphs", "gathered"]

# `least_piece_px` is of images of this many pixels.
REFERENCE_PIXELS = 640 * 480


@dataclass(frozen=True)
class GraphConfig:
    """Options of graphs and of the matches chosen on them; the defaults are the paper's and the runtime's.

    Attributes:
        sigma_m: node coverage. neighbours: K, edges per node.
        most_nodes: a subject that would need more has its nodes farther apart: the solver's time grows with their cube.
        reach_m: pixels up to this far from every node follow the nearest ones.
        least_piece_px: loose pieces of surface with fewer pixels get no nodes; of 640x480, else in proportion.
        matches: most points of a pair that are chosen.
        least_matches: clusters of nodes with fewer points, of `matches`, are not solved for; in proportion where the
            pair has fewer points (appendix C.2).
    """

    sigma_m: float = 0.05
    neighbours: int = 8
    most_nodes: int = 400
    reach_m: float = 0.5
    least_piece_px: int = 1000
    matches: int = 10_000
    least_matches: int = 2_000

    def __post_init__(self) -> None:
        if (
            min(self.sigma_m, self.reach_m) <= 0
            or min(self.neighbours, self.most_nodes, self.least_piece_px, self.matches) < 1
        ):
            raise ValueError(f"lengths and counts of a graph must be positive, got {self}")
        if not 0 <= self.least_matches <= self.matches:
            raise ValueError(f"least_matches must be 0 to matches ({self.matches}), got {self.least_matches}")


@dataclass(frozen=True)
class PairGraph:
    """The graph on the source frame of one pair, and all points that it carries.

    Attributes:
        nodes: (N, 3) float32, camera frame [m]. edges: (N, K) int32, -1 = unused. clusters: (N,) int32.
        node_motion_m: (N, 3) float32, true motion of each node, nan = unknown.
        pixels: (P, 2) int32 source pixels (u, v). points: (P, 3) float32 [m].
        anchors: (P, 4) int32. skinning: (P, 4) float32, sum 1.
        motion_m: (P, 3) float32, true motion of each point, nan = unknown.
        intrinsics: (4,) float32 fx, fy, cx, cy. width: of the image [px].
        sigma_m: node coverage; that of the configuration, or more for a subject that is too large for it.
    """

    nodes: Array
    edges: Array
    clusters: Array
    node_motion_m: Array
    pixels: Array
    points: Array
    anchors: Array
    skinning: Array
    motion_m: Array
    intrinsics: Array
    width: int
    sigma_m: float

    def mirrored(self) -> PairGraph:
        """That of the pair mirrored left to right, as `batches.collate` may have done."""
        flip = np.array([-1, 1, 1], np.float32)
        pixels, intrinsics = self.pixels.copy(), self.intrinsics.copy()
        pixels[:, 0] = self.width - 1 - pixels[:, 0]
        intrinsics[2] = self.width - 1 - intrinsics[2]
        moved = {name: getattr(self, name) * flip for name in ("nodes", "points", "node_motion_m", "motion_m")}
        return replace(self, pixels=pixels, intrinsics=intrinsics, **moved)


def build_pair_graph(sample: FlowSample, config: GraphConfig | None = None) -> PairGraph | None:
    """The graph on the masked source frame; None where it has no connected surface that is large enough.

    Threads may build at once.
    """
    config = GraphConfig() if config is None else config
    depth_m = np.where(np.isfinite(sample.source_depth_m), sample.source_depth_m, 0.0).astype(np.float32)
    mesh = mesh_from_depth(depth_m, sample.mask & (depth_m > 0), sample.intrinsics)
    share = depth_m.size / REFERENCE_PIXELS
    least_piece = max(1, round(config.least_piece_px * share))
    sigma_m = config.sigma_m
    graph = build_graph(mesh.points, mesh.edges, sigma_m, config.neighbours, minimum_points=least_piece)
    while len(graph.positions) > config.most_nodes:
        sigma_m *= 1.05 * (len(graph.positions) / config.most_nodes) ** 0.5
        graph = build_graph(mesh.points, mesh.edges, sigma_m, config.neighbours, minimum_points=least_piece)
    if len(graph.positions) == 0:
        return None
    device = select_device("cpu")
    field = WarpField(device, sigma_m, config.neighbours, config.reach_m, capacity=len(graph.positions))
    field.set_graph(graph.positions, graph.edges)
    count = len(mesh.points)
    anchors = wp.zeros(count, dtype=wp.vec4i, device=device)
    skinning = wp.zeros(count, dtype=wp.vec4, device=device)
    field.anchor(wp.array(mesh.points, dtype=wp.vec3, device=device), count, anchors, skinning)
    carried = skinning.numpy().any(axis=1)
    u, v = mesh.pixels.T
    motion_m = sample.scene_flow_m[v, u]
    motion_m = np.where(np.isfinite(motion_m).all(axis=1, keepdims=True), motion_m, np.nan).astype(np.float32)
    camera = sample.intrinsics
    return PairGraph(
        graph.positions,
        graph.edges,
        field.clusters.copy(),
        motion_m[graph.points],
        mesh.pixels[carried],
        mesh.points[carried],
        anchors.numpy()[carried],
        skinning.numpy()[carried],
        motion_m[carried],
        np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32),
        camera.width,
        sigma_m,
    )


@dataclass
class GraphBatch:
    """Graphs of several pairs and the points chosen on them, padded to the largest.

    Attributes:
        nodes: (B, N, 3) [m]. edges: (B, N, K) int64, -1 = unused.
        active: (B, N) bool, nodes that are solved for: those of clusters with enough points.
        node_motion_m: (B, N, 3), true motion, 0 where unknown. node_known: (B, N) bool, active and known.
        pixels: (B, M, 2) int64 (u, v). points: (B, M, 3) [m]. point_mask: (B, M) bool, False = padding.
        anchors: (B, M, 4) int64. skinning: (B, M, 4).
        motion_m: (B, M, 3), true motion, 0 where unknown. known: (B, M) bool, on an active cluster and known.
        intrinsics: (B, 4) fx, fy, cx, cy.
    """

    nodes: Tensor
    edges: Tensor
    active: Tensor
    node_motion_m: Tensor
    node_known: Tensor
    pixels: Tensor
    points: Tensor
    point_mask: Tensor
    anchors: Tensor
    skinning: Tensor
    motion_m: Tensor
    known: Tensor
    intrinsics: Tensor

    def to(self, device: torch.device, **how: bool) -> GraphBatch:
        """The same on another device."""
        return GraphBatch(**{field.name: getattr(self, field.name).to(device, **how) for field in fields(self)})

    def double(self) -> GraphBatch:
        """The same in float64."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return GraphBatch(**{name: v.double() if v.is_floating_point() else v for name, v in values.items()})

    @property
    def usable(self) -> Tensor:
        """(B,) bool: pairs with a cluster to solve for. The others take no part in any loss."""
        return self.active.any(dim=1)

    @property
    def skipped(self) -> int:
        """How many pairs are not usable, for the log."""
        return int((~self.usable).sum())


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """`values` (B, N, ...) at (B, ...) indices of nodes: (B, ..., ...)."""
    batch = torch.arange(len(values), device=values.device).view(-1, *(1,) * (index.dim() - 1))
    return values[batch, index]


def collate_graphs(
    graphs: Sequence[PairGraph | None], generator: torch.Generator, config: GraphConfig | None = None
) -> GraphBatch:
    """Choose points of each pair and pad. A pair without a graph keeps its place in the batch, and is not usable.

    Args:
        generator: of the choice.
    """
    config = GraphConfig() if config is None else config
    batch = len(graphs)
    chosen: list[Tensor] = []
    for graph in graphs:
        count = 0 if graph is None else len(graph.points)
        order = torch.randperm(count, generator=generator)[: config.matches]
        chosen.append(order.sort().values)
    n = max(1, *(0 if graph is None else len(graph.nodes) for graph in graphs))
    m = max(1, *(len(order) for order in chosen))
    k = config.neighbours
    out = GraphBatch(
        nodes=torch.zeros(batch, n, 3),
        edges=torch.full((batch, n, k), -1, dtype=torch.int64),
        active=torch.zeros(batch, n, dtype=torch.bool),
        node_motion_m=torch.zeros(batch, n, 3),
        node_known=torch.zeros(batch, n, dtype=torch.bool),
        pixels=torch.zeros(batch, m, 2, dtype=torch.int64),
        points=torch.zeros(batch, m, 3),
        point_mask=torch.zeros(batch, m, dtype=torch.bool),
        anchors=torch.zeros(batch, m, 4, dtype=torch.int64),
        skinning=torch.zeros(batch, m, 4),
        motion_m=torch.zeros(batch, m, 3),
        known=torch.zeros(batch, m, dtype=torch.bool),
        intrinsics=torch.ones(batch, 4),
    )
    for b, (graph, order) in enumerate(zip(graphs, chosen, strict=True)):
        if graph is not None:
            _fill(out, b, graph, order.numpy(), config)
    return out


def _fill(out: GraphBatch, b: int, graph: PairGraph, order: Array, config: GraphConfig) -> None:
    """Write one pair into its place."""
    n, m = len(graph.nodes), len(order)
    anchors = graph.anchors[order]
    # All anchors of a point are of one cluster.
    on_cluster = graph.clusters[anchors[:, 0]]
    counts = np.bincount(on_cluster, minlength=int(graph.clusters.max()) + 1)
    stable = counts >= max(1.0, config.least_matches * m / config.matches)
    active, on_active = stable[graph.clusters], stable[on_cluster]
    node_known = active & np.isfinite(graph.node_motion_m).all(axis=1)
    motion = graph.motion_m[order]
    known = on_active & np.isfinite(motion).all(axis=1)

    def put(tensor: Tensor, values: Array) -> None:
        tensor[b, : len(values)] = torch.from_numpy(np.ascontiguousarray(values)).to(tensor.dtype)

    put(out.nodes, graph.nodes)
    put(out.edges, graph.edges)
    put(out.active, active)
    put(out.node_motion_m, np.where(node_known[:, None], graph.node_motion_m, 0.0))
    put(out.node_known, node_known)
    put(out.pixels, graph.pixels[order])
    put(out.points, graph.points[order])
    out.point_mask[b, :m] = True
    put(out.anchors, anchors)
    put(out.skinning, graph.skinning[order])
    put(out.motion_m, np.where(known[:, None], motion, 0.0))
    put(out.known, known)
    out.intrinsics[b] = torch.from_numpy(graph.intrinsics)
    assert n <= out.nodes.shape[1]
