"""A skinned surface as messages of docs/stream-format.md: its bones, and pieces that are small enough for a page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.geometry.skinning import influences
from bodystream.types import Array, SkinnedMesh
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import Piece, Skeleton, encode_piece, encode_skeleton

__all__ = ["body_skin_messages", "skeleton_message", "surface_skin_messages"]

_PALETTE = 256
_VERTICES = 65535
_BLOCK = 64  # faces that are looked at together


def body_skin_messages(skin: SkinnedMesh, number: int, t_ns: int) -> list[bytes]:
    """The surface of a body on its 22 joints; what hangs on other bones follows the joint that these stand on.

    Args:
        number: of the skin, as its motions will have it.
        t_ns: when it was made.
    """
    joints = _followed(skin)
    bones, weights, _ = influences(skin)
    head = skeleton_message(skin.bone_from_bind[: len(JOINTS)], number, t_ns)
    return [head, *_pieces(skin, joints[bones], weights, number, t_ns)]


def skeleton_message(bone_from_bind: Array, number: int, t_ns: int) -> bytes:
    """The joints of a body at bind, (22, 4, 4)."""
    skeleton = Skeleton(
        "body",
        0,
        len(JOINTS),
        bone_from_bind[:, :3].astype(np.float32),
        np.array(PARENTS, np.int32),
        np.arange(len(JOINTS), dtype=np.int32),
        JOINTS,
    )
    return _packed(Kind.SKELETON, encode_skeleton(skeleton), number, t_ns)


def surface_skin_messages(skin: SkinnedMesh, number: int, t_ns: int) -> list[bytes]:
    """The surface of a capture on the nodes of its graph."""
    count = len(skin.bone_from_bind)
    skeleton = Skeleton(
        "surface",
        0,
        count,
        skin.bone_from_bind[:, :3].astype(np.float32),
        np.full(count, -1, np.int32),
        np.arange(count, dtype=np.int32),
    )
    bones, weights, _ = influences(skin)
    head = _packed(Kind.SKELETON, encode_skeleton(skeleton), number, t_ns)
    return [head, *_pieces(skin, bones, weights, number, t_ns)]


def _pieces(skin: SkinnedMesh, bones: Array, weights: Array, number: int, t_ns: int) -> Iterator[bytes]:
    mesh = skin.mesh
    normals = np.tile(np.array([0.0, 1.0, 0.0], np.float32), (len(mesh.vertices), 1))
    normals = normals if mesh.normals is None else mesh.normals
    for piece, faces in enumerate(_parts(mesh.vertices, mesh.faces, bones)):
        used, corners = np.unique(faces, return_inverse=True)
        made = Piece(
            piece,
            mesh.vertices[used],
            corners.reshape(-1, 3).astype(np.int32),
            normals[used],
            None if mesh.colours is None else mesh.colours[used],
            bones[used].astype(np.int32),
            weights[used],
        )
        yield _packed(Kind.PIECE, encode_piece(made), number, t_ns)


def _parts(vertices: Array, faces: Array, bones: Array) -> Iterator[Array]:
    """Faces that are near each other, as many as have no more bones and vertices than a piece may have."""
    if len(faces) == 0:
        return
    if len(vertices) <= _VERTICES and len(np.unique(bones)) <= _PALETTE:
        yield faces
        return
    order = np.argsort(_places_along_a_curve(vertices[faces[:, 0]]), kind="stable")
    taken, palette, corners = [], np.zeros(0, np.int64), 0
    for block in np.array_split(faces[order], -(-len(faces) // _BLOCK)):
        wanted = np.union1d(palette, bones[block.reshape(-1)])
        if taken and (len(wanted) > _PALETTE or corners + block.size > _VERTICES):
            yield np.concatenate(taken)
            taken, corners = [], 0
            wanted = np.unique(bones[block.reshape(-1)])
        taken.append(block)
        palette, corners = wanted, corners + block.size
    yield np.concatenate(taken)


def _places_along_a_curve(points: Array) -> Array:
    """(N,) Morton codes: points that are near in space are mostly near in this order, too."""
    low = points.min(axis=0)
    cells = ((points - low) / max(float((points - low).max()), 1e-6) * 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code


def _followed(skin: SkinnedMesh) -> Array:
    """(B,) of each bone, the joint that it is or stands on."""
    joints = np.arange(len(skin.bone_from_bind))
    if skin.parents is not None:
        for bone in range(len(JOINTS), len(joints)):
            joints[bone] = joints[max(int(skin.parents[bone]), 0)]
    return np.where(joints < len(JOINTS), joints, 0)


def _packed(kind: Kind, payload: bytes, number: int, t_ns: int) -> bytes:
    return pack_message(Message(kind, payload, skin=number, t_ns=t_ns), deflate=True)
