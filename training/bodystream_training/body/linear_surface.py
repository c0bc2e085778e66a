"""What small changes of features do to the vertices of the reference, and back: linear, for many at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bodystream.body import AcapSpace
from bodystream.types import Array

__all__ = ["LinearSurface"]


class LinearSurface:
    """The derivative of `AcapSpace.vertices` at the reference, where all transforms are the identity.

    Args:
        space: of the reference.
        gain: (V, 9) features per scaled feature.
    """

    def __init__(self, space: AcapSpace, gain: Array) -> None:
        self._space, self._gain = space, gain
        self._pull, self._lift = space.pull.astype(np.float32), space.lift.astype(np.float32)
        self._plane = space.rings.plane.astype(np.float32)
        self._normals = space.rings.normals.astype(np.float32)

    def vertices(self, scaled: Tensor) -> Tensor:
        """(N, V, 3) displacements [m] of (N, 9V) scaled features; their mean is zero."""
        count, features = self._space.count, scaled.numpy().reshape(len(scaled), -1, 9) * self._gain.astype(np.float32)
        # T = I + [r]x + S, transposed: rows are those of `AcapSpace.pull`.
        x, y, z, xx, xy, xz, yy, yz, zz = np.moveaxis(features, 2, 0)
        moved = np.stack([xx, xy + z, xz - y, xy - z, yy, yz + x, xz + y, yz - x, zz], axis=-1)
        moved = np.moveaxis(moved.reshape(len(scaled), count, 3, 3), 0, 2)  # (V, 3, N, 3) of T^T
        a, b = self._plane[:, 0, None], self._plane[:, 1, None]
        along_a, along_b = (np.einsum("vk,vknj->vnj", self._plane[:, side], moved) for side in range(2))
        turned = np.cross(along_a, b) + np.cross(a, along_b)
        n = self._normals[:, None]
        # Of c / sqrt|c| at the unit normal c.
        lifted = turned - 0.5 * (turned * n).sum(axis=-1, keepdims=True) * n
        wanted = self._pull @ moved.reshape(3 * count, -1) - self._lift @ lifted.reshape(count, -1)
        found = self._space.solve(wanted.astype(np.float64)).astype(np.float32)
        return torch.from_numpy(np.moveaxis(found.reshape(count, -1, 3), 1, 0).copy())

    def scaled(self, pulls: Tensor) -> Tensor:
        """(N, 9V) of (N, V, 3): the transpose of `vertices`, that is how scaled features have to change for vertices to
        be pulled along."""
        count, number = self._space.count, len(pulls)
        wanted = self._space.solve(np.moveaxis(pulls.double().numpy(), 0, 1).reshape(count, -1)).astype(np.float32)
        moved = (self._pull.T @ wanted).reshape(count, 3, number, 3)
        lifted = -(self._lift.T @ wanted).reshape(count, number, 3)
        n = self._normals[:, None]
        turned = lifted - 0.5 * (lifted * n).sum(axis=-1, keepdims=True) * n
        a, b = self._plane[:, 0, None], self._plane[:, 1, None]
        for side, along in ((0, np.cross(b, turned)), (1, np.cross(turned, a))):
            moved = moved + self._plane[:, side, :, None, None] * along[:, None]
        t = np.moveaxis(moved, 2, 0)  # (N, V, k, j): of T^T
        features = np.stack(
            [
                t[:, :, 1, 2] - t[:, :, 2, 1], t[:, :, 2, 0] - t[:, :, 0, 2], t[:, :, 0, 1] - t[:, :, 1, 0],
                t[:, :, 0, 0], t[:, :, 0, 1] + t[:, :, 1, 0], t[:, :, 0, 2] + t[:, :, 2, 0],
                t[:, :, 1, 1], t[:, :, 1, 2] + t[:, :, 2, 1], t[:, :, 2, 2],
            ],
            axis=-1,
        )  # fmt: skip
        return torch.from_numpy((features * self._gain.astype(np.float32)).reshape(number, -1))
