"""Rotations as (..., 3, 3) matrices, rotation vectors [rad] and xyzw quaternions."""

from __future__ import annotations

import math

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = [
    "matrix_from_quaternion",
    "matrix_from_rotation_vector",
    "quaternion_from_matrix",
    "rotation_vector_from_matrix",
    "rotation_vectors_between",
    "skew",
    "smallest_rotation",
    "turn_about",
    "turned_quaternions",
]


def _product_terms() -> tuple[Array, Array]:
    """4 q q^T as a linear function of a rotation's nine numbers: (9, 16) and what is added, (16,)."""
    terms, ones = np.zeros((9, 4, 4)), np.diag([1.0, 1.0, 1.0, 1.0])
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for row, sign in ((i, 1.0), (j, -1.0), (k, -1.0)):  # 4 q_i^2
            terms[4 * row, i, i] = sign
        terms[4 * i, 3, 3] = 1.0
        terms[[3 * i + j, 3 * j + i], i, j] = terms[[3 * i + j, 3 * j + i], j, i] = 1.0  # 4 q_i q_j
        terms[[3 * k + j, 3 * j + k], i, 3] = terms[[3 * k + j, 3 * j + k], 3, i] = 1.0, -1.0  # 4 q_i w
    return terms.reshape(9, 16), ones.reshape(16)


_PRODUCTS, _ONES = _product_terms()
_TERMS = {kind: (_PRODUCTS.astype(kind), _ONES.astype(kind)) for kind in (np.float32, np.float64)}


def skew(v: Array) -> Array:
    """The (..., 3, 3) matrix with `skew(v) @ p == cross(v, p)` for v of shape (..., 3)."""
    out = np.zeros((*v.shape, 3), v.dtype)
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def matrix_from_rotation_vector(rotation_vector: Array) -> Array:
    """Exponential map: (..., 3) axis times angle [rad] to (..., 3, 3)."""
    flat = np.asarray(rotation_vector, np.float64).reshape(-1, 3)
    half = 0.5 * np.sqrt(np.vecdot(flat, flat))
    q = np.empty((len(flat), 4))
    q[:, :3] = flat
    # sin(half) / angle, whose limit is one half
    q[:, :3] *= np.divide(np.sin(half), 2.0 * half, out=np.full(len(flat), 0.5), where=half > 1e-150)[:, None]
    q[:, 3] = np.cos(half)
    return _matrices(q).reshape(*np.shape(rotation_vector), 3)


def rotation_vector_from_matrix(matrix: Array) -> Array:
    """Logarithm: (..., 3, 3) to (..., 3) axis times angle [rad], angle <= pi."""
    q = quaternion_from_matrix(matrix).reshape(-1, 4)
    v = q[:, :3]
    sine = np.sqrt(np.vecdot(v, v))
    angle = 2.0 * np.arctan2(sine, q[:, 3])
    v = v * np.divide(angle, sine, out=np.full(len(v), 2.0), where=sine > 1e-150)[:, None]
    return v.reshape(*np.shape(matrix)[:-2], 3)


def quaternion_from_matrix(matrix: Array, dtype: type[np.float32] | type[np.float64] = np.float64) -> Array:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions, xyzw, w >= 0.

    SciPy's conversions, with which these agree to rounding, look for the nearest rotation first and go through more
    layers: for a pose of 22 joints they take several times as long.
    """
    flat = np.asarray(matrix, dtype).reshape(-1, 9)
    terms, ones = _TERMS[dtype]
    products = (flat @ terms + ones).reshape(-1, 4, 4)
    # Each row is the quaternion times one of its numbers: the largest of them loses no digits.
    largest = products.reshape(-1, 16)[:, ::5].argmax(axis=1)
    out = products[np.arange(len(flat)), largest]
    length = np.sqrt(np.vecdot(out, out))
    out /= np.where(out[:, 3] < 0.0, -length, length)[:, None]
    return out.reshape(*np.shape(matrix)[:-2], 4)


def matrix_from_quaternion(quaternion_xyzw: Array) -> Array:
    """(..., 4) xyzw quaternions (normalised here) to (..., 3, 3).

    Raises:
        InputError: one has no length.
    """
    flat = np.asarray(quaternion_xyzw, np.float64).reshape(-1, 4)
    length = np.sqrt(np.vecdot(flat, flat))
    if not length.all():
        raise InputError(
            f"quaternion {int(length.argmin())} of {len(flat)} is all zeros, which is no rotation: none is (0, 0, 0, 1)"
        )
    unit = flat / length[:, None]
    return _matrices(unit).reshape(*np.shape(quaternion_xyzw)[:-1], 3, 3)


def _matrices(unit: Array) -> Array:
    """(N, 9) numbers of the rotations of (N, 4) unit quaternions: linear in the products, as the reverse."""
    products: Array = unit[:, :, None] * unit[:, None, :]
    return products.reshape(-1, 16) @ _PRODUCTS.T


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


def turn_about(axis: Array, angle_rad: float) -> Array:
    """The (3, 3) rotation by an angle about the unit vector (3,) `axis`, as Rodrigues' formula has it."""
    x, y, z = axis.tolist()
    s, c = math.sin(angle_rad), math.cos(angle_rad)
    d = 1.0 - c
    return np.array(
        [
            [c + d * x * x, d * x * y - s * z, d * x * z + s * y],
            [d * x * y + s * z, c + d * y * y, d * y * z - s * x],
            [d * x * z - s * y, d * y * z + s * x, c + d * z * z],
        ]
    )


def smallest_rotation(start: Array, end: Array) -> Array:
    """The (3, 3) rotation about `start x end` that takes the unit vector (3,) `start` to the unit vector `end`."""
    (a, b, c), (p, q, r) = start.tolist(), end.tolist()
    x, y, z, cosine = b * r - c * q, c * p - a * r, a * q - b * p, a * p + b * q + c * r
    if cosine < -1.0 + 1e-9:  # opposite: any axis across will do
        axis = np.cross(start, np.eye(3)[np.abs(start).argmin()])
        axis /= np.linalg.norm(axis)
        return 2.0 * np.outer(axis, axis) - np.eye(3)
    d = 1.0 / (1.0 + cosine)
    return np.array(
        [
            [cosine + d * x * x, d * x * y - z, d * x * z + y],
            [d * x * y + z, cosine + d * y * y, d * y * z - x],
            [d * x * z - y, d * y * z + x, cosine + d * z * z],
        ]
    )
