"""The frame that is being worked on, on the device: uploaded once, read by every stage."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import frame_kernels
from bodystream.device.buffers import view_as
from bodystream.device.launches import RecordedLaunch
from bodystream.device.transfers import Staged
from bodystream.errors import InputError
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["DeviceFrame"]

_BACKGROUND = int(frame_kernels.BACKGROUND)
_PIXELS = int(frame_kernels.PIXELS)
# Two eyes 5 to 8 cm apart see the edge of a body at 1.5 m against a far wall so differently.
_SHADOW_RAD = 0.035


class DeviceFrame:
    """One frame and its foreground on host and device. Each upload takes the place of the one before.

    Args:
        intrinsics: of every frame to come.
        device: where its arrays live.

    Attributes:
        frame, foreground: what was uploaded last: the frame, and (H, W) bool on the host.
        depth: (H, W) float32 device array, the foreground's depth [m], 0 elsewhere.
        mask: (H, W) uint8 device array, 1 = foreground.
        scene_depth: (H, W) float32 device array, all measurements [m]; far away where the source's own mask says that
            nothing of the body is; that of the background in the shadow that the body casts for a camera of two eyes.
    """

    def __init__(self, intrinsics: CameraIntrinsics, device: wp.Device) -> None:
        self.intrinsics = intrinsics
        self._size = shape = (intrinsics.height, intrinsics.width)
        strips = -(-shape[0] * shape[1] // _PIXELS)
        self._scene = Staged(_PIXELS * strips, float, device)
        self._labels = Staged(_PIXELS * strips, wp.uint8, device)
        depth = wp.zeros(_PIXELS * strips, dtype=float, device=device)
        mask = wp.zeros(_PIXELS * strips, dtype=wp.uint8, device=device)
        self._colour = Staged(shape, wp.vec3ub, device)
        self._colour_is_current = False
        self._frame: RgbdFrame | None = None
        self._foreground: Array | None = None
        self.scene_depth = view_as(self._scene.array, float, shape)
        self.depth = view_as(depth, float, shape)
        self.mask = view_as(mask, wp.uint8, shape)
        inputs = [view_as(self._labels.array, wp.vec4ub, strips), view_as(self._scene.array, wp.vec4, strips)]
        inputs += [view_as(depth, wp.vec4, strips), view_as(mask, wp.vec4ub, strips)]
        self._label_depth = RecordedLaunch(frame_kernels.label_depth, strips, inputs, device, min_chunk=65536)
        self._widest_px = widest_px = round(_SHADOW_RAD * intrinsics.fx)
        inputs = [self.mask, 0, wp.vec2i(0, shape[1]), widest_px, self.scene_depth]
        # A third of a millisecond: waiting for a second thread would take longer.
        self._fill_shadows = RecordedLaunch(frame_kernels.fill_shadows, shape[0], inputs, device, split=False)

    @property
    def frame(self) -> RgbdFrame:
        assert self._frame is not None, "nothing was uploaded yet"
        return self._frame

    @property
    def foreground(self) -> Array:
        assert self._foreground is not None, "nothing was uploaded yet"
        return self._foreground

    def upload(self, frame: RgbdFrame, foreground: Array) -> None:
        """Take a frame and its (H, W) bool foreground.

        Raises:
            InputError: the frame is of another camera, or the foreground of another size or type.
        """
        size = self._size
        if frame.intrinsics != self.intrinsics:
            raise InputError(
                f"frame {frame.label}: expected one of a camera of {self.intrinsics}, got one of {frame.intrinsics}: "
                "each camera needs buffers of its own"
            )
        if foreground.shape != size or foreground.dtype != np.bool_:
            raise InputError(
                f"frame {frame.label}: the foreground must be bool of shape {size}, "
                f"got {foreground.dtype} of shape {foreground.shape}"
            )
        labels = foreground.view(np.uint8)
        if frame.mask is not None:
            labels = labels + _BACKGROUND * (~frame.mask).view(np.uint8)
        self._scene.upload(frame.depth_m.reshape(-1))
        self._labels.upload(labels.reshape(-1))
        self._label_depth()
        self._fill(foreground)
        self._frame, self._foreground = frame, foreground
        self._colour_is_current = False

    def _fill(self, foreground: Array) -> None:
        """Give shadows beside the foreground the background's depth."""
        rows, columns = (np.flatnonzero(foreground.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            first, end = columns[0] - self._widest_px - 1, columns[-1] + self._widest_px + 2
            self._fill_shadows.set_param("first_row", int(rows[0]))
            self._fill_shadows.set_param("columns", wp.vec2i(int(max(0, first)), int(min(end, self._size[1]))))
            self._fill_shadows(int(rows[-1] - rows[0]) + 1)

    @property
    def colour(self) -> wp.array | None:
        """(H, W) vec3ub device array, or None of a camera without colour; goes up when it is first asked for."""
        if self.frame.colour is None:
            return None
        if not self._colour_is_current:
            self._colour.upload(self.frame.colour)
            self._colour_is_current = True
        return self._colour.array
