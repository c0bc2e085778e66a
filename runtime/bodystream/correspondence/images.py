"""The one-channel images that correspondence is searched in."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["ImageKind", "matching_image", "shade_normals"]

ImageKind = Literal["colour", "depth", "both"]

_LIGHT = np.array([-0.45, -0.55, -0.70])  # towards the light: beside and above the camera, so that no slope is unlit
_HOLE = 64  # grey of pixels without depth: darker than almost any lit surface, so that silhouettes are edges


def shade_normals(depth_m: Array, intrinsics: CameraIntrinsics, *, radius_px: int = 2) -> Array:
    """A depth image lit from one side: texture for matching where there is no colour.

    Depth is smoothed by a box filter normalised by the measured pixels (holes neither spread nor pull), normals come
    from central differences, and shade = 128 + 127 n.l for a light fixed to the camera.

    Args:
        depth_m: (H, W) float32 [m], 0 = none.
        intrinsics: of these pixels.
        radius_px: of the box filter.

    Returns:
        (H, W) uint8; a constant where there is no depth.
    """
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    measured = (depth_m > 0).astype(np.float32)
    count = cv2.blur(measured, size)
    smooth = cv2.blur(depth_m, size)
    np.divide(smooth, count, out=smooth, where=count > 1e-6)
    # With z(u, v) on a pinhole camera the normal is parallel to (fx z_u, fy z_v, -(z + (u-cx) z_u + (v-cy) z_v)).
    # The kernel is (-1, 0, 1) / 2.
    z_u = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    z_v = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    u = np.arange(depth_m.shape[1], dtype=np.float32) - np.float32(intrinsics.cx)
    v = np.arange(depth_m.shape[0], dtype=np.float32)[:, None] - np.float32(intrinsics.cy)
    n_z = -(smooth + u * z_u + v * z_v)
    n_x = z_u * np.float32(intrinsics.fx)
    n_y = z_v * np.float32(intrinsics.fy)
    length = cv2.sqrt(n_x * n_x + n_y * n_y + n_z * n_z)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    lit = n_x * np.float32(light[0]) + n_y * np.float32(light[1]) + n_z * np.float32(light[2])
    np.divide(lit, length, out=lit, where=length > 1e-9)
    shade = cv2.convertScaleAbs(np.clip(lit, -1, 1, out=lit), alpha=127.0, beta=128.0)
    shade[depth_m <= 0] = _HOLE
    return shade


def matching_image(frame: RgbdFrame, kind: ImageKind = "colour", *, window: tuple[slice, slice] | None = None) -> Array:
    """The uint8 image of a frame to search in.

    Args:
        kind: `colour` is its luminance, `depth` the shaded normals, `both` their mean. A frame without colour gives
            the shaded normals whatever was asked for: there is nothing else.
        window: rows and columns to compute, the whole image if None.

    Returns:
        (H, W) or the window's size.
    """
    rows, columns = (slice(None), slice(None)) if window is None else window
    grey = shade = None
    if frame.colour is not None and kind != "depth":
        grey = cv2.cvtColor(frame.colour[rows, columns], cv2.COLOR_RGB2GRAY)
    if grey is None or kind == "both":
        shade = shade_normals(frame.depth_m[rows, columns], frame.intrinsics.cropped(rows, columns))
    if grey is None:
        assert shade is not None
        return shade
    return grey if shade is None else cv2.addWeighted(grey, 0.5, shade, 0.5, 0.0)
