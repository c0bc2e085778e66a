"""Two cameras that see one scene: their lenses, and where one stands in the other's frame.

Distortion is OpenCV's model with its coefficients in OpenCV's order, k1 k2 p1 p2 k3 (Brown-Conrady), then k4 k5 k6
(rational): the same that Azure Kinect, ROS (`plumb_bob`, `rational_polynomial`) and most calibration tools use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.types import Array, CameraIntrinsics

__all__ = ["GIVE_INSTEAD", "LensParameters", "Rig", "SizedRig", "distort", "lens", "rigid", "translation_m"]

GIVE_INSTEAD = (
    "add colour_from_depth.txt (4x4, row by row, metres: takes points of the depth camera to the colour camera) beside "
    "it; or, where the images are registered to the same pixels already, pass ?intrinsics=fx,fy,cx,cy,width,height; "
    "or take the colour images away to use depth alone"
)

_MAX_BASELINE_M = 0.5
_MIN_BASELINE_MM = 5.0
_RADII = np.linspace(0.0, 4.0, 4001)  # normalised image coordinates; 4 is 76 degrees off the axis


@dataclass(frozen=True, slots=True)
class LensParameters:
    """One camera with its lens.

    Attributes:
        pinhole: focal lengths and principal point, and the image size where it is known.
        distortion: up to eight of OpenCV's coefficients, () = none.
        max_radius: normalised image radius beyond which the model means nothing.
    """

    pinhole: PinholeParameters
    distortion: tuple[float, ...] = ()
    max_radius: float = math.inf

    @property
    def bends(self) -> bool:
        """Whether the lens departs from a pinhole."""
        return any(value != 0.0 for value in self.distortion)


@dataclass(frozen=True, slots=True)
class Rig:
    """A depth camera and a colour camera that are not registered.

    Attributes:
        depth, colour: the cameras; no colour camera where there are no colour images.
        colour_from_depth: (4, 4) float64 rigid [m].
        origin: names the file in messages.
    """

    depth: LensParameters
    colour: LensParameters | None
    colour_from_depth: Array
    origin: str

    def for_sizes(self, depth: tuple[int, int], colour: tuple[int, int] | None) -> Rig:
        """Itself: see `SizedRig`."""
        return self

    def with_depth(self, camera: CameraIntrinsics, origin: str) -> Rig:
        """The same with another depth camera, taken as a pinhole."""
        pinhole = PinholeParameters(camera.fx, camera.fy, camera.cx, camera.cy, origin, camera.width, camera.height)
        return replace(self, depth=LensParameters(pinhole))


class SizedRig(Protocol):
    """A rig that may depend on the sizes of its images: some devices store one calibration for all their modes."""

    def for_sizes(self, depth: tuple[int, int], colour: tuple[int, int] | None) -> Rig:
        """The rig of images of these (width, height).

        Raises:
            InputError: the device has no such mode.
        """
        ...


def lens(
    pinhole: PinholeParameters, coefficients: Sequence[float], model: str = "", radius: float = 0.0
) -> LensParameters:
    """A camera from what a calibration says of its lens.

    Args:
        coefficients: in OpenCV's order, 0, 4, 5, 8, 12 or 14 of them.
        model: its name where the file gives one.
        radius: the largest normalised radius that the calibration covers, 0 = not said.

    Raises:
        InputError: a model that is not known.
    """
    values = [float(value) for value in coefficients]
    if not any(values):
        return LensParameters(pinhole)
    name = model.lower().replace("-", "_").replace(" ", "_")
    known = not name or any(part in name for part in ("plumb_bob", "brown", "rational", "radtan", "opencv", "radial"))
    if not known or "fisheye" in name or len(values) not in (4, 5, 8, 12, 14) or any(values[8:]):
        what = f"{excerpt(model)} with " if model else ""
        raise InputError(
            f"{pinhole.origin}: a lens with {what}{len(values)} coefficients is not known; known are 4, 5 or 8 of "
            "OpenCV's (Brown-Conrady, rational). Undistort the images and give a calibration without distortion"
        )
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise InputError(f"{pinhole.origin}: distortion coefficients must be finite numbers, got {excerpt(values)}")
    bent = LensParameters(pinhole, tuple(values[:8]))
    limit = _monotonic_to(bent.distortion)
    return replace(bent, max_radius=min(limit, radius) if radius > 0 else limit)


def distort(x: Array, y: Array, distortion: Sequence[float]) -> tuple[Array, Array]:
    """Normalised image coordinates as the lens bends them (OpenCV, `projectPoints`)."""
    if not distortion:
        return x, y
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *(0.0,) * (8 - len(distortion)))
    r2 = x * x + y * y
    factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = factor / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy2 = 2 * x * y
    return x * factor + p1 * xy2 + p2 * (r2 + 2 * x * x), y * factor + p2 * xy2 + p1 * (r2 + 2 * y * y)


def _monotonic_to(distortion: Sequence[float]) -> float:
    """The radius up to which the image of a ray moves outwards with the ray; beyond, polynomials fold back."""
    bent, _ = distort(_RADII, np.zeros_like(_RADII), (*distortion[:2], 0.0, 0.0, *distortion[4:]))
    with np.errstate(invalid="ignore"):
        back = np.flatnonzero(~(np.diff(bent) > 0))
    return float(_RADII[back[0]]) if back.size else float(_RADII[-1])


def rigid(rotation: Sequence[float] | Array, translation: Sequence[float] | Array, origin: str) -> Array:
    """(4, 4) from 9 numbers row by row and 3 [m or mm].

    Raises:
        InputError: no rotation, or a length whose unit cannot be told.
    """
    matrix = np.eye(4)
    values = np.asarray(rotation, np.float64).reshape(3, 3)
    turns = bool(np.isfinite(values).all()) and np.abs(values).max() < 1.1
    if not turns or np.abs(values @ values.T - np.eye(3)).max() > 5e-3 or np.linalg.det(values) < 0:
        raise InputError(
            f"{origin}: the transform between the cameras holds no rotation, got {excerpt(values.tolist())}"
        )
    u, _, vt = np.linalg.svd(values)
    matrix[:3, :3] = u @ vt
    matrix[:3, 3] = translation_m(translation, origin)
    return matrix


def translation_m(translation: Sequence[float] | Array, origin: str) -> Array:
    """The distance between two cameras of one device in metres, from metres or millimetres.

    Raises:
        InputError: it can be neither.
    """
    values = np.asarray(translation, np.float64).reshape(3)
    length = float(np.linalg.norm(values))
    if not math.isfinite(length):
        raise InputError(
            f"{origin}: the translation between the cameras must be finite, got {excerpt(values.tolist())}"
        )
    if length <= _MAX_BASELINE_M:
        return values
    if _MIN_BASELINE_MM <= length <= _MAX_BASELINE_M * 1000:
        return values / 1000.0
    raise InputError(
        f"{origin}: the cameras are {length:g} apart, which is neither metres (up to {_MAX_BASELINE_M:g}) nor "
        f"millimetres ({_MIN_BASELINE_MM:g} to {_MAX_BASELINE_M * 1000:g}) of one device: {GIVE_INSTEAD}"
    )
