"""The model points that are tracked: the canonical surface, thinned where it is denser than tracking needs."""

from __future__ import annotations

import warp as wp

from bodystream.device import ParallelLaunch
from bodystream.tracking import match_kernels

__all__ = ["ModelPoints"]


class ModelPoints:
    """Every n-th surface vertex with its normal, anchors and weights, in buffers of its own.

    Attributes:
        points, normals: vec3 canonical [m]. anchors, weights: vec4i and vec4. count: in use.
    """

    def __init__(self, device: wp.Device, max_points: int) -> None:
        self._device = device
        self._max_points = max_points
        self.count = 0
        self.points = wp.zeros(max_points, dtype=wp.vec3, device=device)
        self.normals = wp.zeros(max_points, dtype=wp.vec3, device=device)
        self.anchors = wp.zeros(max_points, dtype=wp.vec4i, device=device)
        self.weights = wp.zeros(max_points, dtype=wp.vec4, device=device)

    def take(self, vertices: wp.array, normals: wp.array, anchors: wp.array, weights: wp.array, count: int) -> None:
        """Copy at most `max_points` of `count` vertices, evenly through the list, which runs along the surface."""
        stride = -(-count // self._max_points)
        self.count = count // max(1, stride)
        inputs = [stride, vertices, normals, anchors, weights]
        outputs = [self.points, self.normals, self.anchors, self.weights]
        ParallelLaunch(match_kernels.take_every, self.count, [*inputs, *outputs], self._device, min_chunk=4096)()
