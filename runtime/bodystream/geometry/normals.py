"""Normals of a mesh's vertices on the host."""

from __future__ import annotations

import numpy as np

from bodystream.types import Array

__all__ = ["unit_normals", "vertex_areas", "vertex_normals"]


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """(V, 3) float32 unit normals, each the sum of its faces' normals weighted with their areas."""
    corners = vertices[faces].astype(np.float64)
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], face_normals[:, axis], len(vertices))
    return unit_normals(sums)


def vertex_areas(vertices: Array, faces: Array) -> Array:
    """(V,) float64 [m^2], of each vertex a third of its faces'.

    Args:
        vertices: (V, 3) [m]. faces: (F, 3).
    """
    corners = np.asarray(vertices, np.float64)[faces]
    face = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6.0
    return np.bincount(faces.ravel(), np.repeat(face, 3), len(vertices))


def unit_normals(vectors: Array) -> Array:
    """(V, 3) float32 of unit length; vectors without length, of isolated vertices, become +z."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.isfinite(length) & (length > 1e-20)
    return np.where(good, vectors / np.where(good, length, 1.0), (0.0, 0.0, 1.0)).astype(np.float32)
