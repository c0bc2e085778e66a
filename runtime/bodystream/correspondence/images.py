"""The one-channel images that correspondence is searched in."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["ImageKind", "SearchedFrame", "matching_image", "pixel_grid", "shade_normals"]

ImageKind = Literal["colour", "depth", "both"]

_LIGHT = np.array([-0.45, -0.55, -0.70])  # towards the light: beside and above the camera, so that no slope is unlit
_HOLE = 64  # grey of pixels without depth: darker than almost any lit surface, so that silhouettes are edges


@lru_cache(maxsize=8)
def pixel_grid(height: int, width: int) -> Array:
    """(height, width, 2) float32, column and row of each pixel; it must not be written to."""
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.ascontiguousarray(np.stack([u, v], axis=2))
    grid.setflags(write=False)
    return grid


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


def matching_image(frame: RgbdFrame, kind: ImageKind = "colour") -> Array:
    """The uint8 image of a frame to search in.

    Args:
        kind: `colour` is its luminance, `depth` the shaded normals, `both` their mean. A frame without colour gives
            the shaded normals whatever was asked for: there is nothing else.

    Returns:
        (H, W).
    """
    grey = shade = None
    if frame.colour is not None and kind != "depth":
        grey = cv2.cvtColor(frame.colour, cv2.COLOR_RGB2GRAY)
    if grey is None or kind == "both":
        shade = shade_normals(frame.depth_m, frame.intrinsics)
    if grey is None:
        assert shade is not None
        return shade
    return grey if shade is None else cv2.addWeighted(grey, 0.5, shade, 0.5, 0.0)


class SearchedFrame:
    """A frame as it is searched: whole, or reduced to 1 / downscale of its size.

    Attributes:
        frame: the frame itself. depth_m: (h, w) float32. intrinsics: of these pixels.
    """

    def __init__(self, frame: RgbdFrame, downscale: int) -> None:
        self.frame = frame
        self._downscale = k = downscale
        self._small = frame
        self._images: dict[ImageKind, Array] = {}
        if k > 1:
            height, width = (n // k for n in frame.depth_m.shape)
            # Flow is found in averaged colours, so their camera counts. The depth is that of one pixel of the area,
            # half a pixel of the full image aside: both ends of a cycle are off alike, and weights change by less
            # than 1e-6.
            intrinsics = frame.intrinsics.cropped(slice(0, height * k), slice(0, width * k)).scaled(1 / k)
            colour = frame.colour
            if colour is not None:
                colour = cv2.resize(colour[: height * k, : width * k], (width, height), interpolation=cv2.INTER_AREA)
            self._small = RgbdFrame(frame.index, frame.t_ns, self.thin(frame.depth_m), intrinsics, colour)
        self.depth_m, self.intrinsics = self._small.depth_m, self._small.intrinsics

    def image(self, kind: ImageKind) -> Array:
        """(h, w) uint8, see `matching_image`."""
        found = self._images.get(kind)
        if found is None:
            found = self._images[kind] = matching_image(self._small, kind)
        return found

    def thin(self, image: Array) -> Array:
        """Every `downscale`-th pixel of an image of the frame's size."""
        k = self._downscale
        if k == 1:
            return image
        height, width = (n // k * k for n in image.shape[:2])
        return np.ascontiguousarray(image[:height:k, :width:k])
