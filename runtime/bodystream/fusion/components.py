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
        corners: (Q,) vec4i device array, the vertices of each quad, -1 = left out: to be filled before `number`.
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
        self._roots = wp.zeros(capacity, dtype=wp.int32, device=self._device)
        self._root_sizes = wp.zeros(capacity, dtype=wp.int32, device=self._device)
        # Of vertices and behind them of quads, so that they cross as one.
        self._sizes = Staged(2 * capacity, wp.int32, self._device)
        self._places = Staged(2 * capacity, wp.int32, self._device)
        self.corners = self._corners.array
        self.vertex_places, self.quad_places = self._places.array[:capacity], self._places.array[capacity:]

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        arrays = (self.corners, self._roots, self._root_sizes, self._sizes.array, self._places.array)
        return sum(a.capacity for a in arrays)

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
        if vertices == 0:
            return 0, 0
        inputs = [self._roots, self._root_sizes]
        self._launch(component_kernels.begin_components, vertices, inputs, min_chunk=32768)
        # Atomics of one address: one thread on a CPU.
        self._launch(component_kernels.join_corners, quads, [self.corners, self._roots], split=False)
        self._launch(component_kernels.count_members, vertices, inputs, split=False)
        inputs += [vertices, self.corners, self._sizes.array]
        self._launch(component_kernels.spread_sizes, vertices + quads, inputs, min_chunk=32768)
        sizes = self._sizes.download(vertices + quads)
        enough = max(least, least_share * float(sizes.max())) if least > 0 else 0
        vertex_shown, quad_shown = sizes[:vertices] >= enough, sizes[vertices:] >= max(1, enough)
        self._places.upload(np.concatenate([_places(vertex_shown), _places(quad_shown)]))
        self.vertex_places = self._places.array[:vertices]
        self.quad_places = self._places.array[vertices : vertices + quads]
        return int(np.count_nonzero(vertex_shown)), int(np.count_nonzero(quad_shown))


def _places(shown: Array) -> Array:
    """(N,) int32 ranks among what is shown, -1 = not shown."""
    return np.where(shown, np.cumsum(shown, dtype=np.int32) - 1, -1)
