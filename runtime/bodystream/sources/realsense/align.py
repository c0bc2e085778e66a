"""Depth and colour of a RealSense camera registered to the same pixels, by projection of the pixels that have depth.

The lens models are those of librealsense's `rs2_project_point_to_pixel`. Colours hidden from the colour camera by
something nearer are not detected (the baseline is 15 to 60 mm): such a pixel takes the colour of what hides it.
"""
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from typing import Literal

import cv2
import numpy as np
import warp as wp

from bodystream.device import RecordedLaunch, select_device
from bodystream.errors import SourceError
from bodystream.sources.realsense.kernels import (
    Projection,
    colour_to_depth,
    depth_to_metres,
    finish_depth,
    splat_depth,
)
from bodystream.types import Array, LensCamera, RgbdCalibration

__all__ = ["Aligner", "distort_normalised", "lens_code"]

_LENS_CODES = {"none": 0, "modified_brown_conrady": 1, "inverse_brown_conrady": 1, "brown_conrady": 2}


def lens_code(camera: LensCamera) -> int:
    """The kernels' code of a camera's lens.

    Raises:
        SourceError: the model cannot be projected.
    """
    if not camera.bends:
        return 0
    if camera.model not in _LENS_CODES:
        known = ", ".join(sorted(_LENS_CODES))
        raise SourceError(
            f"the colour stream has the lens model {camera.model}, wanted one of {known}: use another colour "
            "resolution or camera, or capture without colour (colour=False)"
        )
    return _LENS_CODES[camera.model]


def distort_normalised(points: Array, camera: LensCamera) -> Array:
    """Normalised image coordinates (..., 2) as the lens bends them, float64."""
    code = lens_code(camera)
    if code == 0:
        return np.asarray(points, np.float64)
    k1, k2, p1, p2, k3 = camera.coefficients
    x, y = np.asarray(points[..., 0], np.float64), np.asarray(points[..., 1], np.float64)
    r2 = x * x + y * y
    f = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    xf, yf = x * f, y * f
    if code == 1:
        x, y = xf, yf
    return np.stack([xf + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), yf + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)], axis=-1)


class _Pool:
    """Images whose memory comes back once nobody holds them, or a view of them, so that steady state allocates none.

    Each image is a view of a lease on the memory, and every view of it keeps the lease alive: its end gives the memory
    back, whichever thread it ends on.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._free: deque[Array] = deque()

    def take(self) -> Array:
        """An array with undefined content that nothing outside the pool refers to."""
        try:
            memory = self._free.popleft()
        except IndexError:
            memory = np.empty(self._bytes, np.uint8)
        lease = (ctypes.c_ubyte * self._bytes).from_buffer(memory)
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return np.frombuffer(memoryview(lease), self._dtype).reshape(self._shape)


def _borrow(array: Array, dtype: object) -> wp.array:
    """A Warp view of contiguous host memory; valid as long as `array` lives."""
    flags = array.flags
    if not flags.c_contiguous:
        raise SourceError("the camera's image rows are padded, wanted rows without padding: use another resolution")
    shape = (array.shape[0] * array.shape[1],)
    return wp.array(ptr=array.ctypes.data, dtype=dtype, shape=shape, device="cpu")


class Aligner:
    """Registers raw frames of one calibration; runs on the CPU, where the frames arrive and leave.

    Args:
        calibration: of the streams.
        align: whose pixels the result has: the depth camera's (each depth pixel gets a colour), or the colour
            camera's (each depth pixel is drawn as the rectangle that it covers, the nearest one stays; the colour
            image is made a pinhole's where its lens bends).
        max_depth_m: farther measurements are dropped.
        sampling: how colours are read with `align="depth"`.

    Raises:
        SourceError: a lens that cannot be handled, or `align="colour"` without colour.
    """

    def __init__(
        self,
        calibration: RgbdCalibration,
        *,
        align: Literal["depth", "colour"] = "depth",
        max_depth_m: float = 10.0,
        sampling: Literal["bilinear", "nearest"] = "bilinear",
    ) -> None:
        if calibration.depth.bends:
            raise SourceError(
                f"the depth stream has the lens model {calibration.depth.model} with coefficients "
                f"{calibration.depth.coefficients}, wanted rectified depth as D400 cameras give it"
            )
        if align == "colour" and calibration.colour is None:
            raise SourceError('align="colour" needs a colour stream, and there is none: use align="depth"')
        self.calibration = calibration
        device = select_device("cpu")
        depth, colour = calibration.depth.intrinsics, calibration.colour
        self._to_colour_grid = align == "colour"
        self.intrinsics = colour.intrinsics if self._to_colour_grid and colour is not None else depth
        size = (self.intrinsics.height, self.intrinsics.width)
        self._depth_pool = _Pool(size, np.float32)
        self._colour_pool = _Pool((*size, 3), np.uint8)
        count, out_count = depth.height * depth.width, size[0] * size[1]
        raw = wp.empty(1, dtype=wp.uint16, device=device)
        depth_out = wp.empty(1, dtype=wp.float32, device=device)
        scale = float(calibration.depth_scale_m)
        self._depth_only: RecordedLaunch | None = None
        if colour is None:
            self._depth_only = RecordedLaunch(
                depth_to_metres, count, [raw, scale, max_depth_m, depth_out], device, min_chunk=16384
            )
            return
        colour_size = (colour.intrinsics.width, colour.intrinsics.height)
        if self._to_colour_grid:
            projection = _projection(calibration, ideal_lens=True)
            # Twice the limit marks a pixel that nothing was drawn to; a depth in the colour camera stays below it.
            limit = 2.0 * max_depth_m + 1.0
            self._nearest = wp.full(out_count, 2.0 * limit, dtype=wp.float32, device=device)
            self._splat = RecordedLaunch(
                splat_depth,
                count,
                [raw, scale, max_depth_m, depth.width, projection, *colour_size, self._nearest],
                device,
                split=False,
            )
            self._finish = RecordedLaunch(
                finish_depth, out_count, [limit, self._nearest, depth_out], device, min_chunk=16384
            )
            self._undistort = _undistortion_maps(colour) if colour.bends else None
        else:
            image = wp.empty(1, dtype=wp.vec3ub, device=device)
            inputs = [raw, scale, max_depth_m, depth.width, _projection(calibration, ideal_lens=False), image]
            inputs += [*colour_size, int(sampling == "bilinear"), depth_out, image]
            self._gather = RecordedLaunch(colour_to_depth, count, inputs, device, min_chunk=8192)

    def __call__(self, depth_raw: Array, colour: Array | None) -> tuple[Array, Array | None]:
        """Register one frame.

        Args:
            depth_raw: (H, W) uint16 of the depth stream.
            colour: (Hc, Wc, 3) uint8 RGB of the colour stream, or None where the calibration has none.

        Returns:
            depth (h, w) float32 [m], and colour (h, w, 3) uint8 RGB, of `self.intrinsics`' size. With `align="depth"`
            colour is black where depth is 0 or the colour camera does not see the point. The arrays are reused for
            later frames only after the caller has let go of them and of their views.
        """
        self._check(depth_raw, colour)
        raw = _borrow(depth_raw, wp.uint16)
        depth_m = self._depth_pool.take()
        depth_out = _borrow(depth_m, wp.float32)
        if self._depth_only is not None or colour is None:
            assert self._depth_only is not None
            self._depth_only.set_param("raw", raw)
            self._depth_only.set_param("depth_out", depth_out)
            self._depth_only()
            return depth_m, None
        registered = self._colour_pool.take()
        if self._to_colour_grid:
            self._splat.set_param("raw", raw)
            self._splat()
            self._finish.set_param("depth_out", depth_out)
            self._finish()
            if self._undistort is None:
                np.copyto(registered, colour)
            else:
                cv2.remap(colour, *self._undistort, cv2.INTER_LINEAR, dst=registered)
            return depth_m, registered
        self._gather.set_param("raw", raw)
        self._gather.set_param("colour", _borrow(colour, wp.vec3ub))
        self._gather.set_param("depth_out", depth_out)
        self._gather.set_param("colour_out", _borrow(registered, wp.vec3ub))
        self._gather()
        return depth_m, registered

    def _check(self, depth_raw: Array, colour: Array | None) -> None:
        want = self.calibration.depth.intrinsics
        if depth_raw.dtype != np.uint16 or depth_raw.shape != (want.height, want.width):
            raise SourceError(
                f"the depth stream changed its format: got {depth_raw.dtype} of shape {depth_raw.shape}, wanted uint16 "
                f"of {want.width}x{want.height} pixels; open the source again"
            )
        camera = self.calibration.colour
        if (camera is None) != (colour is None):
            raise SourceError("the colour stream appeared or vanished while capturing; open the source again")
        if camera is not None and colour is not None:
            size = (camera.intrinsics.height, camera.intrinsics.width, 3)
            if colour.dtype != np.uint8 or colour.shape != size:
                raise SourceError(
                    f"the colour stream changed its format: got {colour.dtype} of shape {colour.shape}, wanted uint8 "
                    f"of shape {size}; open the source again"
                )


def _projection(calibration: RgbdCalibration, *, ideal_lens: bool) -> Projection:
    depth, colour, colour_from_depth = calibration.depth, calibration.colour, calibration.colour_from_depth
    assert colour is not None and colour_from_depth is not None
    values = Projection()
    ray_from_pixel = colour_from_depth[:3, :3] @ np.linalg.inv(depth.intrinsics.matrix)
    values.ray_from_pixel = wp.mat33(*ray_from_pixel.astype(np.float32).ravel().tolist())
    values.offset_m = wp.vec3(*colour_from_depth[:3, 3].tolist())
    values.focal = wp.vec2(colour.intrinsics.fx, colour.intrinsics.fy)
    values.centre = wp.vec2(colour.intrinsics.cx, colour.intrinsics.cy)
    values.lens = 0 if ideal_lens else lens_code(colour)
    values.k1, values.k2, values.p1, values.p2, values.k3 = colour.coefficients
    return values


def _undistortion_maps(camera: LensCamera) -> tuple[Array, Array]:
    """For each pixel of the pinhole image the place in the camera's image, as `cv2.remap` takes it."""
    k = camera.intrinsics
    u, v = np.meshgrid(np.arange(k.width, dtype=np.float64), np.arange(k.height, dtype=np.float64))
    bent = distort_normalised(np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy], axis=-1), camera)
    maps = bent * (k.fx, k.fy) + (k.cx, k.cy)
    first, second = cv2.convertMaps(maps[..., 0].astype(np.float32), maps[..., 1].astype(np.float32), cv2.CV_16SC2)
    return first, second
