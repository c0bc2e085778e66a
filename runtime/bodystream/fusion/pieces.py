"""What the extractor keeps of each block's piece of surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.device import grown, upload
from bodystream.fusion import integrate_kernels, surface_kernels

__all__ = ["Pieces"]

_CELLS = int(integrate_kernels.BLOCK_VOXELS)
_SLICE_QUADS = int(surface_kernels.SLICE_QUADS)


class Pieces:
    """Per-block buffers of the extractor: vertices and quads per slice, anchors per cell, and lists for its launches.

    Attributes:
        vertices, anchors, quads: the kernels' view, one struct each for life; their arrays are replaced as they grow.
        changed, vertex_readers, quad_readers: (blocks,) int32 marks. listed: (blocks,) int32 slots.
        slice_list, slice_begins, slice_limits, whole_quads: (slices,) int32.
    """

    _PER_BLOCK = (
        ("", "changed", wp.int32, 1),
        ("", "vertex_readers", wp.int32, 1),
        ("", "quad_readers", wp.int32, 1),
        ("", "listed", wp.int32, 1),
        ("", "slice_list", wp.int32, 8),
        ("", "slice_begins", wp.int32, 8),
        ("", "slice_limits", wp.int32, 8),
        ("", "whole_quads", wp.int32, 8),
        ("vertices", "codes", wp.uint8, _CELLS),
        ("vertices", "ranks", wp.uint8, _CELLS),
        ("vertices", "cells", wp.uint8, _CELLS),
        ("vertices", "positions", wp.vec3, _CELLS),
        ("vertices", "normals", wp.vec3, _CELLS),
        ("vertices", "colours", wp.vec3ub, _CELLS),
        ("vertices", "counts", wp.int32, 8),
        ("vertices", "bases", wp.int32, 8),
        ("anchors", "anchors", wp.vec4i, _CELLS),
        ("anchors", "weights", wp.vec4, _CELLS),
        ("anchors", "states", wp.uint8, _CELLS),
        ("anchors", "pending", wp.int32, 8),
        ("quads", "edges", wp.uint16, 8 * _SLICE_QUADS),
        ("quads", "counts", wp.int32, 8),
        ("quads", "bases", wp.int32, 8),
    )
    changed: wp.array
    vertex_readers: wp.array
    quad_readers: wp.array
    listed: wp.array
    slice_list: wp.array
    slice_begins: wp.array
    slice_limits: wp.array
    whole_quads: wp.array

    def __init__(self, capacity: int, device: wp.Device) -> None:
        self.capacity = capacity
        self.vertices = surface_kernels.CellVertices()
        self.anchors = surface_kernels.CellAnchors()
        self.quads = surface_kernels.CellQuads()
        for struct, name, dtype, per_block in self._PER_BLOCK:
            setattr(self._holder(struct), name, wp.zeros(capacity * per_block, dtype=dtype, device=device))

    def _holder(self, struct: str) -> Any:
        return getattr(self, struct) if struct else self

    @property
    def bytes(self) -> int:
        return sum(getattr(self._holder(struct), name).capacity for struct, name, _, _ in self._PER_BLOCK)

    def grow(self, capacity: int) -> None:
        for struct, name, _, per_block in self._PER_BLOCK:
            holder = self._holder(struct)
            setattr(holder, name, grown(getattr(holder, name), capacity * per_block))
        self.capacity = capacity

    def clear(self) -> None:
        vertices, anchors = self.vertices, self.anchors
        for array in (vertices.counts, vertices.codes, anchors.pending, anchors.states, self.quads.counts):
            array.zero_()

    def list_marked(self, marks: wp.array, blocks: int) -> int:
        """Fill `listed` with the marked blocks; returns how many."""
        found = np.flatnonzero(marks.numpy()[:blocks]).astype(np.int32)
        upload(self.listed, found)
        return len(found)
