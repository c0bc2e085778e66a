"""What the extractor keeps of each block's piece of surface."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import Staged, grown, view_as
from bodystream.fusion import integrate_kernels, surface_kernels
from bodystream.types import Array

__all__ = ["Pieces"]

_CELLS = int(integrate_kernels.BLOCK_VOXELS)
_SLICE_QUADS = int(surface_kernels.SLICE_QUADS)


class Pieces:
    """Per-block buffers of the extractor: vertices and quads per slice, anchors per cell, and lists for its launches.

    What the host reads or writes together lies together: the marks of a block, the counts and the bases of a slice.

    Attributes:
        vertices, anchors, quads: the kernels' view, one struct each for life; their arrays are replaced as they grow.
        changed, vertex_readers, quad_readers: (blocks,) int32 marks, bit z for slice z.
        listed: (3 blocks,) int32 slots of all lists. pending_slices: (slices,) vec3i, as `gather_pending` takes them.
        bases: (slices, 2) int32 of vertices and quads.
    """

    _PER_BLOCK = (
        ("vertices", "codes", wp.uint8, _CELLS),
        ("vertices", "ranks", wp.uint8, _CELLS),
        ("vertices", "cells", wp.uint8, _CELLS),
        ("vertices", "positions", wp.vec3, _CELLS),
        ("vertices", "normals", wp.vec3, _CELLS),
        ("vertices", "colours", wp.vec3ub, _CELLS),
        ("anchors", "anchors", wp.vec4i, _CELLS),
        ("anchors", "weights", wp.vec4, _CELLS),
        ("anchors", "states", wp.uint8, _CELLS),
        ("quads", "edges", wp.uint16, 8 * _SLICE_QUADS),
    )

    def __init__(self, capacity: int, device: wp.Device) -> None:
        self._device = device
        self.vertices = surface_kernels.CellVertices()
        self.anchors = surface_kernels.CellAnchors()
        self.quads = surface_kernels.CellQuads()
        for struct, name, dtype, per_block in self._PER_BLOCK:
            setattr(getattr(self, struct), name, wp.zeros(capacity * per_block, dtype=dtype, device=device))
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        """What the host takes part in; the counts are zero."""
        device = self._device
        self.capacity = capacity
        self._marks = Staged((capacity, 3), wp.int32, device)
        self._counts = Staged((8 * capacity, 3), wp.int32, device)
        self.bases = Staged((8 * capacity, 2), wp.int32, device)
        self.listed = Staged(3 * capacity, wp.int32, device)
        self.pending_slices = Staged(8 * capacity, wp.vec3i, device)
        self.changed, self.vertex_readers, self.quad_readers = _columns(self._marks)
        self.vertices.counts, self.anchors.pending, self.quads.counts = _columns(self._counts)
        self.vertices.bases, self.quads.bases = _columns(self.bases)

    @property
    def bytes(self) -> int:
        staged = (self._marks, self._counts, self.bases, self.listed, self.pending_slices)
        arrays = [getattr(getattr(self, struct), name) for struct, name, _, _ in self._PER_BLOCK]
        return sum(array.capacity for array in [*arrays, *(s.array for s in staged)])

    def grow(self, capacity: int) -> None:
        for struct, name, _, per_block in self._PER_BLOCK:
            holder = getattr(self, struct)
            setattr(holder, name, grown(getattr(holder, name), capacity * per_block))
        counts = self._counts.array
        self._allocate(capacity)
        wp.copy(self._counts.array, counts, count=counts.size)

    def clear(self) -> None:
        self._counts.array.zero_()
        self.vertices.codes.zero_()
        self.anchors.states.zero_()

    def list_marked(self, blocks: int) -> tuple[wp.array, wp.array, wp.array]:
        """Slots that are marked as changed, as readers of vertices, and as readers of quads."""
        marks = self._marks.download(blocks)
        lists = [np.flatnonzero(marks[:, k]) for k in range(3)]
        self.listed.upload(np.concatenate(lists))
        begins = np.cumsum([0, *map(len, lists)])
        changed, vertex_readers, quad_readers = (
            view_as(self.listed.array, wp.int32, len(slots), begin=4 * int(begin))
            for slots, begin in zip(lists, begins[:3], strict=True)
        )
        return changed, vertex_readers, quad_readers

    def counts(self, blocks: int) -> tuple[Array, Array, Array]:
        """(slices,) int32 vertices, vertices without anchors, and quads of each slice, on the host."""
        counts = self._counts.download(8 * blocks)
        return counts[:, 0], counts[:, 1], counts[:, 2]


def _columns(staged: Staged) -> list[wp.array]:
    """The columns of a matrix of int32 as arrays of their own."""
    rows, columns = staged.array.shape
    step = 4 * columns
    return [view_as(staged.array, wp.int32, rows, begin=4 * k, strides=(step,)) for k in range(columns)]
