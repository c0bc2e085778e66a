"""A skin cut into pieces that can be sent and renewed on their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skinning import influences
from bodystream.types import Array, MeshPart, SkinnedMesh
from bodystream.wire.meshes import Piece

__all__ = ["CLAY", "body_pieces", "cells_of", "cut"]

CLAY = (200, 196, 190)
_MAX_VERTICES = 65535
_MAX_BONES = 256


def body_pieces(skin: SkinnedMesh) -> list[Piece]:
    """All of a body: a piece for each of its parts, or several where a part is too large for one."""
    joints, weights, _ = influences(skin)
    mesh = skin.mesh
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    parts = skin.parts or (MeshPart(0, len(mesh.faces), CLAY),)
    found: list[Piece] = []
    for part in parts:
        whole = Piece(
            0,
            mesh.vertices,
            mesh.faces[part.start : part.end],
            normals,
            None if skin.parts else mesh.colours,
            joints.astype(np.int32),
            weights,
            (*part.colour, 255),
            both_sides=bool(skin.parts),  # hair and skirts are sheets
            step_m=0.0002,
        )
        found += cut(whole)
    return [replace(piece, number=number) for number, piece in enumerate(found)]


def cut(piece: Piece) -> Iterator[Piece]:
    """Pieces of a size that a message holds, of the same faces; nothing for no faces."""
    if not len(piece.faces):
        return
    used, faces = np.unique(piece.faces, return_inverse=True)
    bones = piece.bones[used]
    if len(used) > _MAX_VERTICES or len(np.unique(bones)) > _MAX_BONES:
        # Half of the faces along the longest side, since what lies together hangs on the same bones.
        middles = piece.vertices[piece.faces].mean(axis=1)
        order = np.argsort(middles[:, np.ptp(middles, axis=0).argmax()], kind="stable")
        for half in np.array_split(order, 2):
            yield from cut(replace(piece, faces=piece.faces[half]))
        return
    yield replace(
        piece,
        vertices=piece.vertices[used],
        faces=faces.reshape(-1, 3).astype(np.int32),
        normals=piece.normals[used],
        colours=None if piece.colours is None else piece.colours[used],
        bones=bones,
        weights=piece.weights[used],
    )


def cells_of(points: Array, size_m: float) -> Array:
    """(N,) int64: of each point a number of the cube of space that it is in."""
    cells = np.floor(np.asarray(points, np.float64) / size_m).astype(np.int64) & 0x1FFFFF
    return cells[:, 0] << 42 | cells[:, 1] << 21 | cells[:, 2]
