"""Deformation and geometry error of a reconstruction, as the DeepDeform benchmark defines them (Bozic et al., 2020).

A reconstruction is a list of vertices that are the same material points in each frame. The definitions are those of
the benchmark's own evaluation; the code is not.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.camera import back_project, nearest_pixels
from bodystream.types import Array, CameraIntrinsics

__all__ = ["MAX_ERROR_M", "annotated_points", "deformation_errors_m", "geometry_errors_m", "solid", "visible_points"]

MAX_ERROR_M = 0.30
"""What counts where there is no surface; the mean of a segment counts for no more, either."""
# The outlines of masks and depth are not to be trusted: pixels nearer to them do not count.
_DEFORMATION_RIM_PX, _GEOMETRY_RIM_PX = 2, 5
# A match without depth takes that of the nearest pixel which is at most so far off, along either axis.
_SEARCH_PX = 3
# A point follows so many vertices; the next one says how far their influence reaches.
_NEIGHBOURS = 5


def solid(depth_m: Array, mask: Array, rim_px: int) -> Array:
    """(H, W) bool: masked pixels with depth all of whose neighbours within `rim_px` are, too; the image has a rim.

    Raises:
        InputError: a mask of another size.
    """
    if mask.shape != depth_m.shape:
        raise InputError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]}, but the depth is {depth_m.shape[1]}x{depth_m.shape[0]}: "
            "they must have the same pixels"
        )
    inside = _measured(depth_m, mask).astype(np.uint8)
    inside[[0, -1]] = 0
    inside[:, [0, -1]] = 0
    kernel = np.ones((2 * rim_px + 1, 2 * rim_px + 1), np.uint8)
    return cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)


def _measured(depth_m: Array, mask: Array) -> Array:
    return mask & np.isfinite(depth_m) & (depth_m > 0)


def annotated_points(pixels: Array, depth_m: Array, mask: Array, intrinsics: CameraIntrinsics) -> tuple[Array, Array]:
    """Where annotated pixels are in space.

    Args:
        pixels: (M, 2) (u, v), within the image. depth_m: (H, W) [m], 0 or not finite = none. mask: (H, W) bool.

    Returns:
        (M, 3) float64 points in the camera's frame [m], those of the nearest pixel with depth; and (M,) bool, whether
        the pixel counts: in the mask, with depth, and not at their outline.

    Raises:
        InputError: a mask of another size, or a pixel outside of the image.
    """
    at, inside = nearest_pixels(pixels, intrinsics)
    if not inside.all():
        u, v = pixels[np.flatnonzero(~inside)[0]]
        raise InputError(
            f"pixel ({u:g}, {v:g}) is annotated, outside of the {depth_m.shape[1]}x{depth_m.shape[0]} image"
        )
    counts = solid(depth_m, mask, _DEFORMATION_RIM_PX)[at[:, 1], at[:, 0]]
    measured = _measured(depth_m, mask)
    points = np.zeros((len(at), 3))
    images = back_project(np.where(measured, depth_m, 0).astype(np.float32), intrinsics)
    for i in np.flatnonzero(counts):
        u, v = at[i]
        top, left = max(0, v - _SEARCH_PX), max(0, u - _SEARCH_PX)
        rows, columns = np.nonzero(measured[top : v + _SEARCH_PX + 1, left : u + _SEARCH_PX + 1])
        nearest = np.argmin((rows + top - v) ** 2 + (columns + left - u) ** 2)
        points[i] = images[rows[nearest] + top, columns[nearest] + left]
    return points, counts


def deformation_errors_m(points: Array, targets: Array, vertices: Array, vertices_later: Array) -> Array:
    """(M,) distance between where the surface carries annotated points and where people saw them [m].

    A point goes with its five nearest vertices, with weights (1 - d / d_6)^2 that sum to one, d_6 being the distance
    of the sixth.

    Args:
        points, targets: (M, 3) of a match in the source and in the target frame [m].
        vertices, vertices_later: (V, 3) of the surface in the two frames [m], in the same order.

    Raises:
        InputError: the surfaces are not one.
    """
    if vertices.shape != vertices_later.shape:
        raise InputError(
            f"the surface has {len(vertices)} vertices in the source frame and {len(vertices_later)} in the target: "
            "its vertices must be the same points in both"
        )
    if len(vertices) <= _NEIGHBOURS:
        return np.full(len(points), MAX_ERROR_M)
    distance, nearest = KDTree(vertices).query(points, k=_NEIGHBOURS + 1)
    reach = distance[:, -1:]
    weight = np.where(reach > 0, 1.0 - distance[:, :-1] / np.where(reach > 0, reach, 1.0), 0.0) ** 2
    total = weight.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 1.0 / _NEIGHBOURS)
    carried = np.einsum("mk,mki->mi", weight, vertices_later[np.asarray(nearest)[:, :-1]].astype(np.float64))
    return np.linalg.norm(carried - targets, axis=1)


def visible_points(depth_m: Array, mask: Array, intrinsics: CameraIntrinsics) -> Array:
    """(P, 3) points of the masked depth that a reconstruction is compared with [m], without those at its outline.

    Raises:
        InputError: a mask of another size.
    """
    counts = solid(depth_m, mask, _GEOMETRY_RIM_PX)
    return back_project(np.where(counts, depth_m, 0).astype(np.float32), intrinsics)[counts]


def geometry_errors_m(points: Array, vertices: Array) -> Array:
    """(P,) distance of measured points to the nearest vertex [m]; `MAX_ERROR_M` where there is none."""
    if len(vertices) == 0:
        return np.full(len(points), MAX_ERROR_M)
    distance, _ = KDTree(vertices).query(points)
    return np.asarray(distance)
