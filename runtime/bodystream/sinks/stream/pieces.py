"""A skin cut into pieces that can be sent and renewed on their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skinning import influences
from bodystream.types import Array, MeshPart, SkinnedMesh
from bodystream.wire.meshes import Piece

__all__ = ["CLAY", "body_pieces", "cut", "trimmed"]

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
    used, faces = trimmed(piece.faces, len(piece.vertices))
    if len(used) == len(piece.vertices) <= _MAX_VERTICES and len(np.unique(piece.bones)) <= _MAX_BONES:
        yield piece
        return
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
        faces=faces,
        normals=piece.normals[used],
        colours=None if piece.colours is None else piece.colours[used],
        bones=bones,
        weights=piece.weights[used],
    )


def trimmed(faces: Array, count: int) -> tuple[Array, Array]:
    """The vertices that faces have, of `count` in all, and (F, 3) int32 faces of these alone."""
    shown = np.zeros(count, bool)
    shown[faces.reshape(-1)] = True
    return np.flatnonzero(shown), (np.cumsum(shown, dtype=np.int32) - 1)[faces]
