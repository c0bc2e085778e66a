"""Flat pieces of cloth: polygons cut into even triangles, and sewn together along their seams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay

from bodystream.types import Array

__all__ = ["Panel", "SewnCloth", "sew"]

_CLEARANCE = 0.62
"""How far inner vertices keep from the outline, in lengths of an edge."""
_RELAXATIONS = 12
_SAME_M = 1e-6


@dataclass(frozen=True, slots=True)
class Panel:
    """One piece, in front of the body or behind it.

    Attributes:
        outline: (N, 2) corners in order, x to the body's right and y up, in the plane of the canonical pose [m].
        seams: (N,) whether the edge from each corner to the next is sewn to the other side's, or open.
        front: whether it lies in front.
    """

    outline: Array
    seams: tuple[bool, ...]
    front: bool


@dataclass(frozen=True, slots=True)
class SewnCloth:
    """Panels that share the vertices of their seams.

    Attributes:
        flat: (V, 2) where each vertex is in its flat piece [m].
        side: (V,) -1 in front, 1 behind, 0 on a seam.
        bulge: (V,) how far each would stand off the plane if the pieces were blown up to round tubes [m].
        faces: (F, 3) int32, counter-clockwise from outside once it is blown up.
    """

    flat: Array
    side: Array
    bulge: Array
    faces: Array


def sew(panels: Sequence[Panel], spacing_m: float) -> SewnCloth:
    """Triangulate panels and join them where their seams coincide.

    Raises:
        ValueError: an outline that crosses itself or is finer than the spacing: a mistake in a pattern.
    """
    points: list[Array] = []
    sides: list[Array] = []
    bulges: list[Array] = []
    faces: list[Array] = []
    count = 0
    for panel in panels:
        flat, on_seam, triangles = _triangulated(panel, spacing_m)
        points.append(flat)
        sides.append(np.where(on_seam, 0, -1 if panel.front else 1))
        bulges.append(_bulge(flat, on_seam, triangles, spacing_m))
        # Seen from ahead (against z), x runs to the left: counter-clockwise in x, y is outwards behind the body.
        faces.append(count + (triangles[:, ::-1] if panel.front else triangles))
        count += len(flat)
    flat, side, bulge = np.concatenate(points), np.concatenate(sides), np.concatenate(bulges)
    keys = np.column_stack([np.round(flat / _SAME_M).astype(np.int64), side])
    # On a seam, the same place is the same vertex; elsewhere, front and back are apart already by their side.
    keys[side != 0, 2] = np.flatnonzero(side != 0) + 10
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of the pieces, whatever the keys are
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept = first[order]
    merged = rank[inverse.reshape(-1)][np.concatenate(faces)]
    return SewnCloth(flat[kept], side[kept], bulge[kept], merged.astype(np.int32))


def _triangulated(panel: Panel, spacing_m: float) -> tuple[Array, Array, Array]:
    """(V, 2) points, (V,) whether on a seam, and (F, 3) triangles counter-clockwise in x, y."""
    corners = np.asarray(panel.outline, np.float64)
    border: list[Array] = []
    seam: list[Array] = []
    for start, end, sewn, before in zip(
        corners, np.roll(corners, -1, axis=0), panel.seams, np.roll(panel.seams, 1), strict=True
    ):
        steps = max(1, round(float(np.linalg.norm(end - start)) / spacing_m))
        border.append(_divided(start, end, steps)[:-1])
        flags = np.full(steps, sewn)
        flags[0] = sewn or before
        seam.append(flags)
    outline, on_seam = np.concatenate(border), np.concatenate(seam)
    inner = _inner_points(outline, spacing_m)
    points = np.concatenate([outline, inner])
    triangles = _inside_triangles(points, outline)
    for _ in range(_RELAXATIONS):
        smooth = _neighbour_mean(points, triangles)
        points[len(outline) :] = smooth[len(outline) :]
        triangles = _inside_triangles(points, outline)
    rim = {(i, (i + 1) % len(outline)) for i in range(len(outline))}
    edges = {tuple(e) for e in np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])}
    if not all(edge in edges or edge[::-1] in edges for edge in rim):
        raise ValueError(f"a pattern's outline {corners.round(3).tolist()} is too fine for edges of {spacing_m} m")
    return points, np.concatenate([on_seam, np.zeros(len(inner), bool)]), triangles


def _divided(start: Array, end: Array, steps: int) -> Array:
    """(steps + 1, 2) points of an edge, the same bits whichever end it is walked from."""
    swap = tuple(start) > tuple(end)
    low, high = (end, start) if swap else (start, end)
    part = np.linspace(0.0, 1.0, steps + 1)[:, None]
    walked = low + part * (high - low)
    return walked[::-1] if swap else walked


def _inner_points(outline: Array, spacing_m: float) -> Array:
    low, high = outline.min(axis=0), outline.max(axis=0)
    row_m = spacing_m * np.sqrt(0.75)
    rows = np.arange(low[1], high[1] + row_m, row_m)
    columns = np.arange(np.floor(low[0] / spacing_m), np.ceil(high[0] / spacing_m) + 1) * spacing_m
    grid = np.array([(x + (i % 2) * spacing_m / 2, y) for i, y in enumerate(rows) for x in columns])
    inside = _contains(outline, grid)
    return grid[inside & (_distance(outline, grid) > _CLEARANCE * spacing_m)]


def _contains(outline: Array, points: Array) -> Array:
    """(N,) whether points lie in a polygon, by the number of edges to their right."""
    start, end = outline[None], np.roll(outline, -1, axis=0)[None]
    p = points[:, None]
    spans = (start[..., 1] > p[..., 1]) != (end[..., 1] > p[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (p[..., 1] - start[..., 1]) / (end[..., 1] - start[..., 1])
    right = p[..., 0] < start[..., 0] + part * (end[..., 0] - start[..., 0])
    return (spans & right).sum(axis=1) % 2 == 1


def _distance(outline: Array, points: Array) -> Array:
    """(N,) from points to a polygon's outline [m]."""
    start, along = outline[None], (np.roll(outline, -1, axis=0) - outline)[None]
    from_start = points[:, None] - start
    part = np.clip((from_start * along).sum(-1) / (along * along).sum(-1), 0.0, 1.0)
    return np.linalg.norm(from_start - part[..., None] * along, axis=-1).min(axis=1)


def _inside_triangles(points: Array, outline: Array) -> Array:
    """(F, 3) of Delaunay's triangles those whose middle lies in the outline."""
    triangles = Delaunay(points).simplices
    triangles = triangles[_contains(outline, points[triangles].mean(axis=1))]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    twice = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles = np.where((twice < 0)[:, None], triangles[:, ::-1], triangles)
    return triangles[np.abs(twice) > 1e-9]


def _adjacency(triangles: Array, count: int) -> coo_array:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    return coo_array((np.ones(len(both)), both.T), shape=(count, count))


def _neighbour_mean(points: Array, triangles: Array) -> Array:
    near = _adjacency(triangles, len(points)).tocsr()
    degree = np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1.0)
    return (near @ points) / degree[:, None]


def _bulge(flat: Array, on_seam: Array, triangles: Array, spacing_m: float) -> Array:
    """(V,) [m]: the root of the solution u of -div grad u = 2 that is zero on seams and level across open edges.

    Between two parallel seams that is a half circle; where tubes meet it is smooth.
    """
    near = _adjacency(triangles, len(flat)).tocsr()
    degree = np.asarray(near.sum(axis=1)).ravel()
    free = ~on_seam
    # On an even triangular lattice, the sum of differences to the six neighbours is 3/2 h^2 times the Laplacian.
    right = 3.0 * spacing_m**2 * degree / 6.0
    matrix = csc_array(diags_array(degree) - near)[free][:, free]
    out = np.zeros(len(flat))
    out[free] = np.sqrt(np.maximum(splu(matrix).solve(right[free]), 0.0))
    return out
