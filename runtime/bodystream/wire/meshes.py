"""What is sent once: bones at bind, the surface in pieces, the links of a graph; and whole meshes for who asks."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import numpy as np

from bodystream.types import Array, Mesh
from bodystream.wire.envelope import Kind, Message
from bodystream.wire.motions import MAX_BONES
from bodystream.wire.planes import Reader, octahedral, padding, planes_u8, planes_u16, unit_vectors

__all__ = [
    "GraphLinks",
    "Piece",
    "Skeleton",
    "WholeMesh",
    "decode_graph",
    "decode_piece",
    "decode_skeleton",
    "decode_whole",
    "encode_graph",
    "encode_piece",
    "encode_skeleton",
    "encode_whole",
]

_NONE = 0xFFFF
_SKELETON = struct.Struct("<4BIIII")
_PIECE = struct.Struct("<IIIHBB3ff4B")
_WHOLE = struct.Struct("<III")
_GRAPH = struct.Struct("<II")
_MATRICES, _POSITIONS = 0, 1
_COLOURS, _BOTH_SIDES, _NORMALS = 1, 2, 2
_MAX_COUNT = 1 << 22
INFLUENCES = 4


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Bones at bind, all of them or those that have come since.

    Attributes:
        of: `body` or `surface`.
        first: index of the first bone here; 0 begins a skin anew.
        total: bones of the skin with these.
        bone_from_bind: (B, 3, 4) float32 the upper rows of `SkinnedMesh.bone_from_bind`.
        parents: (B,) int32, -1 = none.
        follows: (B,) int32, the entry of a motion that moves each bone.
        names: of the bones, or empty.
    """

    of: str
    first: int
    total: int
    bone_from_bind: Array
    parents: Array
    follows: Array
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a surface at bind, which replaces the one of the same number; without vertices it is gone.

    Attributes:
        number: of the piece, within its skin.
        vertices: (V, 3) float32 [m], V <= 65535.
        faces: (F, 3) int32 within the piece.
        normals: (V, 3) float32.
        colours: (V, 3) uint8 sRGB, or None for `colour`.
        bones: (V, 4) int32 of the skin.
        weights: (V, 4) float32, each row sums to one.
        colour: sRGB and opacity of all of it.
        both_sides: whether faces are seen from behind, too.
        step_m: what vertices are rounded to.
    """

    number: int
    vertices: Array
    faces: Array
    normals: Array
    colours: Array | None
    bones: Array
    weights: Array
    colour: tuple[int, int, int, int] = (200, 196, 190, 255)
    both_sides: bool = False
    step_m: float = 0.0005


@dataclass(frozen=True, slots=True)
class WholeMesh:
    """A mesh in the pose of one frame, for who takes no skins."""

    mesh: Mesh


@dataclass(frozen=True, slots=True)
class GraphLinks:
    """How the nodes of a deformation graph hang together; where they are is in the surface's motion.

    Attributes:
        edges: (E, 2) int32 nodes.
        clusters: (N,) int32.
        active: (N,) bool.
    """

    edges: Array
    clusters: Array
    active: Array


def encode_skeleton(skeleton: Skeleton) -> bytes:
    """The payload; bones that are turned as the mesh is take 12 bytes instead of 48."""
    binds = np.asarray(skeleton.bone_from_bind, np.float32)
    unturned = skeleton.of == "surface" and bool((binds[:, :, :3] == np.eye(3, dtype=np.float32)).all())
    names = json.dumps(skeleton.names, ensure_ascii=False).encode() if skeleton.names else b""
    parts = [
        _SKELETON.pack(
            ("body", "surface").index(skeleton.of),
            _POSITIONS if unturned else _MATRICES,
            0,
            0,
            skeleton.total,
            skeleton.first,
            len(binds),
            len(names),
        ),
        np.ascontiguousarray(-binds[:, :, 3] if unturned else binds, "<f4").tobytes(),
    ]
    for numbers in (skeleton.parents, skeleton.follows):
        shorts = np.where(np.asarray(numbers) < 0, _NONE, numbers).astype("<u2")
        parts += [shorts.tobytes(), padding(shorts.nbytes)]
    return b"".join((*parts, names))


def decode_skeleton(message: Message) -> Skeleton:
    """Raises: WireError: it is no skeleton, or has numbers that cannot be."""
    read = _of(message, Kind.SKELETON)
    of, layout, _, _, total, first, count, name_bytes = read.numbers(_SKELETON)
    if of > 1 or layout > _POSITIONS or total > MAX_BONES or first + count > total:
        raise read.fail(f"bones {first} to {first + count} of {total}, layout {layout}, of {of} cannot be")
    if layout == _POSITIONS:
        binds = np.zeros((count, 3, 4), np.float32)
        binds[:, :, :3] = np.eye(3)
        binds[:, :, 3] = -read.array("<f4", count, 3)
    else:
        binds = read.array("<f4", count, 3, 4)
    if not np.isfinite(binds).all():
        raise read.fail("a bone is not at a finite place")
    parents, follows = (read.array("<u2", count).astype(np.int32) for _ in range(2))
    parents[parents == _NONE] = -1
    if (parents >= total).any() or (follows >= total).any():
        raise read.fail("a bone hangs on one that there is not")
    names = _names(read, name_bytes, count)
    read.end()
    return Skeleton(("body", "surface")[of], first, total, binds, parents, follows, names)


def encode_piece(piece: Piece) -> bytes:
    """The payload. At most 65535 vertices and 256 bones; see `pieces_of` for how to cut."""
    vertices = np.asarray(piece.vertices, np.float64)
    count = len(vertices)
    palette, places = _palette(piece.bones)
    if count > 65535 or len(palette) > 256:
        raise ValueError(f"a piece of {count} vertices and {len(palette)} bones: cut it")
    origin = (vertices.min(axis=0) if count else np.zeros(3)).astype(np.float32)
    span = float((vertices - origin).max()) if count else 0.0
    step = np.float32(max(piece.step_m, span / 65535 * (1 + 1e-6)))
    attributes = (_COLOURS if piece.colours is not None else 0) | (_BOTH_SIDES if piece.both_sides else 0)
    head = _PIECE.pack(
        piece.number, count, len(piece.faces), len(palette), INFLUENCES, attributes, *origin.tolist(), float(step),
        *piece.colour,
    )  # fmt: skip
    parts = [head, palette.astype("<u2").tobytes(), padding(2 * len(palette))]
    if count:
        shorts = np.rint((vertices - origin) / step).clip(0, 65535).astype(np.uint16)
        parts += [planes_u16(shorts), planes_u8(octahedral(piece.normals).view(np.uint8))]
        if piece.colours is not None:
            parts.append(planes_u8(piece.colours))
        bones, weights = _in_order(places, _bytes_of(piece.weights))
        parts += [planes_u8(bones), planes_u8(weights), planes_u16(np.asarray(piece.faces).reshape(-1, 1))]
    return b"".join(parts)


def decode_piece(message: Message) -> Piece:
    """Raises: WireError: it is no piece, or has numbers that cannot be."""
    read = _of(message, Kind.PIECE)
    number, count, faces, bones, influences, attributes, *rest = read.numbers(_PIECE)
    origin, step, colour = np.array(rest[:3], np.float32), np.float32(rest[3]), rest[4:8]
    if count > 65535 or faces > _MAX_COUNT or bones > 256 or influences != INFLUENCES or attributes > 3:
        raise read.fail(
            f"{count} vertices, {faces} faces, {bones} bones, {influences} a vertex, attributes {attributes} cannot be"
        )
    if not (np.isfinite(origin).all() and 0 < step < 1):
        raise read.fail(f"an origin of {origin.tolist()} and a step of {step} cannot be")
    palette = read.array("<u2", bones).astype(np.int32)
    vertices = origin + read.planes_u16(count, 3).astype(np.float32) * step
    normals = unit_vectors(read.planes_u8(count, 2).view(np.int8))
    colours = read.planes_u8(count, 3) if attributes & _COLOURS else None
    places, weights = read.planes_u8(count, influences), read.planes_u8(count, influences)
    corners = read.planes_u16(3 * faces, 1).reshape(-1, 3).astype(np.int32)
    read.end()
    if (count and places.max() >= bones) or (faces and corners.max(initial=0) >= count):
        raise read.fail("a vertex or bone that there is not")
    return Piece(
        number,
        vertices.astype(np.float32),
        corners,
        normals,
        None if colours is None else np.ascontiguousarray(colours),
        palette[places] if count else np.zeros((0, influences), np.int32),
        (weights / 255.0).astype(np.float32),
        (colour[0], colour[1], colour[2], colour[3]),
        bool(attributes & _BOTH_SIDES),
        float(step),
    )


def encode_graph(links: GraphLinks) -> bytes:
    parts = [_GRAPH.pack(len(links.clusters), len(links.edges)), np.asarray(links.edges, "<u2").tobytes()]
    for numbers in (np.asarray(links.clusters, "<u2"), np.asarray(links.active, np.uint8)):
        parts += [numbers.tobytes(), padding(numbers.nbytes)]
    return b"".join(parts)


def decode_graph(message: Message) -> GraphLinks:
    """Raises: WireError: it is no graph, or an edge leads nowhere."""
    read = _of(message, Kind.GRAPH)
    nodes, count = read.numbers(_GRAPH)
    if nodes > MAX_BONES or count > _MAX_COUNT:
        raise read.fail(f"{nodes} nodes and {count} edges cannot be")
    edges = read.array("<u2", count, 2).astype(np.int32)
    clusters, active = read.array("<u2", nodes).astype(np.int32), read.array("u1", nodes) != 0
    read.end()
    if (edges >= nodes).any():
        raise read.fail("an edge leads to a node that there is not")
    return GraphLinks(edges, clusters, active)


def encode_whole(whole: WholeMesh) -> bytes:
    mesh = whole.mesh
    attributes = (_COLOURS if mesh.colours is not None else 0) | (_NORMALS if mesh.normals is not None else 0)
    parts = [
        _WHOLE.pack(len(mesh.vertices), len(mesh.faces), attributes),
        np.ascontiguousarray(mesh.vertices, "<f4").tobytes(),
        np.ascontiguousarray(mesh.faces, "<u4").tobytes(),
    ]
    if mesh.normals is not None:
        parts.append(np.ascontiguousarray(mesh.normals, "<f4").tobytes())
    if mesh.colours is not None:
        parts += [np.ascontiguousarray(mesh.colours, np.uint8).tobytes(), padding(mesh.colours.size)]
    return b"".join(parts)


def decode_whole(message: Message) -> WholeMesh:
    """Raises: WireError: it is no mesh, or has numbers that cannot be."""
    read = _of(message, Kind.WHOLE)
    count, faces, attributes = read.numbers(_WHOLE)
    if count > _MAX_COUNT or faces > _MAX_COUNT or attributes > 3:
        raise read.fail(f"{count} vertices, {faces} faces and attributes {attributes} cannot be")
    vertices, corners = read.array("<f4", count, 3), read.array("<u4", faces, 3)
    normals = read.array("<f4", count, 3) if attributes & _NORMALS else None
    colours = read.array("u1", count, 3) if attributes & _COLOURS else None
    read.end()
    if not np.isfinite(vertices).all() or (faces and corners.max() >= count):
        raise read.fail("a vertex that is nowhere")
    return WholeMesh(Mesh(vertices, corners.astype(np.int32), normals, colours))


def _of(message: Message, kind: Kind) -> Reader:
    read = Reader(message.payload, message.kind.name)
    if message.kind is not kind:
        raise read.fail(f"one of {kind.name} was wanted")
    return read


def _names(read: Reader, length: int, count: int) -> tuple[str, ...]:
    if not length:
        return ()
    try:
        names = json.loads(read.text(length))
    except (ValueError, RecursionError) as error:
        raise read.fail(f"its names are not JSON: {error}") from error
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise read.fail(f"wanted {count} names as a list of strings")
    return tuple(names)


def _palette(bones: Array) -> tuple[Array, Array]:
    """The bones that there are, sorted, and (V, 4) where each one is among them."""
    used = np.zeros(int(bones.max(initial=-1)) + 1, bool)
    used[bones.reshape(-1)] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[bones]


def _bytes_of(weights: Array) -> Array:
    """(V, 4) uint8, each row with the sum 255."""
    weights = np.asarray(weights, np.float64)
    exact = weights * (255.0 / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))
    out = np.rint(exact).astype(np.int64)
    rows = np.arange(len(out))
    out[rows, out.argmax(axis=1)] += 255 - out.sum(axis=1)
    return out.astype(np.uint8)


def _in_order(bones: Array, weights: Array) -> tuple[Array, Array]:
    """Influences by their bones, so that neighbouring vertices have them in the same column."""
    both = np.sort(bones << 8 | weights, axis=1)  # as one number they need no order to be kept
    return both >> 8, both & 0xFF
