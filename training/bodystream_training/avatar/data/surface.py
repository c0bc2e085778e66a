"""A surface that can be asked: the nearest of its points, and whether a point is inside, by the winding number.

The generalised winding number (Jacobson et al., 2013; the fast form of Barill et al., 2018) counts how often a surface
surrounds a point. It needs no closed surface: across a hole it fades from 1 to 0 and is a half about where a lid would
be. Of several bodies in one mesh the numbers add up, so that a half is exceeded inside any of them: their union.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp
import warp.geometry  # noqa: F401  (meshes without it are built without winding numbers)

from bodystream.device import launch
from bodystream.types import Array
from bodystream_training.avatar.data.surface_kernels import hit_by_rays, nearest_of_mesh

__all__ = ["Nearest", "QuerySurface"]

_FARTHEST_M = 1e4
_ACCURACY = 2.0
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Nearest:
    """Answers for N points.

    Attributes:
        points: (N, 3) float32 nearest of the surface [m]. faces: (N,) int32 that they are on.
        weights: (N, 3) float32 of the faces' corners, which sum to one.
        inside: (N,) bool: the winding number exceeds a half.
    """

    points: Array
    faces: Array
    weights: Array
    inside: Array

    def interpolated(self, faces: Array, values: Array) -> Array:
        """(N, C) float64: values (V, C) of a mesh's vertices at the nearest points."""
        corners = values[faces[self.faces]].astype(np.float64)
        return np.einsum("nk,nkc->nc", self.weights.astype(np.float64), corners)


class QuerySurface:
    """A mesh, (V, 3) vertices [m] and (F, 3) faces, closed or not."""

    def __init__(self, vertices: Array, faces: Array, device: wp.Device | None = None) -> None:
        self._device = device or wp.get_device("cpu")
        points = wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device=self._device)
        indices = wp.array(np.ascontiguousarray(faces, np.int32).reshape(-1), dtype=wp.int32, device=self._device)
        # Without this flag Warp tells inside by rays, and is silently wrong on surfaces that are not closed.
        self._mesh = wp.Mesh(points, indices, support_winding_number=True)

    def nearest(self, points: Array) -> Nearest:
        """What is nearest to (N, 3) points [m]."""
        count, device = len(points), self._device
        asked = wp.array(np.ascontiguousarray(points, np.float32), dtype=wp.vec3, device=device)
        nearest, weights = (wp.zeros(count, dtype=wp.vec3, device=device) for _ in range(2))
        face, inside = (wp.zeros(count, dtype=wp.int32, device=device) for _ in range(2))
        inputs = [self._mesh.id, asked, _FARTHEST_M, _ACCURACY, _THRESHOLD, nearest, face, weights, inside]
        launch(nearest_of_mesh, count, inputs, device, split=False)
        return Nearest(nearest.numpy().copy(), face.numpy().copy(), weights.numpy().copy(), inside.numpy() > 0)

    def hit(self, starts: Array, direction: Array) -> tuple[Array, Array]:
        """(N,) faces (-1 = none) that rays from (N, 3) starts [m] meet first, and (N, 3) weights of their corners."""
        count, device = len(starts), self._device
        begin = wp.array(np.ascontiguousarray(starts, np.float32), dtype=wp.vec3, device=device)
        face = wp.zeros(count, dtype=wp.int32, device=device)
        weights = wp.zeros(count, dtype=wp.vec3, device=device)
        along = wp.vec3(*(float(x) for x in direction))
        launch(hit_by_rays, count, [self._mesh.id, begin, along, face, weights], device, split=False)
        return face.numpy().copy(), weights.numpy().copy()
