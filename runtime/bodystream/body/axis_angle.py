"""Rotation vectors that are as consistent as possible over a mesh (Gao et al., "Sparse data driven mesh deformation",
2019, sec. 3).

A rotation has many rotation vectors, u (theta + 2 pi m) for whole m, of which negative ones are those about -u. Of
each vertex the one is wanted that is nearest to its neighbours'. That is an integer programme; it is solved as its
authors do, by going from vertex to vertex, and improved until no vertex gains by another choice. The way goes along
the edges with the least turn between their ends (a minimum spanning tree), so that a vertex whose rotation is ill
determined decides for nobody.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.types import Array

__all__ = ["consistent_vectors", "inconsistent_edges", "nearest_turns"]

_ROUNDS = 50
_GAIN = 1e-9
_BRANCHES = np.array([0.0, -1.0, 1.0])
"""Whole turns of the first vertex that are tried; of consistent choices the one with the smallest vectors is taken."""


def nearest_turns(axes: Array, angles: Array, wanted: Array) -> Array:
    """(...,) whole m for which u (theta + 2 pi m) is nearest to a wanted vector (eq. 4 of DHNN, in closed form).

    Args:
        axes: (..., 3) unit vectors u. angles: (...,) theta [rad]. wanted: (..., 3).
    """
    return np.rint((np.vecdot(axes, wanted) - angles) / (2.0 * np.pi))


def consistent_vectors(rotations: Array, start: Array, end: Array) -> Array:
    """(V, 3) rotation vectors [rad] of (V, 3, 3) rotations, consistent over the edges of a connected mesh.

    Args:
        start, end: (E,) vertices of each directed edge, both directions of each, sorted by `start`.
    """
    count = len(rotations)
    axes, angles, cosines = _axes(rotations, start, end)
    # Weights of a sparse graph must not be zero: no turn at all still is an edge.
    lengths = np.arccos(np.clip(cosines, 0.0, 1.0)) + 1e-6
    tree = minimum_spanning_tree(csr_matrix((lengths, (start, end)), shape=(count, count)))
    root = int(angles.argmin())
    order, above = breadth_first_order(tree + tree.T, root, directed=False)
    turns = np.zeros((len(_BRANCHES), count))
    turns[:, root] = _BRANCHES
    vectors = np.zeros((len(_BRANCHES), count, 3))
    vectors[:, root] = axes[root] * (angles[root] + 2.0 * np.pi * turns[:, root, None])
    for level in _levels(order, above):
        found = nearest_turns(axes[level], angles[level], vectors[:, above[level]])
        vectors[:, level] = axes[level] * (angles[level] + 2.0 * np.pi * found)[..., None]
    best = int(np.vecdot(vectors, vectors).sum(axis=1).argmin())
    return _improved(axes, angles, vectors[best], start, end)


def inconsistent_edges(vectors: Array, start: Array, end: Array) -> int:
    """How many directed edges have a start that another number of whole turns would bring nearer to the end."""
    angles = np.linalg.norm(vectors, axis=1)
    axes = vectors / np.maximum(angles, 1e-12)[:, None]
    return int(np.count_nonzero(nearest_turns(axes[start], angles[start], vectors[end])))


def _axes(rotations: Array, start: Array, end: Array) -> tuple[Array, Array, Array]:
    """(V, 3) axes, (V,) angles, and (E,) cosines of half the turn along each edge."""
    q = quaternion_from_matrix(rotations)
    sine = np.linalg.norm(q[:, :3], axis=1)
    angles = 2.0 * np.arctan2(sine, q[:, 3])
    axes = np.divide(q[:, :3], sine[:, None], out=np.tile([1.0, 0.0, 0.0], (len(q), 1)), where=sine[:, None] > 1e-12)
    return axes, angles, np.abs(np.vecdot(q[start], q[end]))


def _levels(order: Array, above: Array) -> list[Array]:
    """The vertices of a tree but its root, by how far they are from it; `order` is breadth first."""
    depth = np.zeros(len(above), np.int64)
    for vertex in order[1:].tolist():
        depth[vertex] = depth[above[vertex]] + 1
    rest = order[1:]
    cuts = np.flatnonzero(np.diff(depth[rest])) + 1
    return np.split(rest, cuts) if len(rest) else []


def _improved(axes: Array, angles: Array, vectors: Array, start: Array, end: Array) -> Array:
    """Every vertex takes what is nearest to the mean of its neighbours, as long as any of them gains."""
    count = len(vectors)
    mean = csr_matrix((np.ones(len(start)), (start, end)), shape=(count, count))
    mean = csr_matrix(mean.multiply(1.0 / np.maximum(mean.sum(axis=1), 1.0)))
    parity = np.arange(count) % 2
    for number in range(_ROUNDS):
        wanted = mean @ vectors
        better = axes * (angles + 2.0 * np.pi * nearest_turns(axes, angles, wanted))[:, None]
        gain = np.linalg.norm(vectors - wanted, axis=1) - np.linalg.norm(better - wanted, axis=1) > _GAIN
        if not gain.any():
            break
        if number >= _ROUNDS // 2:  # neighbours that change places with each other take turns
            gain &= parity == number % 2
        vectors = np.where(gain[:, None], better, vectors)
    return vectors
