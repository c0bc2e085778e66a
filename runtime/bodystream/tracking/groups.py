"""Points sorted by the set of nodes that they are anchored on: all of a group share their place in the equations."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, Staged
from bodystream.tracking import cluster_kernels
from bodystream.tracking.assembly_kernels import Groups

__all__ = ["MAX_NODES", "PointGroups"]

# Fits four node indices of 15 bits into one signed 64-bit sort key.
MAX_NODES = 1 << 15


class PointGroups:
    """The skinning of points with ascending node indices, and the points' order by it.

    Args:
        device: where its arrays live.
        capacity: points that fit.

    Attributes:
        anchors, weights: (capacity,) vec4i and vec4 device arrays; anchors ascend within a point.
        order: (M,) int32, the points sorted by anchors. starts: (G + 1,) int32, where in it each group begins.
        count: G.
    """

    def __init__(self, device: wp.Device, capacity: int) -> None:
        self._launch = LaunchCache(device)
        self._anchors = Staged(capacity, wp.vec4i, device)
        self._order_and_starts = Staged(2 * capacity + 1, wp.int32, device)
        self.anchors = self._anchors.array
        self.weights = wp.zeros(capacity, dtype=wp.vec4, device=device)
        self.order = self.starts = self._order_and_starts.array
        self.count = 0

    @property
    def packed(self) -> Groups:
        """The kernels' view of order and starts."""
        groups = Groups()
        groups.starts, groups.order = self.starts, self.order
        return groups

    def sort(self, anchors: wp.array, weights: wp.array, count: int) -> None:
        """Take the anchors and weights of `count` points, vec4i and vec4 device arrays."""
        self._launch(
            cluster_kernels.sort_anchors, count, [anchors, weights, self.anchors, self.weights], min_chunk=1024
        )
        ids = self._anchors.download(count).astype(np.int64)
        keys = ((ids[:, 0] << 45) | (ids[:, 1] << 30)) | ((ids[:, 2] << 15) | ids[:, 3])
        order = np.argsort(keys)
        sorted_keys = keys[order]
        starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        self.count = len(starts)
        self._order_and_starts.upload(np.concatenate([order, starts, [count]]))
        self.order = self._order_and_starts.array[:count]
        self.starts = self._order_and_starts.array[count : count + self.count + 1]
