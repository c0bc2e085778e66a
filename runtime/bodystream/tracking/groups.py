"""Points sorted by the set of nodes that they are anchored on: all of a group share their place in the equations."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, Staged
from bodystream.tracking import cluster_kernels
from bodystream.tracking.model import ModelPoints, packed_points
from bodystream.types import Array

__all__ = ["MAX_NODES", "PointGroups"]

# Fits four node indices of 15 bits into one signed 64-bit sort key.
MAX_NODES = 1 << 15


class PointGroups:
    """A copy of the model's points in which those that are anchored on the same nodes lie together.

    Args:
        device: where its arrays live.
        capacity: points that fit.

    Attributes:
        points: the sorted points; anchors ascend within each. order: (M,) int, their places among those that came.
        starts: (G + 1,) int32 device array, where each group begins. count: G.
    """

    def __init__(self, device: wp.Device, capacity: int) -> None:
        self._launch = LaunchCache(device)
        self._ascending = Staged(capacity, wp.vec4i, device)
        self._order_and_starts = Staged(2 * capacity + 1, wp.int32, device)
        self._positions = wp.zeros(capacity, dtype=wp.vec3, device=device)
        self._normals = wp.zeros(capacity, dtype=wp.vec3, device=device)
        self._anchors = wp.zeros(capacity, dtype=wp.vec4i, device=device)
        self._weights = wp.zeros(capacity, dtype=wp.vec4, device=device)
        self.points = ModelPoints(self._positions, self._anchors, self._weights, 0)
        self.order = np.zeros(0, np.int64)
        self.starts = self._order_and_starts.array
        self.count = 0

    def sort(self, model: ModelPoints) -> None:
        """Take the points of a model, of which there is at least one."""
        count = model.count
        self._launch(cluster_kernels.sort_anchors, count, [model.anchors, self._ascending.array], min_chunk=4096)
        ids = self._ascending.download(count).astype(np.int64)
        keys = ((ids[:, 0] << 45) | (ids[:, 1] << 30)) | ((ids[:, 2] << 15) | ids[:, 3])
        self.order = order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        self.count = len(starts)
        self._order_and_starts.upload(np.concatenate([order, starts, [count]]))
        self.starts = self._order_and_starts.array[count : count + self.count + 1]
        sorted_points = packed_points(self._positions, self._normals, self._anchors, self._weights)
        inputs = [model.packed, self._order_and_starts.array, sorted_points]
        self._launch(cluster_kernels.group_points, count, inputs, min_chunk=2048)
        normals = None if model.normals is None else self._normals
        self.points = ModelPoints(self._positions, self._anchors, self._weights, count, normals, model.stride)

    def sorted(self, values: Array) -> Array:
        """(M, ...) values of the points as they came, in the order of the sorted ones."""
        return values[self.order]
