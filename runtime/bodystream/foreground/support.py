"""What a small thing stands on: a table's top belongs to no background, and yet is not the thing."""

from __future__ import annotations

import numpy as np

from bodystream.foreground.planes import Plane, PlaneCells, refine_plane
from bodystream.types import Array

__all__ = ["find_support", "follow_support"]

_AROUND_M = 0.6  # how far about the thing is looked
_MOST_CELLS = 4000
_HYPOTHESES = 120
_REACH = 3  # cells over which a slope is measured
_MIN_SHARE = 0.3  # of the piece about the thing
_MAX_BEHIND = 0.12  # of it, such as the table's legs
_MIN_EXTENT_M = (0.25, 0.12)
_CLEAR_M = 0.02  # the thing's seed is farther than this above it
_ROUGH_NOISE = 0.002
_MOST_NOISE = 0.003  # [1/m]; what is rougher is curved: a chest and arms are a plane of a kind, too
_LEAST_CELLS = 60


def find_support(points: Array, piece: Array, at: Array) -> Plane | None:
    """The plane that a thing stands on or leans against, within one piece of surface.

    It holds much of the piece, is wider than a small thing, and has next to nothing of the piece behind it.

    Args:
        points: (h, w, 3) float32 [m]. piece: (h, w) bool, what hangs together. at: (3,) a point of the thing.

    Returns:
        The plane; None where the piece is no thing on a plane.
    """
    near = piece & (np.linalg.norm(points - at.astype(np.float32), axis=2) < np.float32(_AROUND_M))
    count = np.count_nonzero(near)
    stride = max(1, int(np.sqrt(count / _MOST_CELLS)))
    points, near = points[::stride, ::stride], near[::stride, ::stride]
    hypotheses = _hypotheses(points, near, at)
    if len(hypotheses) == 0:
        return None
    cells = PlaneCells.of(points, near)
    some = cells.points[::2]
    distance = hypotheses[:, :3] @ some.T + hypotheses[:, 3:]
    support = np.count_nonzero(np.abs(distance) < np.float32(0.015), axis=1)
    free = np.ones(len(cells.points), bool)
    best: Plane | None = None
    most = _MIN_SHARE * len(free)
    for h in np.argsort(-support, kind="stable")[:5]:
        rough = Plane(hypotheses[h, :3].astype(np.float64), float(hypotheses[h, 3]), _ROUGH_NOISE)
        plane = refine_plane(rough, cells, free, rounds=3)
        inliers = 0 if plane is None else _held(plane, cells, at)
        if plane is not None and inliers > most:
            best, most = plane, inliers
    return best


def follow_support(plane: Plane, points: Array, measured: Array, at: Array) -> Plane | None:
    """The same plane in the next frame, from what is measured about the thing; None where it is not seen any more.

    Args:
        points: (h, w, 3) float32 [m]. measured: (h, w) bool. at: (3,) where the thing was.
    """
    near = measured & (np.linalg.norm(points - at.astype(np.float32), axis=2) < np.float32(_AROUND_M))
    if np.count_nonzero(near) < _LEAST_CELLS:
        return None
    cells = PlaneCells.of(points, near)
    refined = refine_plane(plane, cells, np.ones(len(cells.points), bool), rounds=1)
    if refined is None:
        return None
    inside = np.abs(refined.distance(cells.points)) < refined.tolerance(cells.squared)
    return refined if np.count_nonzero(inside) >= _LEAST_CELLS else None


def _hypotheses(points: Array, near: Array, at: Array) -> Array:
    """(n, 4) planes, normal and offset, from slopes at places of the piece; the thing is before all of them."""
    r = _REACH
    if min(near.shape) <= 2 * r:
        return np.zeros((0, 4), np.float32)
    good = near[r:-r, r:-r] & near[r:-r, 2 * r :] & near[r:-r, : -2 * r] & near[2 * r :, r:-r] & near[: -2 * r, r:-r]
    rows, columns = np.nonzero(good)
    if len(rows) == 0:
        return np.zeros((0, 4), np.float32)
    pick = np.linspace(0, len(rows) - 1, min(_HYPOTHESES, len(rows))).astype(int)
    i, j = rows[pick] + r, columns[pick] + r
    normal = np.cross(points[i, j + r] - points[i, j - r], points[i + r, j] - points[i - r, j])
    length = np.linalg.norm(normal, axis=1)
    usable = length > 1e-9
    normal = normal[usable] / length[usable, None]
    offset = -np.einsum("ij,ij->i", normal, points[i, j][usable])
    sign = np.where(offset < 0, -1.0, 1.0)
    planes = np.concatenate([normal * sign[:, None], (offset * sign)[:, None]], axis=1).astype(np.float32)
    return planes[planes[:, :3] @ at.astype(np.float32) + planes[:, 3] > _CLEAR_M]


def _held(plane: Plane, cells: PlaneCells, at: Array) -> int:
    """How many cells lie on the plane; 0 where it is none that a thing stands on."""
    distance, tolerance = plane.distance(cells.points), plane.tolerance(cells.squared)
    if plane.noise > _MOST_NOISE or plane.distance(at[None].astype(np.float64))[0] <= _CLEAR_M:
        return 0
    inside = np.abs(distance) < tolerance
    if np.count_nonzero(distance < -2 * tolerance) > _MAX_BEHIND * len(distance) or np.count_nonzero(inside) < 20:
        return 0
    flat = cells.points[inside].astype(np.float64)
    axes = np.linalg.eigh(np.cov(flat.T))[1]
    spread = np.sort(flat @ axes[:, 1:], axis=0)
    extent = np.sort(spread[int(0.97 * len(spread))] - spread[int(0.03 * len(spread))])
    wide = extent[1] >= _MIN_EXTENT_M[0] and extent[0] >= _MIN_EXTENT_M[1]
    return int(np.count_nonzero(inside)) if wide else 0
