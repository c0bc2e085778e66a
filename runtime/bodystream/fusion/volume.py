"""The canonical volume: frames of a deforming subject averaged into sparse blocks of truncated distances."""
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import Points
from bodystream.deformation.ownership import unowned
from bodystream.deformation.ownership_kernels import Owners
from bodystream.device import LaunchCache, Staged, download, grown, view_as
from bodystream.errors import InputError
from bodystream.fusion import blocks_kernels, integrate_kernels
from bodystream.fusion.anchoring import GraphWatch
from bodystream.fusion.config import FusionConfig
from bodystream.fusion.directory import BlockDirectory
from bodystream.fusion.dust import Dust
from bodystream.fusion.grading import FrameGrader
from bodystream.fusion.lanes_kernels import vec8, vec9
from bodystream.fusion.rules import block_rules, voxel_rules
from bodystream.fusion.surface import Surface, SurfaceExtractor
from bodystream.types import Array, CameraIntrinsics

__all__ = ["IntegrateStats", "TsdfVolume", "VolumeStats"]

_LATTICE_POINTS = int(blocks_kernels.LATTICE_POINTS)
_BLOCK_VOXELS = int(integrate_kernels.BLOCK_VOXELS)
_BLOCK_ROWS = _BLOCK_VOXELS // 8
_UNKNOWN = float(integrate_kernels.UNKNOWN)
_NEW = 1.0  # all weight moved voxels
_UNREACHED, _MISSING = float(blocks_kernels.UNREACHED), float(blocks_kernels.MISSING)


@dataclass(frozen=True, slots=True)
class IntegrateStats:
    """What one frame did to the volume.

    Attributes:
        t_ns: of the frame.
        samples: foreground points that were brought to canonical space for allocation.
        uncovered_samples: those too far from every node.
        new_blocks, active_blocks, blocks: allocated by this frame, updated by it, allocated in all.
        refreshed_anchors, stale_anchors: lattice anchors renewed in this frame, and still waiting.
    """

    t_ns: int
    samples: int
    uncovered_samples: int
    new_blocks: int
    active_blocks: int
    blocks: int
    refreshed_anchors: int
    stale_anchors: int


@dataclass(frozen=True, slots=True)
class VolumeStats:
    """The size of a volume.

    Attributes:
        blocks: allocated blocks of 8 x 8 x 8 voxels.
        bytes: of all device buffers, the surface's among them.
        growth_count: how often buffers were doubled.
        refused_blocks: blocks that were wanted beyond the limits.
    """

    blocks: int
    bytes: int
    growth_count: int
    refused_blocks: int


class TsdfVolume:
    """A canonical truncated signed distance field with colour, fused through a deformation graph.

    Source: DynamicFusion sec. 3.3; NNRT sec. 4.5. Distances are positive on the camera's side of the surface.

    Args:
        config: see `FusionConfig`.
        device: where its arrays live.
    """

    def __init__(self, config: FusionConfig, device: wp.Device) -> None:
        self.config = config
        self.device = device
        self.growth_count = 0
        self.directory = BlockDirectory(device, config.block_capacity, config.max_blocks)
        self._launch = LaunchCache(device)
        self._watch = GraphWatch()
        self._any_stale = False
        self._block_rules = block_rules(config)
        self._voxel_rules = voxel_rules(config)
        self._voxels = integrate_kernels.Voxels()
        self._lattice = blocks_kernels.Lattice()
        self._live = blocks_kernels.Live()
        self._frames = 0
        self._allocate_blocks(0, config.block_capacity)
        self._extractor = SurfaceExtractor(config, self.directory, device)
        self._dust = Dust(config, self.directory, device)
        self._grader = FrameGrader(config, device)
        self._asked = Points()
        self._asked.positions = wp.zeros(0, dtype=wp.vec3, device=device)
        self._set_point_capacity(65536)
        self._owners = Owners()
        self._unowned: tuple[tuple[int, ...], Owners] | None = None
        self._no_colour = wp.zeros((0, 0), dtype=wp.vec3ub, device=device)

    @property
    def distances(self) -> wp.array:
        """(capacity * 512,) float32 device array: distance / truncation, voxel x + 8 y + 64 z of each block."""
        return view_as(self._voxels.distances, wp.float32, 8 * self._voxels.distances.size)

    @property
    def weights(self) -> wp.array:
        """(capacity * 512,) float32 device array: summed weights, 0 = never observed; in the order of `distances`."""
        return view_as(self._voxels.weights, wp.float32, 8 * self._voxels.weights.size)

    @property
    def stats(self) -> VolumeStats:
        v, k, p, live = self._voxels, self._lattice, self._asked, self._live
        arrays = [v.distances, v.weights, v.colours, v.published, k.anchors, k.weights, k.stale]
        arrays += [v.slices.change, v.slices.unrest, v.slices.occupied, live.x, live.y, live.z]
        arrays += [self._active.array, self._active_flags.array, self._canonical, self._found.array]
        arrays += [p.positions, p.anchors, p.weights, self.directory.blocks.table]
        growths = self.growth_count + self.directory.growth_count + self._extractor.growth_count
        total = sum(a.capacity for a in arrays) + self._extractor.bytes + self._grader.bytes + self._dust.bytes
        return VolumeStats(self.directory.count, total, growths, self.directory.refused)

    def reset(self) -> None:
        """Forget everything that was fused; buffers stay."""
        self.directory.clear()
        self._watch.forget()
        voxels = self._voxels
        slices = voxels.slices
        for array in (voxels.distances, voxels.weights, voxels.colours, slices.change, slices.occupied):
            array.zero_()
        slices.unrest.fill_(_NEW)
        self._lattice.stale.zero_()
        view_as(voxels.published, wp.float32, 8 * voxels.published.size).fill_(_UNKNOWN)
        self._extractor.reset()
        self._frames = 0

    def integrate(
        self,
        depth: wp.array,
        colour: wp.array | None,
        mask: wp.array,
        intrinsics: CameraIntrinsics,
        field: WarpField,
        t_ns: int,
        owners: Owners | None = None,
    ) -> IntegrateStats:
        """Fuse one frame.

        Args:
            depth: (H, W) float32 device array [m]; 0 and nan are no measurement.
            colour: (H, W) vec3ub or (H, W, 3) uint8 device array, or None.
            mask: (H, W) uint8 device array, 0 = background.
            intrinsics: of these pixels.
            field: moves canonical points to this camera's frame at the frame's time.
            t_ns: of the frame.
            owners: which part of the model explains which pixels: no other part takes them. None = each may take all.

        Raises:
            InputError: an image has another size or type than its intrinsics and this contract say.
        """
        colour = self._checked(depth, colour, mask, intrinsics)
        owners = self._nobody(depth.shape) if owners is None else owners
        self._owners = owners
        self._watch_graph(field)
        asked = "quarter" if self._frames % self.config.allocate_every == 0 else "none"
        wanted = "all" if self.directory.count == 0 else asked
        samples = self._grader.grade(depth, mask, intrinsics, field, samples=wanted)
        new_blocks, uncovered = self._allocate(samples, field)
        refreshed, stale = self._refresh_anchors(field)
        active = self._integrate_active(colour, field, owners)
        blocks = self.directory.count
        return IntegrateStats(t_ns, samples, uncovered, new_blocks, active, blocks, refreshed, stale)

    def extract(self, field: WarpField, *, everything: bool = False, lost_nodes: Array | None = None) -> Surface:
        """The zero level as a mesh; only blocks that changed are looked at again.

        Args:
            field: whose anchors the vertices get.
            everything: extract all blocks anew.
            lost_nodes: (N,) bool, nodes whose surface is wrong, N may be 0. Given right after `integrate`, all that is
                wrong is left out and forgotten: that, what contradicts the frame, and torn faces. None = show all.

        Returns:
            The volume's own `Surface`, which the next call overwrites.
        """
        dust = None
        if lost_nodes is not None:
            self._dust.look(self._grader, self._owners, lost_nodes)
            dust = self._dust
        return self._extractor.extract(field, self._voxels, self._lattice, everything, dust)

    def warp_surface(self, surface: Surface, field: WarpField) -> tuple[wp.array, wp.array]:
        """Vertices [m] and normals of a surface in the camera's frame; preallocated, overwritten by the next call."""
        return self._extractor.warp(surface, field)

    # -- frame ---------------------------------------------------------------------------------------------------

    def _checked(self, depth: wp.array, colour: wp.array | None, mask: wp.array, intrinsics: CameraIntrinsics) -> Any:
        size = (intrinsics.height, intrinsics.width)
        if min(size) < 8:
            raise InputError(f"fusion: images must have at least 8 x 8 pixels, got {size[1]} x {size[0]}")
        for name, image, dtype in (("depth", depth, wp.float32), ("mask", mask, wp.uint8)):
            if image.shape != size or image.dtype != dtype or not image.is_contiguous:
                raise InputError(
                    f"fusion: {name} must be {dtype.__name__} of shape {size}, in one piece, "
                    f"got {image.dtype.__name__} of {image.shape}"
                )
        if colour is None:
            return self._no_colour
        if colour.dtype == wp.vec3ub and colour.shape == size:
            return colour
        if colour.dtype == wp.uint8 and colour.shape == (*size, 3) and colour.is_contiguous:
            return view_as(colour, wp.vec3ub, size)
        raise InputError(
            f"fusion: colour must be vec3ub of shape {size} or contiguous uint8 of shape {(*size, 3)}, "
            f"got {colour.dtype} of {colour.shape}"
        )

    def _nobody(self, size: tuple[int, ...]) -> Owners:
        """Owners of an image in which no cell belongs to anybody."""
        if self._unowned is None or self._unowned[0] != size:
            self._unowned = (size, unowned(size, self.device))
        return self._unowned[1]

    def _set_point_capacity(self, wanted: int) -> None:
        size = max(self._asked.positions.size, 1024)
        while size < wanted:
            size *= 2
        if self._asked.positions.size:
            self.growth_count += 1
        device = self.device
        self._asked.positions = wp.zeros(size, dtype=wp.vec3, device=device)
        self._asked.anchors = wp.zeros(size, dtype=wp.vec4i, device=device)
        self._asked.weights = wp.zeros(size, dtype=wp.vec4, device=device)
        self._canonical = wp.zeros(size, dtype=wp.vec3, device=device)
        self._valid = wp.zeros(size, dtype=wp.int32, device=device)
        self._found = Staged(size, wp.vec4, device)
        self._point_indices = Staged(size, wp.int32, device)

    # -- blocks --------------------------------------------------------------------------------------------------

    def _none(self, dtype: Any) -> Any:
        return wp.zeros(0, dtype=dtype, device=self.device)

    def _allocate_blocks(self, kept: int, capacity: int) -> None:
        """Per-block buffers for `capacity` blocks; the first `kept` keep their contents."""
        voxels, slices, lattice = self._voxels, self._voxels.slices, self._lattice
        if kept == 0:
            voxels.distances = self._none(vec8)
            voxels.weights = self._none(vec8)
            voxels.published = self._none(vec8)
            voxels.colours = self._none(integrate_kernels.vec4us)
            slices.change = self._none(float)
            slices.unrest = self._none(wp.vec2)
            slices.occupied = self._none(wp.uint8)
            lattice.anchors = self._none(wp.vec4i)
            lattice.weights = self._none(wp.vec4)
            lattice.stale = self._none(wp.uint8)
        voxels.distances = grown(voxels.distances, capacity * _BLOCK_ROWS)
        voxels.weights = grown(voxels.weights, capacity * _BLOCK_ROWS)
        voxels.published = grown(voxels.published, capacity * _BLOCK_ROWS, _UNKNOWN)
        voxels.colours = grown(voxels.colours, capacity * _BLOCK_VOXELS)
        slices.change = grown(slices.change, capacity * 8)
        slices.unrest = grown(slices.unrest, capacity * 8, _NEW)
        slices.occupied = grown(slices.occupied, capacity * 8)
        lattice.anchors = grown(lattice.anchors, capacity * _LATTICE_POINTS)
        lattice.weights = grown(lattice.weights, capacity * _LATTICE_POINTS)
        lattice.stale = grown(lattice.stale, capacity * _LATTICE_POINTS)
        self._active_flags = Staged(capacity, wp.int32, self.device)
        self._active = Staged(capacity, wp.int32, self.device)
        for axis in "xyz":
            setattr(self._live, axis, wp.zeros(capacity * 3, dtype=vec9, device=self.device))
        self._block_capacity = capacity

    def _allocate(self, samples: int, field: WarpField) -> tuple[int, int]:
        """Allocate blocks around the sample points; returns how many, and how many points no node covers."""
        if samples == 0 or field.count == 0:
            return 0, samples
        if samples > self._asked.positions.size:
            self._set_point_capacity(samples)
        self._grader.sample(self._asked.positions)
        field.unwarp(self._asked.positions, samples, self._canonical, self._valid)
        directory, config = self.directory, self.config
        inputs = [self._canonical, self._valid, directory.blocks, config.block_m, config.truncation_m]
        self._launch(blocks_kernels.find_missing, samples, [*inputs, self._found.array], min_chunk=2048)
        found = self._found.download(samples)
        uncovered = int(np.count_nonzero(found[:, 3] == _UNREACHED))
        missing = found[found[:, 3] == _MISSING, :3]
        if len(missing) == 0:
            return 0, uncovered
        first = directory.count
        directory.insert_around(missing, config.truncation_m, config.block_m)
        if directory.capacity > self._block_capacity:
            self.growth_count += 1
            self._allocate_blocks(first, directory.capacity)
        new = directory.count - first
        if new:
            lattice = np.arange(first * _LATTICE_POINTS, directory.count * _LATTICE_POINTS, dtype=np.int32)
            self._anchor_lattice(lattice, field)
        return new, uncovered

    def _watch_graph(self, field: WarpField) -> None:
        """Mark the lattice anchors that a change of the graph may have made stale."""
        change = self._watch.changes(field)
        blocks = self.directory.count
        if change is None or blocks == 0:
            return
        if change.replaced:
            self._anchor_lattice(np.arange(blocks * _LATTICE_POINTS, dtype=np.int32), field)
            return
        inputs = [self.directory.blocks, self.config.voxel_m, field.graph, change.marks]
        inputs += [self._watch.trusted_distance(field), self._lattice]
        self._launch(blocks_kernels.mark_stale_lattice, blocks * _LATTICE_POINTS, inputs, min_chunk=1024)
        self._any_stale = True

    def _refresh_anchors(self, field: WarpField) -> tuple[int, int]:
        """Renew stale anchors within the budget; returns how many were renewed and how many wait."""
        if not self._any_stale:
            return 0, 0
        marks = download(self._lattice.stale, self.directory.count * _LATTICE_POINTS)
        stale = np.flatnonzero(marks).astype(np.int32)
        chosen = stale[: self.config.anchor_budget]
        self._anchor_lattice(chosen, field)
        self._any_stale = len(stale) > len(chosen)
        return len(chosen), len(stale) - len(chosen)

    def _anchor_lattice(self, indices: np.ndarray, field: WarpField) -> None:
        """Ask the graph for the anchors of (P,) lattice points (block * 27 + point)."""
        count = len(indices)
        if count == 0:
            return
        asked = self._asked
        if count > asked.positions.size:
            self._set_point_capacity(count)
        self._point_indices.upload(indices)
        inputs = [self._point_indices.array, self.directory.blocks, self.config.voxel_m, asked.positions]
        self._launch(blocks_kernels.place_lattice, count, inputs, min_chunk=1024)
        field.anchor(asked.positions, count, asked.anchors, asked.weights)
        inputs = [self._point_indices.array, asked, self._lattice]
        self._launch(blocks_kernels.scatter_anchors, count, inputs, min_chunk=1024)

    def _integrate_active(self, colour: wp.array, field: WarpField, owners: Owners) -> int:
        """Update the voxels that the frame can say something about; returns how many blocks they are in."""
        blocks = self.directory.count
        if blocks == 0 or field.count == 0:
            return 0
        self._frames += 1
        turn = wp.vec2i(self._frames % self.config.settled_every, self.config.settled_every)
        inputs = [self.directory.blocks, self._lattice, self._voxels.slices, field.motions]
        inputs += [self._grader.graded, self._grader.camera, self._block_rules, turn]
        self._launch(blocks_kernels.warp_blocks, blocks, [*inputs, self._live, self._active_flags.array])
        active = np.flatnonzero(self._active_flags.download(blocks))
        self._active.upload(active)
        graded = self._grader.graded
        inputs = [self._active.array, self.directory.blocks, self._live, graded, owners, colour, self._grader.camera]
        inputs += [self._voxel_rules, turn, self._voxels]
        self._launch(integrate_kernels.integrate_slices, 8 * len(active), inputs)
        return len(active)
