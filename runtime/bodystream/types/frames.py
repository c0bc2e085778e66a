"""What a depth camera measures, and what the first stages say of it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.types.base import Array, Status
from bodystream.types.surfaces import Mesh

if TYPE_CHECKING:
    from bodystream.types.cameras import RawImages

__all__ = ["CameraIntrinsics", "FlowField", "Foreground", "FrameTruth", "RgbdFrame"]


@dataclass(frozen=True, slots=True)
class CameraIntrinsics:
    """A pinhole camera without distortion.

    Attributes:
        fx, fy: focal lengths [px].
        cx, cy: principal point [px]; pixel centres are at integers.
        width, height: image size [px].
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InputError(f"camera intrinsics: {name} must be a number of pixels, got {excerpt(value)}")
        if not all(np.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"camera intrinsics must be finite with positive focal lengths, got fx={self.fx}, "
                f"fy={self.fy}, cx={self.cx}, cy={self.cy}: check the calibration file"
            )
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"image size must be positive, got {self.width}x{self.height}")

    def __str__(self) -> str:
        return (
            f"{self.width}x{self.height} pixels with fx={self.fx:.1f}, fy={self.fy:.1f}, "
            f"cx={self.cx:.1f}, cy={self.cy:.1f}"
        )

    @property
    def matrix(self) -> Array:
        """The (3, 3) float64 matrix that maps camera rays to pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def cropped(self, rows: slice, columns: slice) -> CameraIntrinsics:
        """The camera of `image[rows, columns]`: the same rays, pixels counted from the window's corner.

        Args:
            rows, columns: of the window, as they index an image; open ends are the image's.

        Raises:
            InputError: the window is empty, reaches beyond the image, or leaves pixels out.
        """
        top, bottom = _span(rows, self.height, "rows")
        left, right = _span(columns, self.width, "columns")
        return CameraIntrinsics(self.fx, self.fy, self.cx - left, self.cy - top, right - left, bottom - top)

    def strided(self, stride: int) -> CameraIntrinsics:
        """The camera of `image[::stride, ::stride]`: every n-th pixel, beginning with the first.

        It is not that of the image resized by averages (`scaled`), whose pixels lie (stride - 1) / 2 further in.

        Raises:
            InputError: `stride` is less than 1.
        """
        if stride < 1:
            raise InputError(f"the stride of an image must be at least 1, got {stride}")
        return CameraIntrinsics(
            self.fx / stride,
            self.fy / stride,
            self.cx / stride,
            self.cy / stride,
            -(-self.width // stride),
            -(-self.height // stride),
        )

    def scaled(self, factor: float) -> CameraIntrinsics:
        """The camera of the image resized by `factor`, as by averages over areas (pixel centres at integers)."""
        return CameraIntrinsics(
            self.fx * factor,
            self.fy * factor,
            (self.cx + 0.5) * factor - 0.5,
            (self.cy + 0.5) * factor - 0.5,
            round(self.width * factor),
            round(self.height * factor),
        )


def _span(part: slice, length: int, axis: str) -> tuple[int, int]:
    """Begin and end of a window along one axis of an image."""
    begin, end = 0 if part.start is None else part.start, length if part.stop is None else part.stop
    if part.step not in (None, 1) or not 0 <= begin < end <= length:
        step = "" if part.step in (None, 1) else f" in steps of {part.step}"
        raise InputError(
            f"a window's {axis} must be a range within 0 to {length} of the image, got {begin} to {end}{step}"
        )
    return begin, end


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What a synthetic source knows of its frame, in the camera's frame.

    Attributes:
        mesh: the posed surface; vertex `i` is the same material point in every frame.
        pixel_face: (H, W) int32, the face seen at each pixel, -1 for none.
        pixel_barycentric: (H, W, 2) float32, weights of the face's second and third corner.
        depth_m: (H, W) float32, depth before the noise model.
        mask: (H, W) bool, pixels of the body.
    """

    mesh: Mesh
    pixel_face: Array
    pixel_barycentric: Array
    depth_m: Array
    mask: Array


@dataclass(frozen=True, slots=True)
class RgbdFrame:
    """One atomic measurement of a depth camera: colour and depth registered to the same pixels.

    Attributes:
        index: counts the frames that the source has seen, from 0; gaps are frames it lost.
        t_ns: host monotonic clock at which the frame was taken.
        depth_m: (H, W) float32, 0 = no measurement, never nan.
        intrinsics: of these pixels.
        colour: (H, W, 3) uint8 RGB, or None for a depth-only camera.
        device_t_ns: the device's own clock, or None.
        mask: (H, W) bool, foreground given by the source, or None.
        truth: ground truth of a synthetic source, or None.
        name: what a person would call the frame (a file's name), for messages.
        raw: the images before depth and colour were registered, of a source that was asked to keep them, or None.
    """

    index: int
    t_ns: int
    depth_m: Array
    intrinsics: CameraIntrinsics
    colour: Array | None = None
    device_t_ns: int | None = None
    mask: Array | None = None
    truth: FrameTruth | None = None
    name: str = ""
    raw: RawImages | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.intrinsics, CameraIntrinsics):
            raise InputError(
                f"frame {self.label}: intrinsics must be CameraIntrinsics, got {type(self.intrinsics).__name__}"
            )
        for name in ("depth_m", "colour", "mask"):
            value = getattr(self, name)
            if not (isinstance(value, np.ndarray) or (value is None and name != "depth_m")):
                raise InputError(f"frame {self.label}: {name} must be a numpy array, got {type(value).__name__}")
        size = (self.intrinsics.height, self.intrinsics.width)
        if self.depth_m.dtype != np.float32 or self.depth_m.shape != size:
            raise InputError(
                f"frame {self.label}: depth must be float32 of {size[1]}x{size[0]} pixels (the size of its "
                f"intrinsics), got {self.depth_m.dtype} of shape {self.depth_m.shape}"
            )
        if self.colour is not None and (self.colour.dtype != np.uint8 or self.colour.shape != (*size, 3)):
            raise InputError(
                f"frame {self.label}: colour must be uint8 RGB of {size[1]}x{size[0]} pixels, "
                f"got {self.colour.dtype} of shape {self.colour.shape}"
            )
        if self.mask is not None and (self.mask.dtype != np.bool_ or self.mask.shape != size):
            raise InputError(
                f"frame {self.label}: mask must be bool of {size[1]}x{size[0]} pixels, "
                f"got {self.mask.dtype} of shape {self.mask.shape}"
            )

    @property
    def label(self) -> str:
        return self.name or str(self.index)


@dataclass(frozen=True, slots=True)
class Foreground:
    """Which pixels of a frame belong to the person or object.

    Attributes:
        mask: (H, W) bool; only pixels with a depth measurement are set.
        status: TRACKED, DEGRADED (kept by temporal consistency only) or LOST (mask all false).
        reason: why it is not TRACKED, else empty.
    """

    t_ns: int
    mask: Array
    status: Status = Status.TRACKED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FlowField:
    """Dense correspondence from a source frame to a target frame.

    Attributes:
        flow_px: (h, w, 2) float32 (u right, v down): source pixel + flow = target pixel.
        weight: (h, w) float32 in [0, 1], 0 = no correspondence; flow_px is finite where weight > 0.
        cell_px: n, each entry is for a square of n x n pixels of the source: (h, w) = (ceil(H / n), ceil(W / n)). The
            flow is in whole pixels of the image whatever it is.

    Both may be device arrays instead, (h, w) vec2 and (h, w) float: then nothing is uploaded to follow them.
    """

    source_t_ns: int
    target_t_ns: int
    flow_px: Array
    weight: Array
    cell_px: int = 1
