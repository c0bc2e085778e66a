"""The outline of the person or object on all pixels, from its cells on the coarse grid."""

from __future__ import annotations

import cv2
import numpy as np

from bodystream.foreground.components import depth_jump
from bodystream.foreground.planes import Plane
from bodystream.types import Array, CameraIntrinsics

__all__ = ["OutlineRefiner"]

_NOWHERE_M = 1e3  # nearer than nothing is farther than that
_AROUND = np.ones((3, 3), np.uint8)


class OutlineRefiner:
    """Brings coarse cells to all pixels: near them in the image and in depth, and not of a plane.

    Args:
        intrinsics: of the whole image.
        stride: of the coarse grid, in pixels.
        near_m: what is nearer is no measurement.
        jump_m: see `components.depth_jump`.
    """

    def __init__(self, intrinsics: CameraIntrinsics, stride: int, near_m: float, jump_m: float) -> None:
        self._stride, self._near_m, self._jump_m = stride, near_m, jump_m
        self._cell_angle = stride / min(intrinsics.fx, intrinsics.fy)
        self.ray_x = ((np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx).astype(np.float32)
        self.ray_y = ((np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy).astype(np.float32)

    def refine(self, depth_m: Array, coarse_depth_m: Array, cells: Array, planes: list[Plane]) -> Array:
        """The pixels that are meant.

        Args:
            depth_m: (H, W) float32 [m]; coarse_depth_m: (h, w), every n-th pixel of it.
            cells: (h, w) uint8, not 0 where the person or object is.
            planes: whose surface is background.

        Returns:
            (H, W) bool, set only where there is depth.
        """
        s = self._stride
        out = np.zeros(depth_m.shape, bool)
        x, y, width, height = cv2.boundingRect(cells)
        if width == 0:
            return out
        # One cell of margin and one more, so that what is beyond the border is not foreground for the median.
        top, left = max(0, y - 2), max(0, x - 2)
        bottom, right = min(cells.shape[0], y + height + 2), min(cells.shape[1], x + width + 2)
        low, high = self._bounds(coarse_depth_m[top:bottom, left:right], cells[top:bottom, left:right])
        rows = slice(top * s, min(depth_m.shape[0], bottom * s))
        columns = slice(left * s, min(depth_m.shape[1], right * s))
        depth = depth_m[rows, columns]
        fine = cv2.inRange(depth, self._widened(low, depth.shape), self._widened(high, depth.shape))
        rays = self.ray_x[columns], self.ray_y[rows]
        for plane in planes:
            touched = self._touched(plane, high, rays[0][::s], rays[1][::s])
            if touched is not None:
                first, last = touched.start * s, touched.stop * s
                part = slice(first, min(last, len(depth)))
                fine[part] &= plane.stands_out(np.ascontiguousarray(depth[part]), rays[0], rays[1][part])
        # Specks and pinholes of one or two pixels.
        smooth = cv2.medianBlur(fine, 5)
        np.logical_and(smooth, depth > 0, out=out[rows, columns])
        return out

    def _bounds(self, depth_m: Array, cells: Array) -> tuple[Array, Array]:
        """(h, w) nearest and farthest depth that belongs to the cells about each place; none where there is no cell."""
        z = np.zeros(depth_m.shape, np.float32)
        cv2.copyTo(depth_m, cells, z)
        high = cv2.dilate(z, _AROUND)
        z[cells == 0] = _NOWHERE_M
        low = cv2.erode(z, _AROUND)
        low -= np.where(low < _NOWHERE_M, depth_jump(low, self._jump_m), np.float32(0))
        high += depth_jump(high, self._jump_m)
        return np.maximum(low, np.float32(self._near_m)), high

    def _widened(self, coarse: Array, shape: tuple[int, int]) -> Array:
        """The same on all pixels of the crop."""
        if self._stride == 1:
            return coarse
        size = (coarse.shape[1] * self._stride, coarse.shape[0] * self._stride)
        fine = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(fine[: shape[0], : shape[1]])

    def _touched(self, plane: Plane, high: Array, ray_x: Array, ray_y: Array) -> slice | None:
        """The rows of cells in which the plane may cut something off: elsewhere all that counts is well before it."""
        margin = high * np.float32(2 * self._cell_angle)
        clear = plane.in_front(high, ray_x, ray_y, margin)
        rows = np.flatnonzero(clear.min(axis=1) == 0)
        return None if len(rows) == 0 else slice(int(rows[0]), int(rows[-1]) + 1)
