"""The calibration that an Azure Kinect and an Orbbec Femto carry (`calibration.json`), for the modes of their cameras.

Lengths are fractions of the whole sensor, with (0, 0) at the corner of the first pixel; a mode bins and crops the
sensor, and stored images have pixel centres at integers. The numbers are those of the Azure Kinect Sensor SDK
(`mode_specific_calibration.c`, `intrinsic_transformation.c`). A model has cx, cy, fx, fy, k1 to k6, the centre of
distortion, p2, p1: OpenCV's rational model in another order. `Rt` of the colour camera takes points from the depth
camera [m].
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.lenses import LensParameters, Rig, lens, rigid
from bodystream.types import Array

__all__ = ["COLOUR_MODES", "DEPTH_MODES", "AzureRig", "parse"]

Mode = tuple[tuple[int, int], tuple[int, int]]  # binned sensor, where the image begins in it [px]

DEPTH_MODES: Mapping[tuple[int, int], Mode] = {
    (320, 288): ((512, 512), (96, 90)),
    (640, 576): ((1024, 1024), (192, 180)),
    (512, 512): ((512, 512), (0, 0)),
    (1024, 1024): ((1024, 1024), (0, 0)),
}
"""By (width, height) of the images."""

COLOUR_MODES: Mapping[tuple[int, int], Mode] = {
    (1280, 720): ((1280, 960), (0, 120)),
    (1920, 1080): ((1920, 1440), (0, 180)),
    (2560, 1440): ((2560, 1920), (0, 240)),
    (2048, 1536): ((2048, 1536), (0, 0)),
    (3840, 2160): ((3840, 2880), (0, 360)),
    (4096, 3072): ((4096, 3072), (0, 0)),
}

_PARAMETERS = 14
_DEFAULT_RADIUS = 1.7  # the SDK's, where the calibration has 0
_MODEL = "CALIBRATION_LensDistortionModelBrownConrady"


@dataclass(frozen=True, slots=True)
class _Sensor:
    """cx, cy, fx, fy in fractions of a sensor of 1:1 (depth) or 4:3 (colour), and its lens in OpenCV's order."""

    unit: tuple[float, float, float, float]
    distortion: tuple[float, ...]
    radius: float

    def lens(self, size: tuple[int, int], mode: Mode, origin: str) -> LensParameters:
        (width, height), (left, top) = mode
        cx, cy, fx, fy = self.unit
        pinhole = PinholeParameters(
            fx * width, fy * height, cx * width - left - 0.5, cy * height - top - 0.5, origin, size[0], size[1]
        )
        return lens(pinhole, self.distortion, radius=self.radius)


@dataclass(frozen=True, slots=True)
class AzureRig:
    """Both sensors; images that the SDK brought to one camera are of one size, and both that camera's."""

    depth: _Sensor
    colour: _Sensor
    colour_from_depth: Array
    origin: str

    def for_sizes(self, depth: tuple[int, int], colour: tuple[int, int] | None) -> Rig:
        """The rig of images of these (width, height).

        Raises:
            InputError: they are no mode of the device.
        """
        if colour == depth and depth in COLOUR_MODES:  # depth as the colour camera would see it
            camera = self.colour.lens(depth, COLOUR_MODES[depth], self.origin)
            return Rig(camera, camera, np.eye(4), self.origin)
        if depth not in DEPTH_MODES:
            raise InputError(
                f"{self.origin}: depth images of {depth[0]}x{depth[1]} are none of the device's "
                f"({_sizes(DEPTH_MODES)}): give the images as stored, or pass ?intrinsics=fx,fy,cx,cy,width,height"
            )
        depth_lens = self.depth.lens(depth, DEPTH_MODES[depth], self.origin)
        if colour is None:
            return Rig(depth_lens, None, np.eye(4), self.origin)
        if colour in COLOUR_MODES:
            colour_lens = self.colour.lens(colour, COLOUR_MODES[colour], self.origin)
            return Rig(depth_lens, colour_lens, self.colour_from_depth, self.origin)
        if colour == depth:  # colour as the depth camera would see it
            return Rig(depth_lens, depth_lens, np.eye(4), self.origin)
        raise InputError(
            f"{self.origin}: colour images of {colour[0]}x{colour[1]} are none of the device's "
            f"({_sizes(COLOUR_MODES)}): give the images as stored, or take them away to use depth alone"
        )


def parse(text: str, origin: str) -> AzureRig:
    """Read the device's calibration.

    Raises:
        InputError: it is damaged, or not of such a device.
    """
    try:
        cameras = json.loads(text)["CalibrationInformation"]["Cameras"]
        by_purpose = {camera["Purpose"]: camera for camera in cameras}
        depth = by_purpose["CALIBRATION_CameraPurposeDepth"]
        colour = by_purpose["CALIBRATION_CameraPurposePhotoVideo"]
        rotation, translation = colour["Rt"]["Rotation"], colour["Rt"]["Translation"]
        transform = rigid([float(v) for v in rotation], [float(v) for v in translation], origin)
        return AzureRig(_sensor(depth, origin, False), _sensor(colour, origin, True), transform, origin)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError, AttributeError) as error:
        raise InputError(f"{origin}: no whole calibration of an Azure Kinect ({excerpt(str(error), 80)})") from error


def _sensor(camera: dict[str, Any], origin: str, is_colour: bool) -> _Sensor:
    model, values = camera["Intrinsics"]["ModelType"], camera["Intrinsics"]["ModelParameters"]
    width, height = float(camera["SensorWidth"]), float(camera["SensorHeight"])
    if model != _MODEL or len(values) < _PARAMETERS:
        raise InputError(
            f"{origin}: the lens model {excerpt(model)} with {len(values)} numbers is not known, wanted {_MODEL} with "
            f"{_PARAMETERS}"
        )
    cx, cy, fx, fy, k1, k2, k3, k4, k5, k6, x0, y0, p2, p1 = (float(value) for value in values[:_PARAMETERS])
    if not all(math.isfinite(v) for v in (cx, cy, fx, fy)) or not (0 < fx < 10 and 0 < fy < 10) or x0 or y0:
        raise InputError(
            f"{origin}: expected focal lengths in fractions of the sensor and no centre of distortion, got fx={fx:g} "
            f"fy={fy:g} cx={cx:g} cy={cy:g} centre {x0:g} {y0:g}"
        )
    if is_colour and abs(width * 9 - height * 16) < 16:  # early devices: a 16:9 piece of the 4:3 sensor
        cy, fy = (cy * 2304 + 384) / 3072, fy * 2304 / 3072
    elif abs(width * 3 - height * 4) >= 4 if is_colour else width != height:
        raise InputError(f"{origin}: a sensor of {width:g}x{height:g} is none of an Azure Kinect's")
    radius = float(camera.get("MetricRadius") or 0.0)
    radius = radius if math.isfinite(radius) and radius > 1e-4 else _DEFAULT_RADIUS
    return _Sensor((cx, cy, fx, fy), (k1, k2, p1, p2, k3, k4, k5, k6), radius)


def _sizes(modes: Mapping[tuple[int, int], Mode]) -> str:
    return ", ".join(f"{width}x{height}" for width, height in modes)
