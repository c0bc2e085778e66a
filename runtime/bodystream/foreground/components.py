"""Pieces of surface that hang together in depth, and which of them are the body."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import KDTree

from bodystream.types import Array, CameraIntrinsics

__all__ = ["Component", "cut_at_jumps", "depth_jump", "label_components", "linked"]

_MAX_CONSIDERED = 24


def depth_jump(depth_m: Array, base_m: float) -> Array:
    """The difference of depth that separates two surfaces [m]; stereo and structured light noise grow with z^2."""
    return np.float32(base_m) + np.float32(0.01) * depth_m * depth_m


@dataclass(frozen=True, slots=True)
class Component:
    """One depth-connected piece on the coarse grid.

    Attributes:
        label: its value in the label image.
        pixels: on the coarse grid.
        area_m2: of its pixels, as if they faced the camera.
        depth_m: median depth.
        centre: (3,) median point [m].
        extent_m: largest side of its 5-95 % bounding box.
        points: (n, 3) some of its points, for distances.
    """

    label: int
    pixels: int
    area_m2: float
    depth_m: float
    centre: Array
    extent_m: float
    points: Array


def cut_at_jumps(depth_m: Array, candidate: Array, base_m: float) -> Array:
    """(h, w) bool: candidates without the farther pixel of each neighbouring pair that is separated by a jump.

    What is left can be labelled with 4-connectivity: no two neighbours are of different surfaces.
    """
    keep = candidate.copy()
    jump = depth_jump(depth_m, base_m)
    for axis in (0, 1):
        first = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        second = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        step = depth_m[second] - depth_m[first]
        limit = np.minimum(jump[first], jump[second])
        both = candidate[first] & candidate[second]
        keep[second] &= ~(both & (step > limit))
        keep[first] &= ~(both & (step < -limit))
    return keep


def label_components(
    depth_m: Array, connected: Array, intrinsics: CameraIntrinsics, min_area_m2: float
) -> tuple[Array, list[Component]]:
    """Label the coarse grid; components smaller than `min_area_m2` are left out of the list.

    Args:
        depth_m: (h, w) [m]; connected: (h, w) bool, from `cut_at_jumps`.
        intrinsics: of the coarse grid.

    Returns:
        (h, w) int32 labels (0 = none), and at most 24 components, largest first.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(connected.view(np.uint8), connectivity=4)
    flat = labels.ravel()
    squares = np.bincount(flat, weights=np.square(depth_m, dtype=np.float64).ravel(), minlength=count)
    area = squares / (intrinsics.fx * intrinsics.fy)  # a pixel at z covers (z / f)^2
    area[0] = 0
    order = np.argsort(-area, kind="stable")[:_MAX_CONSIDERED]
    found: list[Component] = []
    for label in order[area[order] >= min_area_m2]:
        x, y, width, height, pixels = (int(s) for s in stats[label])
        rows, columns = np.nonzero(labels[y : y + height, x : x + width] == label)
        stride = max(1, pixels // 400)
        rows, columns = rows[::stride] + y, columns[::stride] + x
        z = depth_m[rows, columns].astype(np.float64)
        points = np.stack(
            [(columns - intrinsics.cx) / intrinsics.fx * z, (rows - intrinsics.cy) / intrinsics.fy * z, z], axis=1
        )
        ranked = np.sort(points, axis=0)
        low, centre, high = (ranked[int(q * len(z))] for q in (0.05, 0.5, 0.95))
        extent = float((high - low).max())
        found.append(Component(int(label), pixels, float(area[label]), float(centre[2]), centre, extent, points))
    return labels, found


def linked(body: list[Component], others: list[Component], reach_m: float) -> list[Component]:
    """The others that come within `reach_m` of the body's components, directly or through one another."""
    members: list[Component] = []
    waiting, frontier = list(others), list(body)
    while frontier and waiting:
        tree = KDTree(np.concatenate([c.points for c in frontier]))
        near = [c for c in waiting if tree.query(c.points, distance_upper_bound=reach_m)[0].min() < reach_m]
        waiting = [c for c in waiting if c not in near]
        members.extend(near)
        frontier = near
    return members
