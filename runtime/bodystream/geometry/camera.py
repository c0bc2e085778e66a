"""The pinhole camera: x right, y down, z forward [m]; pixel centres at integers."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from bodystream.types import Array, CameraIntrinsics

__all__ = ["back_project", "back_project_pixels", "depth_edges", "nearest_pixels", "project", "sample_bilinear"]


def back_project(depth_m: Array, intrinsics: CameraIntrinsics) -> Array:
    """(H, W) depth [m] to the (H, W, 3) float32 point image; pixels without depth give the origin."""
    u = np.arange(intrinsics.width, dtype=np.float32)
    v = np.arange(intrinsics.height, dtype=np.float32)
    points = np.empty((*depth_m.shape, 3), np.float32)
    points[..., 0] = (u - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx) * depth_m
    points[..., 1] = ((v - np.float32(intrinsics.cy)) / np.float32(intrinsics.fy))[:, None] * depth_m
    points[..., 2] = depth_m
    return points


def back_project_pixels(pixels: Array, depth_m: Array, intrinsics: CameraIntrinsics) -> Array:
    """(P, 3) float32 points of (P, 2) pixels (u, v) with (P,) depth [m]: those of `back_project` there."""
    points = np.empty((len(pixels), 3), np.float32)
    for axis, (focal, centre) in enumerate(((intrinsics.fx, intrinsics.cx), (intrinsics.fy, intrinsics.cy))):
        points[:, axis] = (pixels[:, axis].astype(np.float32) - np.float32(centre)) / np.float32(focal) * depth_m
    points[:, 2] = depth_m
    return points


def project(points_camera: Array, intrinsics: CameraIntrinsics) -> Array:
    """(..., 3) points [m] to (..., 2) pixels (u, v); points with z <= 0 give nan."""
    z = points_camera[..., 2]
    safe = np.where(z > 0, z, np.nan)
    u = points_camera[..., 0] / safe * intrinsics.fx + intrinsics.cx
    v = points_camera[..., 1] / safe * intrinsics.fy + intrinsics.cy
    return np.stack([u, v], axis=-1)


def nearest_pixels(pixels: Array, intrinsics: CameraIntrinsics) -> tuple[Array, Array]:
    """The whole pixels that image points lie on.

    Args:
        pixels: (..., 2) image points (u, v) [px], as `project` gives them; nan lies on none.

    Returns:
        (..., 2) int64 pixels (u, v), (0, 0) for points outside of the image, and (...,) bool, which ones are inside.
    """
    at = np.floor(pixels + 0.5)
    inside = np.all((at >= 0) & (at < (intrinsics.width, intrinsics.height)), axis=-1)
    return np.where(inside[..., None], at, 0).astype(np.int64), inside


def sample_bilinear(image: Array, pixels: Array, valid: Array | None = None) -> tuple[Array, Array]:
    """Sample an (H, W[, C]) float image at (M, 2) pixels.

    Args:
        valid: (H, W) bool; a sample is good only when all four pixels around it are valid.

    Returns:
        (M[, C]) values (0 where not good) and (M,) bool good.
    """
    height, width = image.shape[:2]
    finite = np.all(np.isfinite(pixels), axis=1)
    uv = np.where(finite[:, None], pixels, -1.0)
    u0 = np.floor(uv[:, 0]).astype(np.int64)
    v0 = np.floor(uv[:, 1]).astype(np.int64)
    good = finite & (u0 >= 0) & (v0 >= 0) & (u0 < width - 1) & (v0 < height - 1)
    u0, v0 = np.where(good, u0, 0), np.where(good, v0, 0)
    if valid is not None:
        good &= valid[v0, u0] & valid[v0, u0 + 1] & valid[v0 + 1, u0] & valid[v0 + 1, u0 + 1]
    extra = (1,) * (image.ndim - 2)
    fu = (uv[:, 0] - u0).reshape(-1, *extra)
    fv = (uv[:, 1] - v0).reshape(-1, *extra)
    top = image[v0, u0] * (1 - fu) + image[v0, u0 + 1] * fu
    bottom = image[v0 + 1, u0] * (1 - fu) + image[v0 + 1, u0 + 1] * fu
    values = top * (1 - fv) + bottom * fv
    return np.where(good.reshape(-1, *extra), values, 0), good


def depth_edges(depth_m: Array, step_m: float) -> Array:
    """(H, W) bool: pixels with a jump larger than `step_m` or a hole among their 3x3 neighbours."""
    high = maximum_filter(depth_m, size=3, mode="nearest")
    low = minimum_filter(depth_m, size=3, mode="nearest")
    return high - low > step_m
