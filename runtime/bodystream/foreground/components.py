"""Pieces of surface that hang together in depth, and which of them are the body."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import KDTree

from bodystream.types import Array, CameraIntrinsics

__all__ = ["Component", "cut_at_jumps", "depth_jump", "label_components", "largest_body", "linked"]

_MAX_CONSIDERED = 24
_NOWHERE_M = 1e3  # depth of what is not looked at
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


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
    """(h, w) uint8, 0 or 255: candidates without the farther pixel of each neighbouring pair that a jump separates.

    What is left can be labelled with 4-connectivity: no two neighbours are of different surfaces.

    Args:
        depth_m: (h, w) float32 [m]. candidate: (h, w) uint8, 0 or 255; the others separate nothing.
    """
    z = np.full(depth_m.shape, _NOWHERE_M, np.float32)
    cv2.copyTo(depth_m, candidate, z)
    reach = depth_jump(z, base_m)
    reach += z
    # Farther than one of its neighbours reaches.
    return cv2.bitwise_and(candidate, cv2.compare(z, cv2.erode(reach, _CROSS), cv2.CMP_LE))


def label_components(
    depth_m: Array, connected: Array, intrinsics: CameraIntrinsics, min_area_m2: float
) -> tuple[Array, list[Component]]:
    """Label the coarse grid; components smaller than `min_area_m2` are left out of the list.

    Args:
        depth_m: (h, w) [m]; connected: (h, w) uint8, from `cut_at_jumps`.
        intrinsics: of the coarse grid.

    Returns:
        (h, w) int32 labels (0 = none), and at most 24 components, largest first.
    """
    count, labels = cv2.connectedComponents(connected, connectivity=4)
    cells = np.flatnonzero(connected != 0)
    label, z = labels.ravel()[cells], depth_m.ravel()[cells]
    # A pixel at z covers (z / f)^2.
    area = np.bincount(label, weights=z * z, minlength=count) / (intrinsics.fx * intrinsics.fy)
    order = np.argsort(-area, kind="stable")[:_MAX_CONSIDERED]
    found: list[Component] = []
    for which in order[(area[order] >= min_area_m2) & (area[order] > 0)]:
        own = np.flatnonzero(label == which)
        some = own[:: max(1, len(own) // 400)]
        rows, columns = np.divmod(cells[some], depth_m.shape[1])
        depth = z[some].astype(np.float64)
        points = np.stack(
            [(columns - intrinsics.cx) / intrinsics.fx * depth, (rows - intrinsics.cy) / intrinsics.fy * depth, depth],
            axis=1,
        )
        ranked = np.sort(points, axis=0)
        low, centre, high = (ranked[int(q * len(depth))] for q in (0.05, 0.5, 0.95))
        extent = float((high - low).max())
        found.append(Component(int(which), len(own), float(area[which]), float(centre[2]), centre, extent, points))
    return labels, found


def largest_body(
    depth_m: Array, mask: Array, intrinsics: CameraIntrinsics, jump_m: float = 0.04, link_m: float = 0.15
) -> Array:
    """(H, W) bool: the largest piece of a mask, and those that are near it; strays are left out.

    Args:
        depth_m: (H, W) [m]. mask: (H, W) bool.
    """
    connected = cut_at_jumps(depth_m, np.where(mask & (depth_m > 0.0), np.uint8(255), np.uint8(0)), jump_m)
    labels, found = label_components(depth_m, connected, intrinsics, 0.0)
    if not found:
        return np.zeros_like(mask)
    members = [found[0], *linked(found[:1], found[1:], link_m)]
    return np.isin(labels, [member.label for member in members])


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
