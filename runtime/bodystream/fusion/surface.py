"""The fused surface: extraction of changed blocks, anchors per vertex, and the live mesh."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import Points
from bodystream.device import LaunchCache, download
from bodystream.fusion import integrate_kernels, mesh_kernels, surface_kernels
from bodystream.fusion.anchoring import GraphWatch
from bodystream.fusion.blocks_kernels import Lattice
from bodystream.fusion.config import FusionConfig
from bodystream.fusion.directory import BlockDirectory
from bodystream.fusion.integrate_kernels import Voxels
from bodystream.fusion.pieces import Pieces
from bodystream.geometry.skinning import unturned_bones
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["Surface", "SurfaceExtractor"]

_COMPONENTS_EVERY = 8  # extractions between two looks for loose pieces
# Half of the 26 neighbours: the other half is met from the other side.
_HALF_NEIGHBOURS = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)][14:], np.int64)
# Blocks whose quads may have vertices in a block, but for itself.
_JOINING = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)][1:], np.int64)


@dataclass(slots=True)
class Surface:
    """A canonical mesh on the device, skinned to the deformation graph.

    Attributes:
        points: the kernels' view of vertices, normals, anchors and weights.
        colours: (capacity,) vec3ub RGB.
        faces: (capacity,) vec3i, counter-clockwise seen from outside; the first `face_count` are in use.
        extracted_blocks: blocks that the last extraction looked at again; 0 = geometry is that of before.
        version: grows with every extraction that changed the mesh. The order of vertices may change with it.
    """

    points: Points
    colours: wp.array
    faces: wp.array
    vertex_count: int = 0
    face_count: int = 0
    extracted_blocks: int = 0
    version: int = 0

    @property
    def vertices(self) -> wp.array:
        """(capacity,) vec3 device array, canonical [m]; the first `vertex_count` are in use."""
        return self.points.positions

    @property
    def normals(self) -> wp.array:
        """(capacity,) vec3 device array, canonical."""
        return self.points.normals

    @property
    def anchors(self) -> wp.array:
        """(capacity,) vec4i device array, four nodes per vertex."""
        return self.points.anchors

    @property
    def weights(self) -> wp.array:
        """(capacity,) vec4 device array, of the anchors."""
        return self.points.weights

    def download(self) -> Mesh:
        """The canonical mesh on the host."""
        v, f = self.vertex_count, self.face_count
        return Mesh(
            vertices=download(self.vertices, v).copy(),
            faces=download(self.faces, f).copy(),
            normals=download(self.normals, v).copy(),
            colours=download(self.colours, v).copy(),
        )

    def skinned(self, field: WarpField) -> SkinnedMesh:
        """The canonical mesh on the host, bound to the nodes of the graph that it was extracted with."""
        v, bones = self.vertex_count, unturned_bones(field.host_positions)
        anchors, weights = download(self.anchors, v).copy(), download(self.weights, v).copy()
        return SkinnedMesh(self.download(), anchors, weights, bones, version=self.version)


class SurfaceExtractor:
    """Keeps per-block pieces of surface and joins them into one mesh.

    Args:
        config: see `FusionConfig`.
        directory: the volume's blocks.
        device: where its arrays live.

    Attributes:
        growth_count: how often buffers were doubled.
    """

    def __init__(self, config: FusionConfig, directory: BlockDirectory, device: wp.Device) -> None:
        self.growth_count = 0
        self._config = config
        self._directory = directory
        self._device = device
        self._launch = LaunchCache(device)
        self._watch = GraphWatch()
        self._pieces = Pieces(directory.capacity, device)
        self._asked = Points()
        self._asked.positions = wp.zeros(0, dtype=wp.vec3, device=device)
        self._set_point_capacity(16384)
        self.surface = self._make_surface(16384, 32768)
        self._keep = np.zeros(0, bool)
        self._since_keep = 0

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        s, p = self.surface, self._asked
        arrays = [s.vertices, s.normals, s.colours, s.anchors, s.weights, s.faces]
        arrays += [self._live_vertices, self._live_normals, p.positions, p.anchors, p.weights]
        return sum(a.capacity for a in arrays) + self._pieces.bytes

    def reset(self) -> None:
        """Forget all pieces; buffers stay."""
        self._watch.forget()
        self._pieces.clear()
        self._keep = np.zeros(0, bool)
        s = self.surface
        s.vertex_count = s.face_count = s.extracted_blocks = 0
        s.version += 1

    def extract(self, field: WarpField, voxels: Voxels, lattice: Lattice, everything: bool) -> Surface:
        """See `TsdfVolume.extract`; voxels and lattice are the volume's."""
        blocks = self._directory.count
        if self._directory.capacity > self._pieces.capacity:
            self._pieces.grow(self._directory.capacity)
            self.growth_count += 1
        if blocks == 0:
            return self.surface
        if field.count == 0:
            # Nothing would carry the vertices: the surface stays what it was, with the anchors that it had.
            self.surface.extracted_blocks = 0
            return self.surface
        self._mark_stale(field)
        extracted = self._extract_changed(voxels, everything)
        counts, pending, quad_counts = self._pieces.counts(blocks)
        anchored = self._anchor_vertices(field, lattice, pending)
        self.surface.extracted_blocks = extracted
        if extracted or anchored:
            self._emit(counts, quad_counts)
            self.surface.version += 1
        return self.surface

    def warp(self, surface: Surface, field: WarpField) -> tuple[wp.array, wp.array]:
        """See `TsdfVolume.warp_surface`."""
        if self._live_vertices.size < surface.vertices.size:
            self._allocate_live(surface.vertices.size)
        inputs = [surface.points, field.graph, self._live_vertices, self._live_normals]
        self._launch(mesh_kernels.warp_vertices, surface.vertex_count, inputs, min_chunk=1024)
        return self._live_vertices, self._live_normals

    # -- buffers -------------------------------------------------------------------------------------------------

    def _make_surface(self, vertices: int, faces: int) -> Surface:
        device = self._device
        self._allocate_live(vertices)
        points = Points()
        points.positions = wp.zeros(vertices, dtype=wp.vec3, device=device)
        points.normals = wp.zeros(vertices, dtype=wp.vec3, device=device)
        points.anchors = wp.zeros(vertices, dtype=wp.vec4i, device=device)
        points.weights = wp.zeros(vertices, dtype=wp.vec4, device=device)
        colours = wp.zeros(vertices, dtype=wp.vec3ub, device=device)
        return Surface(points, colours, wp.zeros(faces, dtype=wp.vec3i, device=device))

    def _allocate_live(self, size: int) -> None:
        self._live_vertices = wp.zeros(size, dtype=wp.vec3, device=self._device)
        self._live_normals = wp.zeros(size, dtype=wp.vec3, device=self._device)

    def _set_point_capacity(self, wanted: int) -> None:
        size = max(self._asked.positions.size, 1024)
        while size < wanted:
            size *= 2
        if self._asked.positions.size:
            self.growth_count += 1
        self._asked.positions = wp.zeros(size, dtype=wp.vec3, device=self._device)
        self._asked.anchors = wp.zeros(size, dtype=wp.vec4i, device=self._device)
        self._asked.weights = wp.zeros(size, dtype=wp.vec4, device=self._device)
        self._point_indices = wp.zeros(size, dtype=wp.int32, device=self._device)

    # -- stages --------------------------------------------------------------------------------------------------

    def _mark_stale(self, field: WarpField) -> None:
        """Mark vertices whose anchors a change of the graph may have changed."""
        change = self._watch.changes(field)
        if change is None:
            return
        p = self._pieces
        if change.replaced:
            p.anchors.states.zero_()
            trusted = 0.0
        else:
            trusted = self._watch.trusted_distance(field)
        inputs = [p.vertices, field.graph, change.marks, trusted, p.anchors]
        self._launch(mesh_kernels.mark_stale_vertices, 8 * self._directory.count, inputs)

    def _extract_changed(self, voxels: Voxels, everything: bool) -> int:
        """Extract the blocks that read a changed voxel; returns how many."""
        p, d = self._pieces, self._directory
        blocks = d.count
        tolerance = -1.0 if everything else self._config.surface_tolerance_m
        self._launch(surface_kernels.mark_changed, blocks, [voxels, tolerance, p.changed])
        self._launch(surface_kernels.mark_readers, blocks, [p.changed, d.blocks, 1, p.vertex_readers])
        self._launch(surface_kernels.mark_readers, blocks, [p.vertex_readers, d.blocks, -1, p.quad_readers])
        changed, vertex_readers, quad_readers = p.list_marked(blocks)
        self._launch(integrate_kernels.publish_slices, 8 * changed.size, [changed, self._config.min_weight, voxels])
        inputs = [vertex_readers, d.blocks, voxels, self._config.voxel_m, self._config.min_corners]
        inputs += [p.vertices, p.anchors]
        self._launch(surface_kernels.extract_vertices, 8 * vertex_readers.size, inputs)
        inputs = [quad_readers, d.blocks, p.vertices, p.quads]
        self._launch(surface_kernels.list_quads, 8 * quad_readers.size, inputs)
        return vertex_readers.size

    def _anchor_vertices(self, field: WarpField, lattice: Lattice, pending: Array) -> int:
        """Give anchors to new vertices, and within the budget to stale ones; returns how many.

        Args:
            pending: (slices,) int32 vertices without anchors, or with stale ones.
        """
        p, asked = self._pieces, self._asked
        slices = np.flatnonzero(pending)
        if len(slices) == 0:
            return 0
        ends = np.cumsum(pending[slices], dtype=np.int32)
        total = int(ends[-1])
        if total > asked.positions.size:
            self._set_point_capacity(total)
        p.pending_slices.upload(np.stack([slices, ends - pending[slices], ends], axis=1))
        inputs = [p.pending_slices.array, p.vertices, asked.positions, self._point_indices, p.anchors]
        self._launch(mesh_kernels.gather_pending, len(slices), inputs)
        field.anchor(asked.positions, total, asked.anchors, asked.weights)
        inputs = [self._point_indices, asked, lattice, field.graph, field.count, field.sigma_m, p.anchors]
        self._launch(mesh_kernels.store_anchors, total, inputs, min_chunk=1024)
        return total

    def _emit(self, counts: Array, quad_counts: Array) -> None:
        """Join the pieces of all blocks into the surface's arrays.

        Args:
            counts, quad_counts: (slices,) int32 vertices and quads of each slice.
        """
        p, d = self._pieces, self._directory
        slices = 8 * d.count
        block_counts = counts.reshape(-1, 8).sum(axis=1)
        kept_blocks = self._kept_blocks(block_counts)
        kept = np.repeat(kept_blocks, 8)
        vertex_counts = np.where(kept, counts, 0)
        vertex_ends = np.cumsum(vertex_counts, dtype=np.int32)
        p.bases.wait()
        bases = p.bases.host[:slices]
        bases[:, 0] = np.where(kept, vertex_ends - vertex_counts, -1)
        quad_counts = np.where(kept, quad_counts, 0)
        self._leave_out_torn_quads(kept_blocks, (block_counts > 0) & ~kept_blocks, quad_counts)
        quad_ends = np.cumsum(quad_counts, dtype=np.int32)
        vertices, faces = int(vertex_ends[-1]), 2 * int(quad_ends[-1])
        if vertices > self.surface.vertices.size or faces > self.surface.faces.size:
            size = self.surface.vertices.size
            while size < vertices or 2 * size < faces:
                size *= 2
            version = self.surface.version
            self.surface = self._make_surface(size, 2 * size)
            self.surface.version = version
            self.growth_count += 1
        s = self.surface
        s.vertex_count, s.face_count = vertices, faces
        p.bases.wait()
        bases[:, 1] = np.where(kept, quad_ends - quad_counts, -1)
        p.bases.send(slices)
        self._launch(mesh_kernels.emit_vertices, slices, [p.vertices, p.anchors, s.points, s.colours])
        self._launch(mesh_kernels.emit_faces, slices, [d.blocks, p.vertices, p.quads, s.faces])

    def _leave_out_torn_quads(self, kept: Array, hidden: Array, quad_counts: Array) -> None:
        """Lower `quad_counts`, (slices,), by the quads of shown blocks that have a vertex in a hidden one.

        The bases of vertices are known.

        Args:
            kept, hidden: (blocks,) bool, blocks with vertices that are shown and that are not.
        """
        if not hidden.any():
            return
        p, d = self._pieces, self._directory
        joining = d.find((d.host_coords[hidden][:, None] + _JOINING).reshape(-1, 3))
        joining = np.unique(joining[joining >= 0])
        joining = joining[kept[joining]]
        if len(joining) == 0:
            return
        torn = (8 * joining[:, None] + np.arange(8)).astype(np.int32).ravel()
        p.bases.send(8 * d.count)
        p.slice_list.upload(torn)
        inputs = [p.slice_list.array, d.blocks, p.vertices, p.quads, p.whole_quads.array]
        self._launch(mesh_kernels.count_whole_quads, len(torn), inputs)
        quad_counts[torn] = p.whole_quads.download(len(torn))

    def _kept_blocks(self, counts: Array) -> Array:
        """(blocks,) bool: blocks in pieces of surface large enough to be shown.

        Args:
            counts: (blocks,) vertices per block.
        """
        holds = counts > 0
        if self._config.min_component_vertices <= 0:
            return holds
        self._since_keep += 1
        known = len(self._keep)
        if known and self._since_keep < _COMPONENTS_EVERY:
            # Blocks that came since the last look are shown until it is known whether they hang together.
            keep = holds.copy()
            keep[:known] &= self._keep
            return keep
        self._since_keep = 0
        occupied = np.flatnonzero(holds)
        coords = self._directory.host_coords[occupied]
        rank = np.cumsum(holds) - 1
        rows, columns = [], []
        for offset in _HALF_NEIGHBOURS:
            slot = self._directory.find(coords + offset)
            linked = (slot >= 0) & holds[slot]
            rows.append(np.flatnonzero(linked))
            columns.append(rank[slot[linked]])
        row, column = np.concatenate(rows), np.concatenate(columns)
        n = len(occupied)
        labels = connected_components(coo_matrix((np.ones(len(row), bool), (row, column)), shape=(n, n)), False)[1]
        sizes = np.bincount(labels, weights=counts[occupied], minlength=1)
        keep = np.ones(len(counts), bool)
        keep[occupied] = sizes[labels] >= self._config.min_component_vertices
        self._keep = keep
        return keep & holds
