"""Cameras with lenses, and images as a device gives them: before depth and colour are brought to the same pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bodystream.types.base import Array
from bodystream.types.frames import CameraIntrinsics

__all__ = ["LensCamera", "RawImages", "RgbdCalibration"]


@dataclass(frozen=True, slots=True)
class LensCamera:
    """A camera with its lens, as librealsense describes it.

    Attributes:
        intrinsics: of the ideal pinhole.
        model: librealsense's name of the distortion.
        coefficients: k1, k2, p1, p2, k3.
    """

    intrinsics: CameraIntrinsics
    model: str = "none"
    coefficients: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def bends(self) -> bool:
        """Whether the lens departs from a pinhole: most D400 streams name a model with coefficients of 0."""
        return self.model != "none" and any(c != 0.0 for c in self.coefficients)


@dataclass(frozen=True, slots=True)
class RgbdCalibration:
    """What the device says of its two streams.

    Attributes:
        depth: must be a pinhole; the depth image of a stereo camera is rectified.
        depth_scale_m: metres per unit of the 16 bit depth image.
        colour: None where there is no colour stream.
        colour_from_depth: (4, 4) float64 rigid transform [m], None without colour.
    """

    depth: LensCamera
    depth_scale_m: float
    colour: LensCamera | None = None
    colour_from_depth: Array | None = None


@dataclass(frozen=True, slots=True)
class RawImages:
    """The images of one frame as the device gave them.

    Attributes:
        depth: (H, W) uint16 in the calibration's unit.
        colour: (Hc, Wc, 3) uint8 RGB of the colour camera, or None.
        calibration: of the two; one object for as long as it stays the same.
        align, sampling, max_depth_m: how the source brings them to the same pixels (`RealSenseConfig`).
    """

    depth: Array
    colour: Array | None
    calibration: RgbdCalibration
    align: Literal["depth", "colour"]
    sampling: Literal["bilinear", "nearest"]
    max_depth_m: float
