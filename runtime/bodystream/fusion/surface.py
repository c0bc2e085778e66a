"""The fused surface: extraction of changed blocks, anchors per vertex, and the live mesh."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import Points
from bodystream.device import LaunchCache, download
from bodystream.fusion import component_kernels, integrate_kernels, mesh_kernels, surface_kernels
from bodystream.fusion.anchoring import GraphWatch
from bodystream.fusion.blocks_kernels import Lattice
from bodystream.fusion.components import Components
from bodystream.fusion.config import FusionConfig
from bodystream.fusion.directory import BlockDirectory
from bodystream.fusion.dust import Dust
from bodystream.fusion.integrate_kernels import Voxels
from bodystream.fusion.pieces import Pieces
from bodystream.geometry.skinning import unturned_bones
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["Surface", "SurfaceExtractor"]


@dataclass(slots=True)
class Surface:
    """A canonical mesh on the device, skinned to the deformation graph.

    Attributes:
        points: the kernels' view of vertices, normals, anchors and weights.
        colours: (capacity,) vec3ub RGB.
        faces: (capacity,) vec3i, counter-clockwise seen from outside; the first `face_count` are in use.
        extracted_blocks: blocks of which the last extraction looked at slices again; 0 = geometry is that of before.
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
        self._components = Components(16384, device)

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        s, p = self.surface, self._asked
        arrays = [s.vertices, s.normals, s.colours, s.anchors, s.weights, s.faces]
        arrays += [self._live_vertices, self._live_normals, p.positions, p.anchors, p.weights]
        return sum(a.capacity for a in arrays) + self._pieces.bytes + self._components.bytes

    def reset(self) -> None:
        """Forget all pieces; buffers stay."""
        self._watch.forget()
        self._pieces.clear()
        s = self.surface
        s.vertex_count = s.face_count = s.extracted_blocks = 0
        s.version += 1

    def extract(
        self, field: WarpField, voxels: Voxels, lattice: Lattice, everything: bool, dust: Dust | None
    ) -> Surface:
        """See `TsdfVolume.extract`; voxels and lattice are the volume's, `dust` takes out what is wrong."""
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
        # A frame may contradict surface that it did not change.
        if extracted or anchored or dust is not None:
            self._emit(counts, quad_counts, field, voxels, dust)
            self.surface.version += 1
        return self.surface

    def warp(self, surface: Surface, field: WarpField) -> tuple[wp.array, wp.array]:
        """See `TsdfVolume.warp_surface`."""
        if self._live_vertices.size < surface.vertices.size:
            self._allocate_live(surface.vertices.size)
        inputs = [surface.points, field.motions, self._live_vertices, self._live_normals]
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
        """Extract the slices that read a changed voxel; returns how many blocks have such."""
        p, d = self._pieces, self._directory
        blocks = d.count
        tolerance = -1.0 if everything else self._config.surface_tolerance_m
        self._launch(surface_kernels.mark_changed, blocks, [voxels, tolerance, p.changed], min_chunk=2048)
        for marks, sign, readers in ((p.changed, 1, p.vertex_readers), (p.vertex_readers, -1, p.quad_readers)):
            self._launch(surface_kernels.mark_readers, blocks, [marks, d.blocks, sign, readers], min_chunk=1024)
        changed, vertex_readers, quad_readers = p.list_marked(blocks)
        inputs = [changed, p.changed, self._config.min_weight, voxels]
        self._launch(integrate_kernels.publish_slices, 8 * changed.size, inputs)
        inputs = [vertex_readers, p.vertex_readers, d.blocks, voxels, self._config.voxel_m, self._config.min_corners]
        inputs += [p.vertices, p.anchors]
        self._launch(surface_kernels.extract_vertices, 8 * vertex_readers.size, inputs)
        inputs = [quad_readers, p.quad_readers, d.blocks, p.vertices, p.quads]
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

    def _emit(self, counts: Array, quad_counts: Array, field: WarpField, voxels: Voxels, dust: Dust | None) -> None:
        """Join the pieces of all blocks into the surface's arrays, without loose specks.

        Args:
            counts, quad_counts: (slices,) int32 vertices and quads of each slice.
        """
        p, d, components = self._pieces, self._directory, self._components
        slices = 8 * d.count
        vertex_ends = np.cumsum(counts, dtype=np.int32)
        quad_ends = np.cumsum(quad_counts, dtype=np.int32)
        all_vertices, all_quads = int(vertex_ends[-1]), int(quad_ends[-1])
        p.bases.wait()
        p.bases.host[:slices, 0] = vertex_ends - counts
        p.bases.host[:slices, 1] = quad_ends - quad_counts
        p.bases.send(slices)
        components.reserve(max(all_vertices, all_quads))
        inputs = [d.blocks, p.vertices, p.quads, components.corners]
        self._launch(component_kernels.list_corners, slices, inputs)
        if dust is not None:
            dust.sweep(p, components.corners, all_vertices, all_quads, field, voxels)
        rules = (self._config.min_component_vertices, self._config.min_component_share)
        vertices, quads = components.number(all_vertices, all_quads, *rules)
        if vertices > self.surface.vertices.size or 2 * quads > self.surface.faces.size:
            size = self.surface.vertices.size
            while size < max(vertices, quads):
                size *= 2
            version = self.surface.version
            self.surface = self._make_surface(size, 2 * size)
            self.surface.version = version
            self.growth_count += 1
        s = self.surface
        s.vertex_count, s.face_count = vertices, 2 * quads
        inputs = [p.vertices, p.anchors, components.vertex_places, s.points, s.colours]
        self._launch(mesh_kernels.emit_vertices, slices, inputs)
        inputs = [components.corners, components.vertex_places, components.quad_places, s.faces]
        self._launch(mesh_kernels.emit_faces, all_quads, inputs, min_chunk=16384)
