"""What the extractor keeps of each block's piece of surface."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import grown, upload
from bodystream.fusion import integrate_kernels, surface_kernels

__all__ = ["Pieces"]

_CELLS = int(integrate_kernels.BLOCK_VOXELS)
_SLICE_QUADS = int(surface_kernels.SLICE_QUADS)


class Pieces:
    """Per-block buffers of the extractor: lists of vertices and quads per slice, anchors per cell."""

    _PER_BLOCK = {
        "changed": (wp.int32, 1),
        "vertex_readers": (wp.int32, 1),
        "quad_readers": (wp.int32, 1),
        "listed": (wp.int32, 1),
        "counts": (wp.int32, 8),
        "unanchored": (wp.int32, 8),
        "quad_counts": (wp.int32, 8),
        "vertex_bases": (wp.int32, 8),
        "quad_bases": (wp.int32, 8),
        "whole_quads": (wp.int32, 8),
        "slice_list": (wp.int32, 8),
        "slice_begins": (wp.int32, 8),
        "slice_limits": (wp.int32, 8),
        "codes": (wp.uint8, _CELLS),
        "ranks": (wp.uint8, _CELLS),
        "cells": (wp.uint8, _CELLS),
        "anchored": (wp.uint8, _CELLS),
        "positions": (wp.vec3, _CELLS),
        "normals": (wp.vec3, _CELLS),
        "colours": (wp.vec3ub, _CELLS),
        "anchors": (wp.vec4i, _CELLS),
        "weights": (wp.vec4, _CELLS),
        "quads": (wp.uint16, 8 * _SLICE_QUADS),
    }
    changed: wp.array
    vertex_readers: wp.array
    quad_readers: wp.array
    listed: wp.array
    counts: wp.array
    unanchored: wp.array
    quad_counts: wp.array
    vertex_bases: wp.array
    quad_bases: wp.array
    whole_quads: wp.array
    slice_list: wp.array
    slice_begins: wp.array
    slice_limits: wp.array
    codes: wp.array
    ranks: wp.array
    cells: wp.array
    anchored: wp.array
    positions: wp.array
    normals: wp.array
    colours: wp.array
    anchors: wp.array
    weights: wp.array
    quads: wp.array

    def __init__(self, capacity: int, device: wp.Device) -> None:
        self._device = device
        self.capacity = capacity
        for name, (dtype, per_block) in self._PER_BLOCK.items():
            setattr(self, name, wp.zeros(capacity * per_block, dtype=dtype, device=device))

    @property
    def bytes(self) -> int:
        return sum(getattr(self, name).capacity for name in self._PER_BLOCK)

    def grow(self, capacity: int) -> None:
        for name, (_, per_block) in self._PER_BLOCK.items():
            setattr(self, name, grown(getattr(self, name), capacity * per_block))
        self.capacity = capacity

    def clear(self) -> None:
        for name in ("counts", "unanchored", "quad_counts", "codes", "anchored"):
            getattr(self, name).zero_()

    def list_marked(self, marks: wp.array, blocks: int) -> int:
        """Fill `listed` with the marked blocks; returns how many."""
        found = np.flatnonzero(marks.numpy()[:blocks]).astype(np.int32)
        upload(self.listed, found)
        return len(found)
