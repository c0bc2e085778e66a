"""Colour brought to the pixels of depth: each depth pixel is projected into the colour camera, and takes what is there.

The same as `sources.realsense.align` does for a RealSense camera, for recordings: depth may be floats of any unit, and
both lenses may bend, depth's too. An image of depth from a lens that bends is first made a pinhole's. Colours hidden
from the colour camera by something nearer are not detected: such a pixel takes the colour of what hides it.
"""

from __future__ import annotations

import cv2
import numpy as np

from bodystream.sources.layouts.lenses import LensParameters, SizedRig, distort
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Registration"]

_EDGE = 1e-3  # px
_MAX_STEP = 0.02  # neighbours that differ by more of their depth lie on different surfaces


class Registration:
    """Registers the frames of one rig; has no state besides its tables, so any thread may call it.

    Args:
        rig: both cameras.
        depth_size, colour_size: (width, height) of the images as stored; no colour_size where there is no colour.

    Attributes:
        intrinsics: the pinhole of the depth that comes out, of depth_size.
        doubts: what the user should know about the calibration.
        colour_size: (width, height) that colour images must have.

    Raises:
        InputError: the calibration is for images of other sizes.
    """

    def __init__(self, rig: SizedRig, depth_size: tuple[int, int], colour_size: tuple[int, int] | None) -> None:
        found = rig.for_sizes(depth_size, colour_size)
        self.intrinsics, self.doubts = found.depth.pinhole.fitted(*depth_size)
        self.colour_size = colour_size or depth_size
        self._colour_lens = found.colour or found.depth
        self._colour_camera = self._colour_lens.pinhole.for_size(*self.colour_size)
        x, y = _normalised(self.intrinsics)
        self._straighten = _Straighten(found.depth, self.intrinsics, x, y) if found.depth.bends else None
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ found.colour_from_depth[:3, :3].T
        self._rays = [np.ascontiguousarray(rays[..., i], np.float32) for i in range(3)]
        self._offset_m = found.colour_from_depth[:3, 3].astype(np.float32)
        # Cameras in one place see the same rays, so that colour needs no depth.
        self._places = self._project(np.float32(1.0)) if not self._offset_m.any() else None

    def depth(self, depth_m: Array) -> Array:
        """(H, W) float32 [m] of the pinhole, from the image as stored; 0 where that has none."""
        return depth_m if self._straighten is None else self._straighten.depth(depth_m)

    def mask(self, mask: Array) -> Array:
        """(H, W) bool of the pinhole."""
        return mask if self._straighten is None else self._straighten.nearest(mask)

    def colour(self, colour: Array, depth_m: Array) -> Array:
        """(H, W, 3) uint8 at the pixels of `depth_m`, which `depth` gave.

        Black where the colour camera does not see the point, and where there is no depth unless the two cameras are in
        one place.
        """
        u, v = self._project(depth_m) if self._places is None else self._places
        registered = cv2.remap(colour, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        width, height = self.colour_size
        # Half a pixel beyond the outermost centres still lies on the image; comparisons with nan are false.
        seen = (u >= -0.5) & (v >= -0.5) & (u < width - 0.5) & (v < height - 0.5)
        if self._places is None:
            seen &= depth_m > 0
        registered[~seen] = 0
        return registered

    def _project(self, depth_m: Array | np.float32) -> tuple[Array, Array]:
        """Where the points at these depths are in the colour image (H, W) float32 [px]; nan = nowhere."""
        px, py, pz = (ray * depth_m + offset for ray, offset in zip(self._rays, self._offset_m, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(pz > 0, 1 / pz, np.float32(np.nan))
            x, y = px * inverse, py * inverse
            if self._colour_lens.bends:
                outside = x * x + y * y > self._colour_lens.max_radius**2
                x, y = distort(x, y, self._colour_lens.distortion)
                x[outside] = np.nan
        camera = self._colour_camera
        u, v = x * camera.fx + camera.cx, y * camera.fy + camera.cy
        return u.astype(np.float32, copy=False), v.astype(np.float32, copy=False)


class _Straighten:
    """From a depth image of a lens that bends to that of the pinhole in its place."""

    def __init__(self, lens: LensParameters, camera: CameraIntrinsics, x: Array, y: Array) -> None:
        bent_x, bent_y = distort(x, y, lens.distortion)
        with np.errstate(invalid="ignore"):
            u, v = bent_x * camera.fx + camera.cx, bent_y * camera.fy + camera.cy
            # Between pixel centres only: farther out, depth would be made up.
            inside = (x * x + y * y <= lens.max_radius**2) & (u >= -_EDGE) & (v >= -_EDGE)
            self._inside = inside & (u <= camera.width - 1 + _EDGE) & (v <= camera.height - 1 + _EDGE)
        u = np.clip(np.where(self._inside, u, 0.0), 0, camera.width - 1)
        v = np.clip(np.where(self._inside, v, 0.0), 0, camera.height - 1)
        u0, v0 = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
        u1, v1 = np.minimum(u0 + 1, camera.width - 1), np.minimum(v0 + 1, camera.height - 1)
        row0, row1 = v0 * camera.width, v1 * camera.width
        self._corners = (row0 + u0, row0 + u1, row1 + u0, row1 + u1)
        self._fu, self._fv = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
        self._nearest = np.rint(v).astype(np.int32) * camera.width + np.rint(u).astype(np.int32)

    def nearest(self, image: Array) -> Array:
        """The nearest pixel, 0 outside the image."""
        return np.where(self._inside, image.ravel()[self._nearest], image.dtype.type(0))

    def depth(self, depth_m: Array) -> Array:
        """Bilinear within a surface, the nearest pixel at its edge."""
        flat = depth_m.ravel()
        a, b, c, d = (flat[corner] for corner in self._corners)
        low, high = np.minimum(np.minimum(a, b), np.minimum(c, d)), np.maximum(np.maximum(a, b), np.maximum(c, d))
        smooth = (low > 0) & (high - low <= _MAX_STEP * low)
        top, bottom = a + self._fu * (b - a), c + self._fu * (d - c)
        blended = top + self._fv * (bottom - top)
        return np.where(self._inside, np.where(smooth, blended, flat[self._nearest]), np.float32(0))


def _normalised(camera: CameraIntrinsics) -> tuple[Array, Array]:
    u, v = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
