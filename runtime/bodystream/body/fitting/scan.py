"""A scan as a fit sees it: a few thousand points of its surface, evenly spread, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.checks import inward_volume, likely_unit
from bodystream.errors import InputError
from bodystream.geometry.normals import unit_normals, vertex_normals
from bodystream.types import Array, Mesh

__all__ = ["ScanPoints", "even_points", "scan_points"]

_FEWEST = 50
_SMALLEST_M, _LARGEST_M = 0.3, 3.2
"""Of what a scan of a person may extend to."""
_LIKELY_M = 0.8
_DENSE = 60_000
_POINTS = 4_000


@dataclass(frozen=True)
class ScanPoints:
    """A scan.

    Attributes:
        points: (N, 3) float64 all points, or vertices, that count [m]. faces: (F, 3) int32 of these, or none.
        chosen: (K, 3) those that are fitted to, evenly spread. normals: (K, 3) outward unit normals, None without.
        spacing_m: how far chosen ones are apart.
        notes: what was left out, for a person.
    """

    points: Array
    faces: Array
    chosen: Array
    normals: Array | None
    spacing_m: float
    notes: tuple[str, ...]


def scan_points(scan: Mesh, where: str = "the scan", count: int = _POINTS) -> ScanPoints:
    """Look at a scan: a mesh of any topology, with holes or not, or points without faces.

    Vertices that no face has and faces without an area count for nothing, and are told.

    Args:
        scan: its normals are used where it has no faces. count: about how many points are fitted to.

    Raises:
        InputError: it is empty, has a point that is not finite, a face that leads out of it, is not in metres, or is
            mirrored.
    """
    vertices, faces = np.asarray(scan.vertices, np.float64), np.asarray(scan.faces).reshape(-1, 3)
    if vertices.ndim != 2 or vertices.shape[1:] != (3,) or not len(vertices):
        raise InputError(f"{where} is empty: give a mesh of a person, or points on one")
    bad = ~np.isfinite(vertices).all(axis=1)
    if bad.any():
        raise InputError(f"{where}: vertex {int(bad.argmax())} is not finite ({int(bad.sum())} such): leave it out")
    notes: list[str] = []
    if len(faces):
        vertices, faces = _sound(vertices, faces, where, notes)
        normals: Array | None = vertex_normals(vertices, faces).astype(np.float64)
    else:
        normals = (
            None if scan.normals is None else unit_normals(np.asarray(scan.normals, np.float64)).astype(np.float64)
        )
    if len(vertices) < _FEWEST:
        raise InputError(f"{where} has {len(vertices)} points, at least {_FEWEST} are needed to fit a body to")
    _check_metres(vertices, where)
    points, dense, dense_normals = vertices, vertices, normals
    if len(faces) and len(vertices) < 4 * count:
        dense, dense_normals = _on_faces(vertices, faces, 4 * count)
    elif len(dense) > _DENSE:
        some = np.random.default_rng(0).choice(len(dense), _DENSE, replace=False)
        dense, dense_normals = dense[some], None if dense_normals is None else dense_normals[some]
    some = even_points(dense, count)
    chosen = dense[some]
    spacing = float(np.median(np.asarray(KDTree(chosen).query(chosen, k=2)[0])[:, 1]))
    kept = None if dense_normals is None else dense_normals[some]
    return ScanPoints(points, faces.astype(np.int32), chosen, kept, spacing, tuple(notes))


def _sound(vertices: Array, faces: Array, where: str, notes: list[str]) -> tuple[Array, Array]:
    """Vertices that faces have, and faces that have an area."""
    outside = ((faces < 0) | (faces >= len(vertices))).any(axis=1)
    if outside.any():
        face = int(outside.argmax())
        raise InputError(f"{where}: face {face} is {faces[face].tolist()}, and there are {len(vertices)} vertices")
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    flat = np.vecdot(cross, cross) <= 0.0
    if flat.all():
        raise InputError(f"{where}: none of its {len(faces)} faces has an area: give the points without faces")
    if flat.any():
        notes.append(f"{int(flat.sum())} faces without an area are left out, the first is face {int(flat.argmax())}")
    if (volume := inward_volume(vertices, faces)) is not None:
        raise InputError(
            f"{where} is mirrored, its faces look inwards (volume {volume:.3g} m^3): change the sign of one axis, or "
            "turn all faces where they were written the other way round"
        )
    faces = faces[~flat]
    used = np.zeros(len(vertices), bool)
    used[faces.ravel()] = True
    if not used.all():
        lonely = ~used
        notes.append(
            f"{int(lonely.sum())} vertices that no face has are left out, the first is vertex {int(lonely.argmax())}"
        )
    return vertices[used], (np.cumsum(used) - 1)[faces]


def _check_metres(points: Array, where: str) -> None:
    """Refuse what cannot be a person's extent, but for the few points that are far from all others."""
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    extent = float((high - low).max())
    if _SMALLEST_M <= extent <= _LARGEST_M:
        return
    likely = likely_unit(extent, _LIKELY_M, _LARGEST_M)
    seems = f", which seems to be in {likely}" if likely else ""
    raise InputError(
        f"{where} is {extent:.3g} wide or tall{seems}: give metres, and a person alone, who is {_SMALLEST_M} to "
        f"{_LARGEST_M}"
    )


def _on_faces(vertices: Array, faces: Array, count: int) -> tuple[Array, Array]:
    """(N, 3) points drawn evenly from the surface, and normals."""
    rng = np.random.default_rng(0)
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(cross, axis=1)
    face = rng.choice(len(faces), count, p=areas / areas.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    shares = np.stack([1.0 - u, u * (1.0 - v), u * v], axis=1)
    return np.einsum("nk,nki->ni", shares, corners[face]), cross[face] / areas[face, None]


def even_points(points: Array, count: int) -> Array:
    """Indices of about so many points, at most one in each cell of a grid."""
    if len(points) <= count:
        return np.arange(len(points))
    low, high = 1e-4, float(np.ptp(points, axis=0).max())
    best = np.arange(len(points))
    for _ in range(20):
        cell = np.sqrt(low * high)
        _, first = np.unique(np.floor((points - points.min(axis=0)) / cell).astype(np.int64), axis=0, return_index=True)
        if len(first) > count:
            low = cell
        else:
            high, best = cell, first
            if len(first) > 0.9 * count:
                break
    return np.sort(best)
