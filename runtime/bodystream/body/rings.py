"""One-rings of the reference mesh: what of them the affine transforms of its vertices are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags

from bodystream.types import Array

__all__ = ["Rings", "rings_of"]

_LEAST_COTANGENT = 0.01
"""Of an edge's two angles, half the sum of the cotangents. It is negative where they are obtuse, and rings with such
edges have no minimum; there, edges pull a little."""
_NORMAL_SHARE = 0.005
"""Of the weight along the normal, in that along the less extended direction of the ring's plane. It decides where a
ring bulges by less than about a fifteenth of its width."""


@dataclass(frozen=True)
class Rings:
    """The one-rings N(i) of V reference vertices q.

    Attributes:
        start, end: (E,) vertices i and j of each directed edge, sorted by i.
        weights: (E,) cotangent weights c_ij.
        edges_m: (E, 3) q_i - q_j.
        moments: (V, 3, 3) sum_j c_ij e e^T + w_i m m^T, and inverse: of each its inverse.
        plane: (V, 2, 3) unit axes a, b of each ring's plane, and normals: (V, 3) m = a x b.
        normal_weights: (V,) w_i.
        spread: (3V, V): row 3 i + k of `spread @ p` is sum_j c_ij e_k (p_i - p_j).
    """

    start: Array
    end: Array
    weights: Array
    edges_m: Array
    moments: Array
    inverse: Array
    plane: Array
    normals: Array
    normal_weights: Array
    spread: csr_matrix

    @cached_property
    def laplacian(self) -> csr_matrix:
        """(V, V) sum_j c_ij (p_i - p_j), of points p."""
        count = len(self.normals)
        weights = coo_matrix((self.weights, (self.start, self.end)), shape=(count, count))
        return csr_matrix(diags(np.bincount(self.start, self.weights, count)) - weights)

    def spreads(self, points: Array) -> Array:
        """(V, 3, 3) D_i = sum_j c_ij (p_i - p_j) (q_i - q_j)^T of (V, 3) points."""
        return (self.spread @ points).reshape(-1, 3, 3).swapaxes(1, 2)

    def lifted(self, transforms: Array) -> Array:
        """(V, 3) where the normals of the reference go: along T a x T b, as long as a and b are made on average."""
        a, b = np.einsum("vij,vkj->kvi", transforms, self.plane)
        normal = np.cross(a, b)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        return normal / np.sqrt(np.maximum(length, 1e-30))


def rings_of(vertices: Array, faces: Array) -> Rings:
    """The rings of a reference mesh that `check_topology` and `check_surface` let pass.

    Args:
        vertices: (V, 3) float64 [m]. faces: (F, 3).
    """
    count = len(vertices)
    start, end, cotangents = [], [], []
    for one, two, apex in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        i, j, k = faces[:, one], faces[:, two], faces[:, apex]
        u, v = vertices[i] - vertices[k], vertices[j] - vertices[k]
        half = 0.5 * np.vecdot(u, v) / np.linalg.norm(np.cross(u, v), axis=1)
        start += [i, j]
        end += [j, i]
        cotangents += [half, half]
    summed = coo_matrix(
        (np.concatenate(cotangents), (np.concatenate(start), np.concatenate(end))), shape=(count, count)
    ).tocsr()
    edges = summed.tocoo()
    i, j = edges.row.astype(np.int64), edges.col.astype(np.int64)
    weights = np.maximum(edges.data, _LEAST_COTANGENT)
    e = vertices[i] - vertices[j]
    entries = (weights[:, None] * e).ravel()
    rows = (3 * i[:, None] + np.arange(3)).ravel()
    columns = np.concatenate([np.repeat(i, 3), np.repeat(j, 3)])
    spread = csr_matrix((np.concatenate([entries, -entries]), (np.tile(rows, 2), columns)), shape=(3 * count, count))
    moments = (spread @ vertices).reshape(count, 3, 3)
    moments = 0.5 * (moments + moments.swapaxes(1, 2))
    values, axes = np.linalg.eigh(moments)  # ascending
    a, b = axes[:, :, 2], axes[:, :, 1]
    m = np.cross(a, b)
    normal_weights = _NORMAL_SHARE * values[:, 1]
    moments = moments + normal_weights[:, None, None] * m[:, :, None] * m[:, None, :]
    return Rings(
        i, j, weights, e, moments, np.linalg.inv(moments), np.stack([a, b], axis=1), m, normal_weights, spread
    )  # fmt: skip
