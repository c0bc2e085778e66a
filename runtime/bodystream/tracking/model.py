"""The model points that are tracked: the canonical surface, thinned where it is denser than tracking needs."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import warp as wp

from bodystream.deformation.kernels import Points
from bodystream.device import LaunchCache
from bodystream.tracking import match_kernels

__all__ = ["ModelPoints", "PointSampler", "SkinnedSurface", "packed_points"]


class SkinnedSurface(Protocol):
    """A canonical surface on the device whose vertices are anchored in the graph, such as fusion hands out.

    Attributes:
        vertices, normals: vec3, canonical [m]. anchors, weights: vec4i and vec4. vertex_count: in use.
        version: another one after each change of them.
    """

    @property
    def vertices(self) -> wp.array: ...

    @property
    def normals(self) -> wp.array: ...

    @property
    def anchors(self) -> wp.array: ...

    @property
    def weights(self) -> wp.array: ...

    @property
    def vertex_count(self) -> int: ...

    @property
    def version(self) -> int: ...


def packed_points(positions: wp.array, normals: wp.array | None, anchors: wp.array, weights: wp.array) -> Points:
    """The kernels' view of anchored points; without normals, positions lie in their place, which nobody may read."""
    points = Points()
    points.positions, points.anchors, points.weights = positions, anchors, weights
    points.normals = positions if normals is None else normals
    return points


@dataclass(frozen=True)
class ModelPoints:
    """Canonical points that are followed, device arrays.

    The same object means the same points: what was prepared for it need not be prepared again.

    Attributes:
        points: vec3 [m]. anchors, weights: vec4i and vec4, four nodes of the graph. count: in use.
        normals: vec3 unit vectors; only dense ICP needs them.
        stride: vertices of the surface that each stands for.
    """

    points: wp.array
    anchors: wp.array
    weights: wp.array
    count: int
    normals: wp.array | None = None
    stride: int = 1

    @cached_property
    def packed(self) -> Points:
        """The kernels' view of it."""
        return packed_points(self.points, self.normals, self.anchors, self.weights)


class PointSampler:
    """Takes every n-th vertex of a surface with its normal, anchors and weights, into buffers of its own.

    Args:
        max_points: most vertices that are taken.
    """

    def __init__(self, device: wp.Device, max_points: int) -> None:
        self._launch = LaunchCache(device)
        self._max_points = max_points
        self._taken: tuple[SkinnedSurface, int, ModelPoints] | None = None
        self._points = wp.zeros(max_points, dtype=wp.vec3, device=device)
        self._normals = wp.zeros(max_points, dtype=wp.vec3, device=device)
        self._anchors = wp.zeros(max_points, dtype=wp.vec4i, device=device)
        self._weights = wp.zeros(max_points, dtype=wp.vec4, device=device)

    def take(self, surface: SkinnedSurface) -> ModelPoints:
        """Copy vertices evenly through the list, which runs along the surface; valid until it has changed."""
        if self._taken is not None and self._taken[0] is surface and self._taken[1] == surface.version:
            return self._taken[2]
        stride = max(1, -(-surface.vertex_count // self._max_points))
        count = surface.vertex_count // stride
        model = ModelPoints(self._points, self._anchors, self._weights, count, self._normals, stride)
        whole = packed_points(surface.vertices, surface.normals, surface.anchors, surface.weights)
        self._launch(match_kernels.take_every, count, [stride, whole, model.packed], min_chunk=4096)
        self._taken = (surface, surface.version, model)
        return model
