"""Surfaces of a wanted number of vertices, made of one that has fewer, with all that its vertices carry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, identity, vstack

from bodystream.avatar.clothed.body import BONES, ClothedBody
from bodystream.errors import InputError
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["grown_clothed", "grown_faces", "grown_skin"]


def grown_faces(faces: Array, vertices: int, wanted: int) -> tuple[Any, Array]:
    """Halve all edges as often as that gives no more vertices than wanted, then put vertices into faces, evenly.

    Args:
        faces: (F, 3) of `vertices` vertices.

    Returns:
        (wanted, vertices) sparse, what each new vertex is of the old ones, and the (F', 3) int32 faces between them.
        New vertices stand near those that they are made of, in memory, too.

    Raises:
        InputError: there are more vertices than wanted.
    """
    if vertices > wanted:
        raise InputError(f"a surface of {vertices} vertices has more than the {wanted} that are wanted")
    mix: Any = identity(vertices, format="csr")
    while True:
        ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        edges, which = np.unique(ends, axis=0, return_inverse=True)
        if mix.shape[0] + len(edges) > wanted:
            break
        first, second, third = mix.shape[0] + which.reshape(3, -1)
        a, b, c = faces.T
        mix = vstack([mix, 0.5 * (mix[edges[:, 0]] + mix[edges[:, 1]])], format="csr")
        corners = [(a, first, third), (first, b, second), (third, second, c), (first, second, third)]
        faces = np.concatenate([np.stack(corner, 1) for corner in corners])
    while mix.shape[0] < wanted:
        split = np.linspace(0, len(faces) - 1, min(wanted - mix.shape[0], len(faces))).astype(np.int64)
        a, b, c = faces[split].T
        middle = mix.shape[0] + np.arange(len(split))
        mix = vstack([mix, (mix[a] + mix[b] + mix[c]) / 3.0], format="csr")
        parts = [np.stack(part, 1) for part in ((a, b, middle), (b, c, middle), (c, a, middle))]
        faces = np.concatenate([np.delete(faces, split, 0), *parts])
    order = np.argsort(np.minimum.reduceat(mix.indices, mix.indptr[:-1]), kind="stable")
    place = np.empty(wanted, np.int64)
    place[order] = np.arange(wanted)
    faces = place[faces]
    return mix[order], faces[np.argsort(faces.min(1), kind="stable")].astype(np.int32)


def grown_skin(skin: SkinnedMesh, wanted: int) -> SkinnedMesh:
    """A skinned surface with more vertices; of their weights the four largest count."""
    count = len(skin.mesh.vertices)
    mix, faces = grown_faces(skin.mesh.faces, count, wanted)
    bones, weights = _largest(mix @ _dense(skin.bones, skin.weights, len(skin.bone_from_bind)), skin.bones.shape[1])
    return replace(skin, mesh=Mesh((mix @ skin.mesh.vertices).astype(np.float32), faces), bones=bones, weights=weights)


def grown_clothed(body: ClothedBody, wanted: int) -> ClothedBody:
    """A clothed body with more vertices, which follow the controls of those that they lie between."""
    count = len(body.vertices)
    mix, faces = grown_faces(body.faces, count, wanted)
    bones, weights = _largest(mix @ _dense(body.skin_bones, body.skin_weights, BONES), body.skin_bones.shape[1])
    rows = np.repeat(np.arange(count), body.near.shape[1])
    shares: Any = mix @ csr_matrix((body.shares.ravel(), (rows, body.near.ravel())), shape=(count, len(body.controls)))
    single = np.flatnonzero(np.diff(mix.indptr) == 1)  # those that were there before
    places = np.empty(count, np.int32)
    places[mix.indices[mix.indptr[single]]] = single
    near, kept = np.zeros((2, wanted, body.near.shape[1]))
    for vertex in range(wanted):
        part = slice(shares.indptr[vertex], shares.indptr[vertex + 1])
        most = np.argsort(-np.abs(shares.data[part]))[: near.shape[1]]
        near[vertex, : len(most)], kept[vertex, : len(most)] = shares.indices[part][most], shares.data[part][most]
    return replace(
        body,
        vertices=(mix @ body.vertices).astype(np.float32),
        faces=faces,
        colours=None,
        base=(mix @ body.base).astype(np.float32),
        skin_bones=bones,
        skin_weights=weights,
        controls=places[body.controls],
        near=near.astype(np.int32),
        shares=kept.astype(np.float32),
    )


def _dense(bones: Array, weights: Array, count: int) -> Array:
    out = np.zeros((len(bones), count))
    np.add.at(out, (np.arange(len(bones))[:, None], bones), weights)
    return out


def _largest(weights: Array, kept: int) -> tuple[Array, Array]:
    bones = np.argsort(-weights, 1)[:, :kept].astype(np.int32)
    values = np.take_along_axis(weights, bones, 1)
    return bones, (values / values.sum(1, keepdims=True)).astype(np.float32)
