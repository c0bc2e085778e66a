"""Rotations as (..., 3, 3) matrices, rotation vectors [rad] and xyzw quaternions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.types import Array

__all__ = [
    "matrix_from_quaternion",
    "matrix_from_rotation_vector",
    "quaternion_from_matrix",
    "rotation_vector_from_matrix",
    "skew",
]


def skew(v: Array) -> Array:
    """The (..., 3, 3) matrix with `skew(v) @ p == cross(v, p)` for v of shape (..., 3)."""
    out = np.zeros((*v.shape, 3), v.dtype)
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def matrix_from_rotation_vector(rotation_vector: Array) -> Array:
    """Exponential map: (..., 3) axis times angle [rad] to (..., 3, 3)."""
    flat = np.asarray(rotation_vector).reshape(-1, 3)
    return Rotation.from_rotvec(flat).as_matrix().reshape(*np.shape(rotation_vector), 3)


def rotation_vector_from_matrix(matrix: Array) -> Array:
    """Logarithm: (..., 3, 3) to (..., 3) axis times angle [rad], angle <= pi."""
    flat = np.asarray(matrix).reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_rotvec().reshape(*np.shape(matrix)[:-2], 3)


def quaternion_from_matrix(matrix: Array) -> Array:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions, xyzw, w >= 0."""
    flat = np.asarray(matrix).reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_quat(canonical=True).reshape(*np.shape(matrix)[:-2], 4)


def matrix_from_quaternion(quaternion_xyzw: Array) -> Array:
    """(..., 4) xyzw quaternions (normalised here) to (..., 3, 3)."""
    flat = np.asarray(quaternion_xyzw).reshape(-1, 4)
    return Rotation.from_quat(flat).as_matrix().reshape(*np.shape(quaternion_xyzw)[:-1], 3, 3)
