"""Polar decomposition whose rotation is one, also where a ring has turned inside out."""

from __future__ import annotations

import numpy as np

from bodystream.types import Array

__all__ = ["polar", "symmetric_from_vectors", "vectors_from_symmetric"]

_ROWS, _COLUMNS = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)


def polar(transforms: Array, mended: Array | None = None) -> tuple[Array, Array]:
    """T = R S with a rotation R and a symmetric S.

    A ring that bulges the other way than its reference has an affine transform that mirrors. Its R is that of the
    transform with one axis turned back, and S has a negative eigenvalue along it, so that T = R S still holds.

    Args:
        transforms: (N, 3, 3).
        mended: (N, 3) unit vectors, the axis nearest to which is turned back; default: the least stretched one.

    Returns:
        (N, 3, 3) rotations and (N, 3, 3) symmetric matrices.
    """
    left, stretch, right = np.linalg.svd(transforms)
    side = np.linalg.det(left) * np.linalg.det(right) < 0.0
    if mended is None:
        axis = np.full(len(transforms), 2)
    else:
        axis = np.abs(np.einsum("nkj,nj->nk", right, mended)).argmax(axis=1)
    signs = np.ones_like(stretch)
    signs[np.flatnonzero(side), axis[side]] = -1.0
    rotations = (left * signs[:, None, :]) @ right
    return rotations, (right.swapaxes(1, 2) * (signs * stretch)[:, None, :]) @ right


def vectors_from_symmetric(matrices: Array) -> Array:
    """(..., 3, 3) symmetric to (..., 6): xx, xy, xz, yy, yz, zz."""
    return matrices[..., _ROWS, _COLUMNS]


def symmetric_from_vectors(vectors: Array) -> Array:
    """(..., 6) to (..., 3, 3)."""
    return vectors[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
