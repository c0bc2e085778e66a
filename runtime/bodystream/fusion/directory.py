"""Which blocks of the canonical volume exist, and at which slot: a dense table over the space that is in use.

A person spans a few metres, so a table of 4 bytes per possible block stays near a megabyte, costs one read per
look-up and needs neither hashing nor atomics.
"""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, grown, upload, uploaded
from bodystream.fusion import blocks_kernels
from bodystream.fusion.blocks_kernels import Blocks
from bodystream.types import Array

__all__ = ["BlockDirectory"]

_OCTANT = np.array([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)], np.int64)


class BlockDirectory:
    """Integer block coordinates and their slots, on the host and on the device.

    Args:
        device: where kernels look up.
        capacity: blocks whose coordinates fit before their array is doubled.
        max_blocks: no more are inserted.
        edge: initial edge of the table [blocks]; it doubles up to `max_edge` when blocks fall outside.

    Attributes:
        count: blocks in use; slots are 0 .. count - 1 in the order of insertion.
        blocks: the kernels' view of it. One struct for life: its arrays are replaced as they grow.
        refused: blocks that did not fit into the largest table or number of blocks.
        growth_count: how often the table or the coordinates were doubled.
    """

    def __init__(
        self, device: wp.Device, capacity: int = 1024, max_blocks: int = 32768, edge: int = 32, max_edge: int = 256
    ) -> None:
        self.device = device
        self._launch = LaunchCache(device)
        self.max_blocks = max_blocks
        self._first_edge = edge
        self._max_edge = max_edge
        self.growth_count = 0
        self.blocks = Blocks()
        self.blocks.coords = wp.zeros(capacity, dtype=wp.vec3i, device=device)
        self._coords = np.zeros((capacity, 3), np.int32)
        self.count = 0
        self.refused = 0
        self._make_table(edge, np.zeros(3, np.int64))

    def _make_table(self, edge: int, origin: Array) -> None:
        self._table = np.full((edge, edge, edge), -1, np.int32)
        self._origin = origin.astype(np.int64)
        self.blocks.origin = wp.vec3i(*(int(v) for v in origin))
        local = self._coords[: self.count] - self._origin
        self._table[local[:, 0], local[:, 1], local[:, 2]] = np.arange(self.count, dtype=np.int32)
        if self.device.is_cpu:  # it shares the host's memory, so that both always agree
            self.blocks.table = wp.array(self._table, dtype=wp.int32, device=self.device, copy=False)
        else:
            self.blocks.table = uploaded(self._table, wp.int32, self.device)

    @property
    def host_coords(self) -> Array:
        """(count, 3) int32 block coordinates; do not write."""
        return self._coords[: self.count]

    @property
    def capacity(self) -> int:
        return len(self._coords)

    def clear(self) -> None:
        """Forget all blocks."""
        self.count = 0
        self.refused = 0
        self._make_table(self._first_edge, np.zeros(3, np.int64))

    def find(self, blocks: Array) -> Array:
        """(M,) int32 slots of (M, 3) block coordinates, -1 = none."""
        local = np.asarray(blocks, np.int64) - self._origin
        inside = np.all((local >= 0) & (local < len(self._table)), axis=1)
        local = np.where(inside[:, None], local, 0)
        return np.where(inside, self._table[local[:, 0], local[:, 1], local[:, 2]], -1).astype(np.int32)

    def insert_around(self, points: Array, reach_m: float, block_m: float) -> int:
        """Insert every block that the box of half-width `reach_m` (at most half a block) around a point touches."""
        finite = np.asarray(points, np.float64)
        finite = finite[np.isfinite(finite).all(axis=1)]
        offsets = (2 * _OCTANT - 1) * reach_m
        corners = np.floor((finite[:, None] + offsets) / block_m)
        return self.insert(np.clip(corners, -(2**30), 2**30).astype(np.int64).reshape(-1, 3))

    def insert(self, blocks: Array) -> int:
        """Insert (M, 3) block coordinates; those that exist are skipped.

        Returns:
            How many were new.
        """
        blocks = np.asarray(blocks, np.int64)
        blocks = blocks[self.find(blocks) < 0]
        if len(blocks) == 0:
            return 0
        blocks = self._make_room(blocks)
        edge = len(self._table)
        keys = np.unique(np.ravel_multi_index(tuple((blocks - self._origin).T), (edge, edge, edge)))
        room = self.max_blocks - self.count
        if len(keys) > room:
            self.refused += len(keys) - room
            keys = keys[:room]
        if len(keys) == 0:
            return 0
        first, end = self.count, self.count + len(keys)
        if end > self.capacity:
            self._grow(end)
        local = np.stack(np.unravel_index(keys, (edge, edge, edge)), axis=1)
        self._coords[first:end] = local + self._origin
        self._table.reshape(-1)[keys] = np.arange(first, end, dtype=np.int32)
        self.count = end
        upload(self.blocks.coords[first:end], self._coords[first:end])
        if not self.device.is_cpu:
            self._launch(blocks_kernels.scatter_slots, end - first, [first, self.blocks])
        return end - first

    def _grow(self, wanted: int) -> None:
        size = self.capacity
        while size < wanted:
            size *= 2
        self._coords = np.concatenate([self._coords, np.zeros((size - self.capacity, 3), np.int32)])
        self.blocks.coords = grown(self.blocks.coords, size)
        self.growth_count += 1

    def _make_room(self, blocks: Array) -> Array:
        """Move or enlarge the table so that it holds `blocks`; returns those that it can hold."""
        local = blocks - self._origin
        if ((local >= 0) & (local < len(self._table))).all():
            return blocks
        known = self.host_coords.astype(np.int64)
        # Around what exists, or else around the middle of what comes, at most the largest table is used.
        if len(known):
            low, high = known.min(axis=0), known.max(axis=0) + 1
            slack = self._max_edge - (high - low)
            fits = ((blocks >= low - slack // 2) & (blocks < high + slack // 2)).all(axis=1)
        else:
            middle = np.median(blocks, axis=0).astype(np.int64)
            fits = (np.abs(blocks - middle) < self._max_edge // 2).all(axis=1)
        self.refused += int(len(np.unique(blocks[~fits], axis=0)))
        blocks = blocks[fits]
        everything = np.concatenate([known, blocks])
        if len(everything) == 0:
            return blocks
        low, high = everything.min(axis=0), everything.max(axis=0) + 1
        edge = len(self._table)
        while edge < (high - low).max():
            edge *= 2
        if edge > len(self._table):
            self.growth_count += 1
        self._make_table(edge, (low + high - edge) // 2)
        return blocks
