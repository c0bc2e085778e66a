"""Which vertices are shown: those of the large connected pieces. Loose specks are noise."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, Staged
from bodystream.fusion import component_kernels
from bodystream.types import Array

__all__ = ["Components"]


class Components:
    """Finds the connected pieces of a mesh of quads, and numbers what is left without the small ones.

    Args:
        capacity: vertices, and quads, that fit before the buffers are replaced by larger ones.
        device: where its arrays live.

    Attributes:
        corners: (Q,) vec4i device array, the vertices of each quad: to be filled before `number`.
        vertex_places, quad_places: (V,) and (Q,) int32 device arrays, place of what is shown, -1 = left out.
        growth_count: how often the buffers were doubled.
    """

    def __init__(self, capacity: int, device: wp.Device) -> None:
        self.growth_count = 0
        self._device = device
        self._launch = LaunchCache(device)
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._corners = Staged(capacity, wp.vec4i, self._device)
        self._roots = Staged(capacity, wp.int32, self._device)
        self._sizes = Staged(capacity, wp.int32, self._device)
        self._vertex_places = Staged(capacity, wp.int32, self._device)
        self._quad_places = Staged(capacity, wp.int32, self._device)
        self.corners = self._corners.array
        self.vertex_places, self.quad_places = self._vertex_places.array, self._quad_places.array

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        staged = (self._corners, self._roots, self._sizes, self._vertex_places, self._quad_places)
        return sum(s.array.capacity for s in staged)

    def reserve(self, count: int) -> None:
        """Make room for so many vertices or quads."""
        if count > self._capacity:
            size = self._capacity
            while size < count:
                size *= 2
            self._allocate(size)
            self.growth_count += 1

    def number(self, vertices: int, quads: int, least: int, least_share: float) -> tuple[int, int]:
        """Number the vertices and quads of the large components; returns how many there are of both.

        Args:
            vertices, quads: of the whole mesh, whose `corners` are known.
            least: vertices that a component must have; 0 = everything is shown.
            least_share: and this share of those of the largest component.
        """
        vertex_shown, quad_shown = np.ones(vertices, bool), np.ones(quads, bool)
        if least > 0 and vertices:
            inputs = [self._roots.array, self._sizes.array]
            self._launch(component_kernels.begin_components, vertices, inputs, min_chunk=8192)
            # Atomics of one address: one thread on a CPU.
            joined = [self.corners, self._roots.array]
            self._launch(component_kernels.join_corners, quads, joined, split=False)
            self._launch(component_kernels.count_members, vertices, inputs, split=False)
            sizes = self._sizes.download(vertices)
            large = sizes >= max(least, least_share * float(sizes.max()))
            vertex_shown = large[self._roots.download(vertices)]
            if not vertex_shown.all():
                # A quad and its vertices belong to one component.
                quad_shown = vertex_shown[self._corners.download(quads)[:, 0]]
        self._vertex_places.upload(_places(vertex_shown))
        self._quad_places.upload(_places(quad_shown))
        return int(np.count_nonzero(vertex_shown)), int(np.count_nonzero(quad_shown))


def _places(shown: Array) -> Array:
    """(N,) int32 ranks among what is shown, -1 = not shown."""
    return np.where(shown, np.cumsum(shown, dtype=np.int32) - 1, -1)
