"""A few shapes whose sums come near to many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.types import Array

__all__ = ["ShapeBasis", "shape_basis"]

_CHUNK = 16384  # numbers of each at once


@dataclass(frozen=True, slots=True)
class ShapeBasis:
    """Attributes:
    mean: (V, 3) float32.
    shapes: (K, V, 3) float32, orthogonal; of the shapes that it was made of, each takes a share from -1 to 1.
    shares: (F, K) float32 of these.
    """

    mean: Array
    shapes: Array
    shares: Array

    def shares_of(self, values: Array) -> Array:
        """(K,) float32 shares whose sum comes nearest to (V, 3) values."""
        flat = self.shapes.reshape(len(self.shapes), self.mean.size)
        lengths = np.einsum("kn,kn->k", flat, flat)
        return (flat @ (values - self.mean).reshape(-1).astype(np.float32)) / lengths

    def companions(self, values: Array) -> tuple[Array, Array]:
        """Of other (F, V, 3) values of the same F, such as normals: their mean, and (K, V, 3) what comes with a share
        of one of each shape, by least squares. Both float32."""
        mean = values.mean(axis=0)
        rest = (values - mean).reshape(len(values), -1)
        shapes = np.linalg.pinv(self.shares.astype(np.float64)).astype(np.float32) @ rest
        return mean.astype(np.float32), shapes.reshape(len(self.shapes), *mean.shape)


def shape_basis(values: Array, rms: float, most: int) -> ShapeBasis:
    """As few shapes as leave a root mean square of `rms` per vertex, and no more than `most`.

    By the singular value decomposition of (F, V, 3) values, through their products with each other, since F is small.
    """
    frames, count = len(values), values.shape[1]
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    rest = (values - mean).reshape(frames, -1)
    products = np.zeros((frames, frames))
    for start in range(0, rest.shape[1], _CHUNK):  # in float64, since what is small is of interest
        part = rest[:, start : start + _CHUNK].astype(np.float64)
        products += part @ part.T
    energy, vectors = np.linalg.eigh(products)
    energy, vectors = np.maximum(energy[::-1], 0.0), vectors[:, ::-1]
    left = np.sqrt(np.append(np.cumsum(energy[::-1])[::-1], 0.0) / (frames * count))
    enough = int(np.argmax(left <= rms))
    kept = min(enough, most, int(np.count_nonzero(energy > 1e-14 * max(float(energy[0]), 1e-30))))
    shapes = vectors[:, :kept].T.astype(np.float32) @ rest  # (K, 3 V), as long as the root of their energy
    shares = vectors[:, :kept].astype(np.float32)  # of these
    largest = np.abs(shares).max(axis=0, initial=1e-12)
    return ShapeBasis(mean, (shapes * largest[:, None]).reshape(kept, count, 3), shares / largest)
