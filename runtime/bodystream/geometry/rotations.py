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
    "rotation_vectors_between",
    "skew",
    "turned_quaternions",
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


def rotation_vectors_between(start: Array, end: Array) -> Array:
    """(N, 3) rotation vectors from unit quaternions (N, 4) xyzw to others, in the frames of the first, at most pi."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    v = a[:, 3:] * b[:, :3] - b[:, 3:] * a[:, :3] - np.cross(a[:, :3], b[:, :3])  # conj(a) * b
    w = np.sum(a * b, axis=1, keepdims=True)
    v = np.where(w < 0.0, -v, v)
    sine = np.linalg.norm(v, axis=1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, np.abs(w))
    return v * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def turned_quaternions(quaternions: Array, vectors: Array) -> Array:
    """(N, 4) xyzw quaternions turned by (N, 3) rotation vectors in their own frames: float32, unit, w >= 0."""
    q = quaternions.astype(np.float64)
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    v = 0.5 * np.sinc(angle / (2.0 * np.pi)) * vectors  # sin(angle / 2) / angle
    w = np.cos(0.5 * angle)
    out = np.empty_like(q)
    out[:, :3] = q[:, 3:] * v + w * q[:, :3] + np.cross(q[:, :3], v)
    out[:, 3:] = q[:, 3:] * w - np.sum(q[:, :3] * v, axis=1, keepdims=True)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out *= np.where(out[:, 3:] < 0.0, -1.0, 1.0)
    return out.astype(np.float32)
