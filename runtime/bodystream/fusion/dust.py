"""Surface that cannot be right: what a frame contradicts, ribbons between parts that moved apart, parts gone astray."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import LaunchCache, Staged, view_as
from bodystream.fusion import dust_kernels
from bodystream.fusion.config import FusionConfig
from bodystream.fusion.directory import BlockDirectory
from bodystream.fusion.grading import FrameGrader
from bodystream.fusion.pieces import Pieces
from bodystream.types import Array

__all__ = ["Dust"]


class Dust:
    """Takes wrong surface out of a volume, voxels and all, so that it has to be seen anew.

    Args:
        config: see `FusionConfig`. directory: the volume's blocks. device: where its arrays live.

    Attributes:
        wrong: (capacity,) uint8 device array, what was wrong with each vertex of the last sweep, among those of all
            slices: `THROUGH`, `BEHIND`, `TORN` or `ASTRAY` of the kernels, 0 = nothing.
    """

    def __init__(self, config: FusionConfig, directory: BlockDirectory, device: wp.Device) -> None:
        self._directory = directory
        self._device = device
        self._launch = LaunchCache(device)
        self._allocate(16384)
        self._lost = Staged(1024, wp.uint8, device)
        self._rules = rules = dust_kernels.DustRules()
        rules.through_m, rules.behind_m = 0.03, 0.02
        rules.same_part_m, rules.min_cosine = 0.2, 0.2
        rules.silhouette_px = config.silhouette_px
        rules.longest_m, rules.torn_m = config.longest_edge_m, config.torn_edge_m
        rules.voxel_m = config.voxel_m
        rules.lost_nodes = self._lost.array

    def _allocate(self, vertices: int) -> None:
        self.wrong = wp.zeros(vertices, dtype=wp.uint8, device=self._device)
        self._live = wp.zeros(vertices, dtype=wp.vec3, device=self._device)

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        return sum(array.capacity for array in (self.wrong, self._live, self._lost.array))

    def look(self, grader: FrameGrader, owners: Any, lost_nodes: Array) -> None:
        """Take the frame by which the next sweep judges.

        Args:
            grader: of that frame. owners: its `ownership_kernels.Owners`.
            lost_nodes: (N,) bool, nodes whose surface is to be forgotten; N may be 0.
        """
        self._grader, self._owners, count = grader, owners, len(lost_nodes)
        if count > len(self._lost):
            self._lost = Staged(2 * count, wp.uint8, self._device)
            self._rules.lost_nodes = self._lost.array
        self._rules.node_count = count if lost_nodes.any() else 0
        if self._rules.node_count and not np.array_equal(self._lost.host[:count], lost_nodes):
            self._lost.upload(lost_nodes)

    def sweep(
        self, pieces: Pieces, corners: wp.array, vertices: int, quads: int, field: WarpField, voxels: Any
    ) -> None:
        """Find what is wrong in all pieces of surface, forget the voxels around it, and leave out its quads.

        Args:
            corners: (quads,) vec4i device array, vertices of each quad; -1 afterwards where the quad is left out.
            field: as it was at the frame. voxels: the volume's `integrate_kernels.Voxels`.
        """
        slices = 8 * self._directory.count
        if vertices > self.wrong.size:
            self._allocate(2 * vertices)
        frame = [self._grader.graded, self._owners, self._grader.camera]
        inputs = [pieces.vertices, pieces.anchors, field.motions, *frame, self._rules, self._live, self.wrong]
        self._launch(dust_kernels.judge_vertices, slices, inputs)
        inputs = [self._live, self._rules, corners, self.wrong]
        self._launch(dust_kernels.find_torn, quads, inputs, min_chunk=4096)
        self._launch(dust_kernels.cut_quads, quads, [self.wrong, corners], min_chunk=8192)
        weights = view_as(voxels.weights, wp.float32, 8 * voxels.weights.size)
        inputs = [pieces.vertices, self.wrong, self._directory.blocks, self._rules, weights, voxels.slices]
        self._launch(dust_kernels.forget_around, slices, inputs, split=False)
