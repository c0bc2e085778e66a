"""What is looked at before a mesh is described by deformation: its topology, its faces, its side, unit and axes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = [
    "check_like",
    "check_surface",
    "check_topology",
    "check_upright",
    "inward_volume",
    "largest_piece",
    "likely_unit",
]

_SMALLEST_M, _LARGEST_M = 0.25, 3.2
"""Of a person's largest extent: a child who is curled up, and raised arms."""
_FLATTEST = 1e-7
"""Of a face that counts as one: its area as a share of its longest side's square. Scanned bodies have faces of 1e-5."""
_CLOSED = 0.02
"""Length of the sum of all normals, weighted by area, as a share of the area: below it, a surface is about closed."""
_AXES = "xyz"
_UPRIGHT = 0.6
"""A standing person's extent along y is at least this share of the largest one, that of outstretched arms."""


def check_topology(faces: Array, vertices: int, where: str) -> None:
    """Refuse faces in which a vertex has no single ring of neighbours: only closed or open discs can be described.

    Args:
        faces: (F, 3) indices.
        vertices: how many there are.

    Raises:
        InputError: names the face that repeats a vertex or leads out of the mesh, the edge with more than two faces or
            with two that run along it in the same direction, the vertex that no face has, that has several fans of
            faces, or that is in a piece apart from the rest.
    """
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.dtype.kind not in "iu":
        raise InputError(f"{where}: faces must be whole numbers of shape (F, 3), got {faces.dtype} of {faces.shape}")
    outside = (faces < 0) | (faces >= vertices)
    if outside.any():
        face = int(outside.any(axis=1).argmax())
        raise InputError(f"{where}: face {face} is {faces[face].tolist()}, and the mesh has {vertices} vertices")
    a, b, c = faces.T.astype(np.int64)
    repeated = (a == b) | (b == c) | (c == a)
    if repeated.any():
        face = int(repeated.argmax())
        raise InputError(
            f"{where}: face {face} is degenerate, it has a vertex twice ({faces[face].tolist()}): {int(repeated.sum())}"
            " such faces; take them out"
        )
    start, end = np.concatenate([a, b, c]), np.concatenate([b, c, a])
    across = np.concatenate([c, a, b])
    keys, first, counts = np.unique(start * vertices + end, return_index=True, return_counts=True)
    if counts.max() > 1:
        at = first[counts > 1][0]
        shared = np.flatnonzero((start == start[at]) & (end == end[at])) % len(faces)
        raise InputError(
            f"{where}: the edge from vertex {start[at]} to {end[at]} is not manifold: faces {shared.tolist()} all run "
            "along it in this direction; take out those that are too many, or turn those that are wound the other way"
        )
    used = np.bincount(faces.ravel(), minlength=vertices)
    if (used == 0).any():
        lonely = int((used == 0).argmax())
        raise InputError(
            f"{where}: vertex {lonely} is isolated, no face has it ({int((used == 0).sum())} such): drop it"
        )
    # Faces of a vertex hang together by the edges that two of them share with it; all of a disc's do.
    corner = np.arange(3 * len(faces))
    leaving, arriving = _order(start * vertices + end), _order(start * vertices + across)
    both, mine, theirs = np.intersect1d(leaving[0], arriving[0], assume_unique=True, return_indices=True)
    graph = coo_matrix((np.ones(len(both)), (leaving[1][mine], arriving[1][theirs])), shape=(len(corner), len(corner)))
    fans, label = connected_components(graph, directed=False)
    owner = np.full(fans, -1)
    owner[label] = start
    per_vertex = np.bincount(owner, minlength=vertices)
    if per_vertex.max() > 1:
        vertex = int(per_vertex.argmax())
        raise InputError(
            f"{where}: vertex {vertex} is not manifold: {per_vertex[vertex]} fans of faces meet in it; split it"
        )
    pieces, label = _pieces(faces, vertices)
    if pieces > 1:
        sizes = np.bincount(label)
        apart = int((label != sizes.argmax()).argmax())
        raise InputError(
            f"{where}: the mesh is in {pieces} pieces of {', '.join(map(str, np.sort(sizes)[::-1][:5]))} vertices, and "
            f"how they stand to each other is not described; vertex {apart} is not in the largest: keep that one only"
        )


def _order(keys: Array) -> tuple[Array, Array]:
    order = np.argsort(keys, kind="stable")
    return keys[order], order


def _pieces(faces: Array, vertices: int) -> tuple[int, Array]:
    f = faces.astype(np.int64)
    edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(vertices, vertices))
    return connected_components(graph, directed=False)


def largest_piece(faces: Array, vertices: int) -> tuple[Array, Array]:
    """The piece of a mesh with the most vertices: (K,) the vertices of it, in order, and its (G, 3) int32 faces."""
    _, label = _pieces(faces, vertices)
    kept = label == np.bincount(label).argmax()
    number = np.cumsum(kept) - 1
    return np.flatnonzero(kept), number[faces[kept[faces[:, 0]]]].astype(np.int32)


def check_surface(vertices: Array, faces: Array, where: str) -> None:
    """Refuse (V, 3) places that cannot be a person's [m] on sound faces.

    Raises:
        InputError: names the vertex that is not finite, the face without an area, or says that the mesh is mirrored
            or in another unit.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind != "f":
        raise InputError(
            f"{where}: vertices must be floating-point numbers of shape (V, 3), got {vertices.dtype} of shape "
            f"{vertices.shape}"
        )
    bad = ~np.isfinite(vertices).all(axis=1)
    if bad.any():
        raise InputError(f"{where}: vertex {int(bad.argmax())} is not finite ({int(bad.sum())} such)")
    points = vertices.astype(np.float64)
    extent = float(np.ptp(points, axis=0).max())
    if not _SMALLEST_M <= extent <= _LARGEST_M:
        likely = likely_unit(extent, _SMALLEST_M, _LARGEST_M)
        seems = f", which seems to be in {likely}" if likely else ""
        raise InputError(
            f"{where}: the mesh is {extent:.3g} wide or tall{seems}: give metres, in which a person is {_SMALLEST_M} "
            f"to {_LARGEST_M}"
        )
    corners = points[faces]
    sides = corners - np.roll(corners, 1, axis=1)
    longest = np.einsum("fki,fki->fk", sides, sides).max(axis=1)
    doubled = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    flat = doubled <= 2.0 * _FLATTEST * longest
    if flat.any():
        face = int(flat.argmax())
        raise InputError(
            f"{where}: face {face} is degenerate, it has no area (vertices {faces[face].tolist()}): {int(flat.sum())} "
            "such faces; mend the mesh"
        )
    centred = corners - points.mean(axis=0)
    volume = np.einsum("fi,fi->f", centred[:, 0], np.cross(centred[:, 1], centred[:, 2])).sum() / 6.0
    if volume <= 0.0:
        raise InputError(
            f"{where}: the mesh is mirrored, its faces look inwards (volume {volume:.3g} m^3): change the sign of one "
            "axis, or turn all faces where they were written the other way round"
        )


def likely_unit(extent: float, low_m: float, high_m: float) -> str:
    """The unit in which an extent lies between two lengths [m]; empty where it is none of the usual ones."""
    units = {1e-3: "millimetres", 1e-2: "centimetres", 0.0254: "inches"}
    return next((name for factor, name in units.items() if low_m <= factor * extent <= high_m), "")


def inward_volume(vertices: Array, faces: Array) -> float | None:
    """The volume [m^3], below 0, of an about closed surface whose faces look inwards; else None.

    Of one side of a person the volume says nothing: its sign is that of the side.

    Args:
        vertices: (V, 3) [m]. faces: (F, 3), some of which may have no area.
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    volume = float(np.vecdot(a - vertices.mean(axis=0), cross).sum()) / 6.0
    closed = np.linalg.norm(cross.sum(axis=0)) < _CLOSED * np.linalg.norm(cross, axis=1).sum()
    return volume if volume < 0.0 and closed else None


def check_like(faces: Array, vertices: int, wanted: Array, wanted_vertices: int, where: str) -> None:
    """Refuse a mesh of another topology than the reference's: every vertex must be the same place of the body.

    Args:
        faces: (F, 3) of the mesh. wanted: (F, 3) of the reference.

    Raises:
        InputError: how many vertices or faces there are and should be, or which face is the first other one.
    """
    if vertices != wanted_vertices or faces.shape != wanted.shape:
        raise InputError(
            f"{where}: another topology: {vertices} vertices and {len(faces)} faces, the reference has "
            f"{wanted_vertices} and {len(wanted)}: register the mesh to it first"
        )
    other = (np.asarray(faces) != wanted).any(axis=1)
    if other.any():
        face = int(other.argmax())
        raise InputError(
            f"{where}: another topology: face {face} is {np.asarray(faces)[face].tolist()}, and of the reference "
            f"{wanted[face].tolist()} ({int(other.sum())} of {len(wanted)} differ): vertices and faces must "
            "keep their order"
        )


def check_upright(vertices: Array, where: str) -> None:
    """Refuse a standing person whose up is not y.

    Raises:
        InputError: says which axis seems to be up.
    """
    extent = np.ptp(vertices.astype(np.float64), axis=0)
    if extent[1] < _UPRIGHT * extent.max():
        up = _AXES[int(extent.argmax())]
        raise InputError(
            f"{where}: a standing person must have y up: it is {extent[1]:.2f} m along y and {extent.max():.2f} m "
            f"along {up}, so that {up} seems to be up; turn it"
        )
