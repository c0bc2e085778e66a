"""Poses a clothed avatar by the network itself, vertex by vertex."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar.clothed.body import BONES, ClothedBody
from bodystream.avatar.clothed.bones import bone_parameters
from bodystream.avatar.clothed.kernels import to_world
from bodystream.avatar.posed_surface import PosedSurface
from bodystream.device import RecordedLaunch, Staged
from bodystream.engines import Engine
from bodystream.types import Array

__all__ = ["ExactPoser"]


class ExactPoser(PosedSurface):
    """As `tables.TablePoser`, with the engine of the graph of the whole inverse pass."""

    def __init__(self, body: ClothedBody, repose: Engine, device: wp.Device) -> None:
        super().__init__(body.surface, device)
        self._engine, count = repose, len(body.vertices)
        self._parameters = np.zeros((BONES, 6), np.float32)
        self._points, self._posed = body.vertices, wp.zeros(count, dtype=wp.vec3, device=device)
        self._frame = Staged(4, wp.vec3, device)
        self._to_world = RecordedLaunch(to_world, count, [self._posed, self._frame.array, self.vertices.array], device)

    def pose(self, bones: Array, world_from_heading: Array) -> None:
        """Fill `vertices` and `normals`; see `TablePoser.pose`."""
        bone_parameters(bones, self._parameters)
        self._frame.upload(world_from_heading[:3].T)
        feed = {"parameters": self._parameters, "bones": bones[:, :3].astype(np.float32), "points": self._points}
        self._engine.run(feed, {"posed": self._posed})
        self._to_world()
        self.compute_normals()
