"""Poses a clothed avatar by tables: what its layers do in a pose, evaluated on grids and looked up per vertex.

At a fixed pose a layer that moves two coordinates is a function of the third, and one that moves one a function of two.
Both are evaluated by one call of the engine per PIN, on grids so fine that a bundle's manifest states the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import warp as wp

from bodystream.avatar.clothed import kernels
from bodystream.avatar.clothed.body import BONES, LAYERS, ClothedBody, Grid
from bodystream.avatar.clothed.bones import bone_parameters
from bodystream.avatar.posed_surface import PosedSurface
from bodystream.device import RecordedLaunch, Staged, uploaded
from bodystream.engines import Engine
from bodystream.types import Array

__all__ = ["TablePoser"]


class TablePoser(PosedSurface):
    """The buffers and launches of one body; steady state allocates nothing on the device.

    Args:
        body: of the bundle.
        canonical, deformed: engines of its two graphs of tables.
        device: where vertices are posed.
    """

    def __init__(self, body: ClothedBody, canonical: Engine, deformed: Engine, device: wp.Device) -> None:
        super().__init__(body.surface, device)
        self._canonical, self._deformed = canonical, deformed
        section, count = body.section, len(body.vertices)
        first, second = section.canonical_grid, section.deformed_grid

        def zeros(shape: int | tuple[int, ...], dtype: Any) -> wp.array:
            return wp.zeros(shape, dtype=dtype, device=device)

        def on_device(values: Array, dtype: Any) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        self._parameters = np.zeros((BONES, 6), np.float32)
        self._linear, self._shift = Staged(BONES, wp.mat33, device), Staged(BONES, wp.vec3, device)
        self._frame = Staged(4, wp.vec3, device)
        lines, planes = _tables(first, device), _planes(first, device)
        later_lines, later_planes = _tables(second, device), _planes(second, device)
        self._lines, self._later_lines = lines.values, later_lines.values
        self._listed, self._later_listed = (zeros((LAYERS, grid.listed), float) for grid in (first, second))
        nodes = second.largest_plane
        self._marks, self._wanted, self._before = (
            zeros((3, nodes), wp.int32),
            zeros(3 * nodes, wp.int32),
            zeros(3 * nodes, wp.int32),
        )
        self._nodes = zeros((3, second.listed), float)
        self._lost = Staged(1, wp.int32, device)
        skinned = zeros(count, wp.vec3)
        low, counts = wp.vec3(*second.low_m), wp.vec3i(*second.plane_nodes)

        def launch(kernel: Any, dim: int, *inputs: Any) -> RecordedLaunch:
            return RecordedLaunch(kernel, dim, list(inputs), device)

        static = on_device(body.canonical_nodes, wp.float32)
        self._first: tuple[Callable[[], None], ...] = (
            launch(kernels.spread_nodes, LAYERS * first.listed, static, self._listed, planes.values),
            launch(
                kernels.undo_canonical_and_skin,
                count,
                on_device(body.vertices, wp.vec3),
                on_device(body.base, wp.vec3),
                on_device(body.skin_bones.T, wp.int32),
                on_device(body.skin_weights.transpose(1, 0, 2), wp.vec4),
                lines,
                planes,
                self._linear.array,
                self._shift.array,
                skinned,
            ),
            self._marks.zero_,
            launch(kernels.mark_nodes, count, skinned, low, second.plane_step_m, counts, self._marks),
            launch(kernels.widen, 3 * nodes, self._marks, counts, section.reach_nodes, self._wanted),
            lambda: wp.utils.array_scan(self._wanted, self._before, inclusive=False),
            launch(kernels.list_nodes, 3 * nodes, self._wanted, self._before, self._nodes, self._lost.array),
        )
        self._second: tuple[Callable[[], None], ...] = (
            launch(kernels.spread_nodes, LAYERS * second.listed, self._nodes, self._later_listed, later_planes.values),
            launch(
                kernels.undo_deformed, count, skinned, later_lines, later_planes, self._frame.array, self.vertices.array
            ),
            self.compute_normals,
        )

    @property
    def lost(self) -> bool:
        """Whether the last pose spread the surface over more nodes than tables list, so that parts of it are wrong.

        On CUDA this waits for the pose.
        """
        return bool(self._lost.download()[0])

    def pose(self, bones: Array, world_from_heading: Array) -> None:
        """Fill `vertices` and `normals`.

        Args:
            bones: (24, 4, 4) from the canonical pose, in the frame of the body's heading.
            world_from_heading: (4, 4).
        """
        bone_parameters(bones, self._parameters)
        self._lost.upload(np.zeros(1, np.int32))
        for staged, values in (
            (self._linear, bones[:, :3, :3]),
            (self._shift, bones[:, :3, 3]),
            (self._frame, world_from_heading[:3].T),
        ):
            staged.upload(values)
        self._canonical.run({"parameters": self._parameters}, {"lines": self._lines, "planes": self._listed})
        for stage in self._first:
            stage()
        self._deformed.run(
            {"parameters": self._parameters, "nodes": self._nodes},
            {"lines": self._later_lines, "planes": self._later_listed},
        )
        for stage in self._second:
            stage()


def _tables(grid: Grid, device: wp.Device) -> Any:
    tables = kernels.LineTables()
    tables.values = wp.zeros((LAYERS, grid.line_nodes), dtype=wp.vec4, device=device)
    tables.low, tables.step = wp.vec3(*grid.low_m), grid.line_step_m
    return tables


def _planes(grid: Grid, device: wp.Device) -> Any:
    tables = kernels.PlaneTables()
    tables.values = wp.zeros((LAYERS, grid.largest_plane), dtype=float, device=device)
    tables.low, tables.step = wp.vec3(*grid.low_m), grid.plane_step_m
    tables.count = wp.vec3i(*grid.plane_nodes)
    return tables
