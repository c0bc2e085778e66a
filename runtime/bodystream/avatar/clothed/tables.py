"""Poses a clothed avatar by tables of what its layers do in a pose, looked up by controls that other vertices follow.

At a fixed pose a layer that moves two coordinates is a function of the third, and one that moves one a function of two.
Both are evaluated by one call of the engine, on grids so fine, and looked up by so many controls, that a bundle's
manifest states the error.
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

_NOTHING = wp.vec4(np.nan, np.nan, np.nan, np.nan)
_MIN_CHUNK = 256
"""Controls have longer ways than vertices, of which 1,024 are the fewest that a thread is given."""


class TablePoser(PosedSurface):
    """The buffers and launches of one body; steady state allocates nothing on the device.

    Args:
        body: of the bundle.
        engine: of its graph of tables.
        device: where vertices are posed.
    """

    def __init__(self, body: ClothedBody, engine: Engine, device: wp.Device) -> None:
        super().__init__(body.surface, device)
        self._engine = engine
        section, count = body.section, len(body.vertices)
        first, second = section.canonical_grid, section.deformed_grid

        def zeros(shape: int | tuple[int, ...], dtype: Any) -> wp.array:
            return wp.zeros(shape, dtype=dtype, device=device)

        def on_device(values: Array, dtype: Any) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        def launch(kernel: Any, dim: int, *inputs: Any, min_chunk: int = 1024) -> RecordedLaunch:
            return RecordedLaunch(kernel, dim, list(inputs), device, min_chunk=min_chunk)

        self._parameters = np.zeros((BONES, 6), np.float32)
        self._linear, self._shift = Staged(BONES, wp.mat33, device), Staged(BONES, wp.vec3, device)
        self._frame = Staged(4, wp.vec3, device)
        bones: Any = kernels.Bones()
        bones.linear, bones.shift = self._linear.array, self._shift.array
        surface: Any = kernels.Surface()
        surface.base = on_device(body.base, wp.vec3)
        surface.bones = on_device(_in_fours(body.skin_bones), wp.vec4i)
        surface.weights = on_device(_in_fours(body.skin_weights), wp.vec4)
        controls: Any = kernels.Controls()
        controls.vertices = on_device(body.controls, wp.int32)
        controls.canonical = on_device(body.vertices[body.controls], wp.vec3)
        controls.reach = on_device(body.control_reach_m, wp.float32)
        controls.bones = on_device(body.control_bones.T, wp.int32)
        logits = body.control_logits.transpose(1, 0, 2)
        controls.logits = on_device(logits[..., [1, 2, 3, 0]], wp.vec4)
        controls.squares, controls.products = (on_device(logits[..., i : i + 3], wp.vec3) for i in (4, 7))
        canonical, deformed = _tables(first, device), _tables(second, device)
        canonical_shifts, deformed_shifts = (zeros(3 * sum(grid.listed), float) for grid in (first, second))
        nodes = zeros(sum(second.listed), float)
        self._feed = {"parameters": self._parameters, "nodes": nodes}
        self._out = {
            "canonical_lines": canonical.lines,
            "canonical_planes": canonical_shifts,
            "deformed_lines": deformed.lines,
            "deformed_planes": deformed_shifts,
        }
        marks, wanted = (zeros((3, max(second.planes)), wp.int32) for _ in range(2))
        rows = zeros((3, max(second.plane_nodes[:2])), wp.int32)
        self._lost = Staged(1, wp.int32, device)
        plain, beyond = zeros(section.controls, wp.vec3), zeros(section.controls, wp.vec3)
        low, size = wp.vec3(*second.low_m), wp.vec3i(*second.plane_nodes)
        capacity = wp.vec3i(*second.listed)
        self._before_engine: tuple[Callable[[], None], ...] = (
            marks.zero_,
            launch(
                kernels.mark_nodes, section.controls, surface, controls, bones, low, second.plane_step_m, size, plain,
                marks,
            ),
            launch(kernels.widen, rows.size, marks, size, wanted, rows, min_chunk=_MIN_CHUNK // 2),
            launch(
                kernels.list_nodes, rows.size, wanted, rows, size, capacity, nodes,
                min_chunk=_MIN_CHUNK // 2,
            ),
        )  # fmt: skip
        static = on_device(body.canonical_nodes, wp.float32)
        self._after_engine: tuple[Callable[[], None], ...] = (
            lambda: deformed.planes.fill_(_NOTHING),
            launch(
                kernels.spread_nodes, 3 * sum(first.listed), static, wp.vec3i(*first.listed), canonical_shifts,
                canonical.planes,
            ),
            launch(kernels.spread_nodes, 3 * sum(second.listed), nodes, capacity, deformed_shifts, deformed.planes),
            launch(
                kernels.undo_network, -(-section.controls // 4), surface, controls, plain, canonical, bones, deformed,
                beyond, self._lost.array, min_chunk=_MIN_CHUNK // 4,
            ),
            launch(
                kernels.pose_vertices, count, surface, on_device(_in_fours(body.near), wp.vec4i),
                on_device(_in_fours(body.shares), wp.vec4), bones, beyond, self._frame.array, self.vertices.array,
            ),
            self.compute_normals,
        )  # fmt: skip

    @property
    def lost(self) -> bool:
        """Whether the last pose took the surface where tables list no nodes, so that parts of it are wrong.

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
        for stage in self._before_engine:
            stage()
        self._engine.run(self._feed, self._out)
        for stage in self._after_engine:
            stage()


def _tables(grid: Grid, device: wp.Device) -> Any:
    tables = kernels.Tables()
    tables.lines = wp.zeros((LAYERS, grid.line_nodes), dtype=wp.vec4, device=device)
    # What is looked up where no node is listed is no number, and so is what comes of it.
    tables.planes = wp.full((LAYERS, max(grid.planes)), _NOTHING, dtype=wp.vec4, device=device)
    tables.low = wp.vec3(*grid.low_m)
    tables.lines_per_m, tables.planes_per_m = 1.0 / grid.line_step_m, 1.0 / grid.plane_step_m
    tables.count = wp.vec3i(*grid.plane_nodes)
    return tables


def _in_fours(values: Array) -> Array:
    """(V, N) as (V, N / 4, 4), zeros behind the last: one look-up for four."""
    return np.pad(values, ((0, 0), (0, -values.shape[1] % 4))).reshape(len(values), -1, 4)
