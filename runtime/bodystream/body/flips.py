"""Faces that a deformation turned over."""

from __future__ import annotations

import numpy as np

from bodystream.types import Array

__all__ = ["flipped_faces"]

_AGAINST = -0.5


def flipped_faces(vertices: Array, faces: Array) -> Array:
    """(F,) bool of faces whose normal points against that of their surroundings, by more than 120 degrees.

    Of each corner the surroundings are all faces about it but this one; sharp folds, as of the inner elbow, stay below.

    Args:
        vertices: (V, 3). faces: (F, 3).
    """
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], cross[:, axis], len(vertices))
    around = sums[faces].sum(axis=1) - 3.0 * cross
    lengths = np.linalg.norm(cross, axis=1) * np.linalg.norm(around, axis=1)
    return np.vecdot(cross, around) < _AGAINST * lengths
