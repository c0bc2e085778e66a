"""Planes that bound the scene: the floor it stands on and the walls behind it.

A plane counts as background when it is wide, runs out of the image on at least two sides, and almost nothing is
measured behind it. That needs no assumption about how the camera is held, and a flat chest or a table is none: there is
a wall or floor behind it; nor is the back of a body that stands alone in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.types import Array

__all__ = ["BackgroundPlanes", "Plane", "PlaneCells", "fit_plane", "refine_plane"]

_HYPOTHESES = 80
_MAX_PLANES = 3
_MIN_SHARE = 0.06  # of all measured cells
_MAX_BEHIND = 0.03
_MIN_EXTENT_M = (1.1, 0.45)  # along its two axes: of the floor, a level camera often sees no more than a strip
_SEARCH_EVERY = 8
_STILL_M = 0.006  # a plane that moves by less from one frame to the next is refitted once
_STILL_COSINE = np.cos(np.radians(0.3))
_TOLERANCE_M = (0.012, 0.07)
_INITIAL_NOISE = 0.006  # [1/m], standard deviation over z^2: generous until it is measured


@dataclass(frozen=True, slots=True)
class Plane:
    """Points with `normal . p + offset_m == 0`; the camera is on the positive side.

    Attributes:
        normal: (3,) float64 unit vector.
        offset_m: distance of the camera.
        noise: standard deviation of the surface's measured distance over z^2 [1/m].
    """

    normal: Array
    offset_m: float
    noise: float

    def distance(self, points: Array) -> Array:
        """(..., 3) points to signed distances [m], positive towards the camera."""
        return points @ self.normal.astype(points.dtype) + points.dtype.type(self.offset_m)

    def tolerance(self, squared_depth: Array) -> Array:
        """How near to the plane a point at that depth, in m^2, cannot be told from it [m]."""
        scaled = squared_depth * np.float32(3 * self.noise)
        return np.clip(scaled, np.float32(_TOLERANCE_M[0]), np.float32(_TOLERANCE_M[1]), out=scaled)

    def in_front(self, depth_m: Array, ray_x: Array, ray_y: Array, margin_m: Array | None = None) -> Array:
        """Which pixels are on the camera's side of the plane by more than can be noise.

        Args:
            depth_m: (h, w) float32 [m]. ray_x: (w,), ray_y: (h,) float32, of the pixels' rays at a depth of 1.
            margin_m: (h, w), how much farther from it they must be.

        Returns:
            (h, w) uint8, 0 or 255.
        """
        normal = self.normal.astype(np.float32)
        distance = np.add.outer(ray_y * normal[1] + normal[2], ray_x * normal[0])
        distance *= depth_m
        limit = self.tolerance(depth_m * depth_m)
        limit -= np.float32(self.offset_m)
        if margin_m is not None:
            limit += margin_m
        return cv2.compare(distance, limit, cv2.CMP_GT)

    def stands_out(self, depth_m: Array, ray_x: Array, ray_y: Array) -> Array:
        """As `in_front`, for neighbouring pixels that say it together: their noise is half of one's.

        A foot so keeps what one pixel alone could not tell from the floor.
        """
        normal = self.normal.astype(np.float32)
        distance = np.add.outer(ray_y * normal[1] + normal[2], ray_x * normal[0])
        distance *= depth_m
        distance += np.float32(self.offset_m)
        together = cv2.blur(distance, (3, 3), borderType=cv2.BORDER_REPLICATE)
        limit = np.maximum(self.tolerance(depth_m * depth_m) * np.float32(0.5), np.float32(_TOLERANCE_M[0]))
        return cv2.bitwise_and(
            cv2.compare(together, limit, cv2.CMP_GT), cv2.compare(distance, np.float32(0.5) * limit, cv2.CMP_GT)
        )


def fit_plane(points: Array) -> tuple[Array, float] | None:
    """Least squares plane of (n, 3) points, each weighted by 1 / z^2 (the inverse deviation of its depth).

    Returns:
        (3,) unit normal and offset with the camera on the positive side; None for fewer than 3 points or a plane
        through the camera.
    """
    if len(points) < 3:
        return None
    p = points.astype(np.float64)
    weight = 1.0 / np.maximum(p[:, 2], 0.1) ** 4
    centre = weight @ p / weight.sum()
    q = p - centre
    normal = np.linalg.eigh((q * weight[:, None]).T @ q)[1][:, 0]
    offset = -float(normal @ centre)
    if abs(offset) < 1e-3:
        return None
    return (normal, offset) if offset > 0 else (-normal, -offset)


@dataclass(frozen=True, slots=True)
class PlaneCells:
    """The measured cells of one frame.

    Attributes:
        points: (n, 3) float32 [m]. squared: (n,) of their depth [m^2].
        sides: (n, 4) bool: within a tenth of the image of its left, right, top, bottom side. Not at the side itself:
            registered depth images have an empty frame around them.
    """

    points: Array
    squared: Array
    sides: Array

    @classmethod
    def of(cls, points: Array, measured: Array) -> PlaneCells:
        """Those of a coarse point image (h, w, 3) where `measured` (h, w) is true."""
        p = points[measured]
        rows, columns = np.nonzero(measured)
        height, width = measured.shape
        sides = [columns < 0.1 * width, columns >= 0.9 * width, rows < 0.1 * height, rows >= 0.9 * height]
        return cls(p, p[:, 2] ** 2, np.stack(sides, axis=1))


class BackgroundPlanes:
    """Finds bounding planes and follows them over frames.

    Args:
        seed: of the random hypotheses; the same frames give the same planes.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget all planes."""
        self.planes: list[Plane] = []
        self._until_search = 0
        self._random = np.random.default_rng(self._seed)

    def step(self, points: Array, measured: Array) -> list[Plane]:
        """Update with one coarse point image.

        Args:
            points: (h, w, 3) float32 [m], a few thousand cells.
            measured: (h, w) bool.

        Returns:
            The planes, widest first.
        """
        cells = PlaneCells.of(points, measured)
        if len(cells.points) < 50:
            return self.planes
        self._until_search -= 1
        search = self._until_search < 0
        kept: list[Plane] = []
        free = np.ones(len(cells.points), bool)
        for plane in self.planes:
            # How far it reaches changes slowly: that is looked at when planes are searched for.
            followed = _follow(plane, cells, free, thorough=search)
            if followed is not None:
                refined, distance = followed
                kept.append(refined)
                free &= distance > refined.tolerance(cells.squared)
        if search or len(kept) < len(self.planes):
            self._until_search = _SEARCH_EVERY
            hypotheses = self._hypotheses(points, measured)
            while len(kept) < _MAX_PLANES:
                found = _search(hypotheses, cells, free)
                if found is None:
                    break
                kept.append(found)
                free &= found.distance(cells.points) > found.tolerance(cells.squared)
        self.planes = kept
        return kept

    def _hypotheses(self, points: Array, measured: Array, reach: int = 2) -> Array:
        """(n, 4) planes, normal and offset, from differences over `reach` cells at random places."""
        r = reach
        if min(measured.shape) <= 2 * r:
            return np.zeros((0, 4), np.float32)
        centre = points[r:-r, r:-r]
        right, left = points[r:-r, 2 * r :], points[r:-r, : -2 * r]
        down, up = points[2 * r :, r:-r], points[: -2 * r, r:-r]
        good = measured[r:-r, r:-r] & measured[r:-r, 2 * r :] & measured[r:-r, : -2 * r]
        good &= measured[2 * r :, r:-r] & measured[: -2 * r, r:-r]
        rows, columns = np.nonzero(good)
        if len(rows) == 0:
            return np.zeros((0, 4), np.float32)
        # Half of the draws from the lower third: the floor fills few cells there, and walls are found anyway.
        lower = np.nonzero(rows >= (2 * good.shape[0]) // 3)[0]
        anywhere = self._random.integers(0, len(rows), _HYPOTHESES)
        pick = anywhere
        if len(lower):
            pick = np.concatenate([anywhere[::2], lower[self._random.integers(0, len(lower), _HYPOTHESES // 2)]])
        i, j = rows[pick], columns[pick]
        normal = np.cross(right[i, j] - left[i, j], down[i, j] - up[i, j])
        length = np.linalg.norm(normal, axis=1)
        usable = length > 1e-9
        normal = normal[usable] / length[usable, None]
        offset = -np.einsum("ij,ij->i", normal, centre[i, j][usable])
        sign = np.where(offset < 0, -1.0, 1.0)
        return np.concatenate([normal * sign[:, None], (offset * sign)[:, None]], axis=1).astype(np.float32)


def _search(hypotheses: Array, cells: PlaneCells, free: Array) -> Plane | None:
    """The bounding plane with most free inliers among the hypotheses, refined; None if none qualifies."""
    count = len(cells.points)
    if len(hypotheses) == 0 or np.count_nonzero(free) < _MIN_SHARE * count:
        return None
    some, squared = cells.points[::3], cells.squared[::3]
    distance = hypotheses[:, :3] @ some.T + hypotheses[:, 3:]  # (hypotheses, some cells)
    near = np.float32(0.02) + np.float32(0.01) * squared
    support = np.count_nonzero((np.abs(distance) < near) & free[::3], axis=1)
    behind = np.count_nonzero(distance < -2 * near, axis=1)
    # A rough hypothesis tilts through the scene, so this only ranks; the refined plane is judged below.
    ranked = np.argsort(behind // 2 - support, kind="stable")[:5]
    best: Plane | None = None
    best_support = 0
    for h in ranked:
        rough = Plane(hypotheses[h, :3].astype(np.float64), float(hypotheses[h, 3]), _INITIAL_NOISE)
        refined = refine_plane(rough, cells, free, rounds=4)
        if refined is None:
            continue
        distance = _bounds_scene(refined, cells, free, thorough=True)
        if distance is None:
            continue
        inliers = int(np.count_nonzero((np.abs(distance) < refined.tolerance(cells.squared)) & free))
        if inliers > best_support and inliers >= _MIN_SHARE * count:
            best, best_support = refined, inliers
    return best


def refine_plane(plane: Plane, cells: PlaneCells, free: Array, rounds: int) -> Plane | None:
    """Refit to the inliers among the free cells, and measure the noise of those."""
    for _ in range(rounds):
        near = np.clip(cells.squared * np.float32(4 * plane.noise), np.float32(0.02), np.float32(0.10))
        inside = np.flatnonzero((np.abs(plane.distance(cells.points)) < near) & free)
        p = cells.points[inside]
        fitted = fit_plane(p)
        if fitted is None:
            return None
        plane = Plane(fitted[0], fitted[1], plane.noise)
        spread = 1.4826 * float(np.median(np.abs(plane.distance(p)) / cells.squared[inside]))
        plane = Plane(plane.normal, plane.offset_m, min(max(spread, 0.0005), _INITIAL_NOISE))
    return plane


def _follow(plane: Plane, cells: PlaneCells, free: Array, thorough: bool) -> tuple[Plane, Array] | None:
    """The plane in the next frame, with the distances of all cells [m]; None where it is gone."""
    refined = refine_plane(plane, cells, free, rounds=1)
    moved = refined is None or abs(refined.offset_m - plane.offset_m) > _STILL_M
    if refined is not None and not moved and refined.normal @ plane.normal > _STILL_COSINE:
        distance = _bounds_scene(refined, cells, free, thorough)
        if distance is not None:
            return refined, distance
    # The camera moved by more than noise: the fit above saw a part of the plane only.
    refined = refine_plane(Plane(plane.normal, plane.offset_m, _INITIAL_NOISE), cells, free, rounds=4)
    distance = None if refined is None else _bounds_scene(refined, cells, free, thorough)
    return None if refined is None or distance is None else (refined, distance)


def _bounds_scene(plane: Plane, cells: PlaneCells, free: Array, thorough: bool) -> Array | None:
    """(n,) distances [m] of all cells from a plane that has enough cells that no other plane has, bounds the scene and,
    looked at thoroughly, is wide and runs out of the image; None of another one."""
    count = len(cells.points)
    distance = plane.distance(cells.points)
    tolerance = plane.tolerance(cells.squared)
    inside = (np.abs(distance) < tolerance) & free
    if np.count_nonzero(inside) < _MIN_SHARE * count:
        return None
    if np.count_nonzero(distance < -2 * tolerance) > _MAX_BEHIND * count:
        return None
    if not thorough:
        return distance
    if (np.count_nonzero(cells.sides[inside], axis=0) >= 4).sum() < 2:
        return None
    flat = cells.points[inside][::2].astype(np.float64)
    axes = np.linalg.eigh(np.cov(flat.T))[1]
    spread = np.sort(flat @ axes[:, 1:], axis=0)
    extent = np.sort(spread[int(0.97 * len(spread))] - spread[int(0.03 * len(spread))])
    return distance if extent[1] >= _MIN_EXTENT_M[0] and extent[0] >= _MIN_EXTENT_M[1] else None
