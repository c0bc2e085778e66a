"""Camera intrinsics as people store them: plain numbers, json, OpenCV's xml and yaml."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.layouts.storage import find_numbers, find_scalar, keys_of
from bodystream.types import CameraIntrinsics

__all__ = [
    "INTRINSICS_STEMS",
    "INTRINSICS_SUFFIXES",
    "PinholeParameters",
    "find_intrinsics",
    "parse_intrinsics",
    "read_intrinsics",
]

INTRINSICS_STEMS = ("intrinsics", "intrinsic", "camera", "camera_intrinsics", "calibration", "calib", "K")
INTRINSICS_SUFFIXES = (".txt", ".json", ".xml", ".yaml", ".yml")

_MAX_TEXT_BYTES = 64 << 10
_MAX_SIDE = 1 << 20
_MATRIX_KEYS = (
    "intrinsic",
    "intrinsics",
    "intrinsic_matrix",
    "camera_matrix",
    "cameraMatrix",
    "Camera_Matrix",
    "CameraMatrix",
    "K",
    "k",
)
_DISTORTION_KEYS = (
    "distortion_coefficients",
    "distortion",
    "Distortion_Coefficients",
    "distCoeffs",
    "dist_coeffs",
    "coeffs",
    "D",
)
_WIDTH_KEYS = ("width", "image_width", "image_Width")
_HEIGHT_KEYS = ("height", "image_height", "image_Height")
_EXAMPLE = "e.g. intrinsics.txt with one line `fx fy cx cy`"


@dataclass(frozen=True, slots=True)
class PinholeParameters:
    """Intrinsics as a file gives them, often without the image size.

    Attributes:
        fx, fy, cx, cy: [px].
        origin: the file, for messages.
        width, height: of the images they belong to, or None where the file does not say.
        distorted: the file also holds lens distortion, which is not applied.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    origin: str
    width: int | None = None
    height: int | None = None
    distorted: bool = False

    def for_size(self, width: int, height: int) -> CameraIntrinsics:
        """The camera of images of this size.

        Raises:
            InputError: the file belongs to images of another size.
        """
        stated = (self.width or width, self.height or height)
        if stated != (width, height):
            raise InputError(
                f"{self.origin} is for images of {stated[0]}x{stated[1]}, but the depth images are {width}x{height}: "
                "give the intrinsics of the images as they are stored"
            )
        if not (-0.5 <= self.cx <= width - 0.5 and -0.5 <= self.cy <= height - 0.5):
            raise InputError(
                f"{self.origin}: the principal point ({self.cx:g}, {self.cy:g}) lies outside the {width}x{height} "
                "depth images, so it belongs to images of another size: give the intrinsics of the images as stored"
            )
        return CameraIntrinsics(self.fx, self.fy, self.cx, self.cy, width, height)


def find_intrinsics(folder: Path) -> PinholeParameters | None:
    """Read the first intrinsics file of a folder (`intrinsics.txt`, `camera.json`, ...); None when there is none."""
    for stem in INTRINSICS_STEMS:
        for suffix in INTRINSICS_SUFFIXES:
            path = folder / (stem + suffix)
            if path.is_file():
                return read_intrinsics(path)
    return None


def read_intrinsics(path: Path) -> PinholeParameters:
    """Read one file of any supported format (see `parse_intrinsics`).

    Raises:
        InputError: it cannot be read or holds no intrinsics.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > _MAX_TEXT_BYTES:
        raise InputError(f"{path}: larger than {_MAX_TEXT_BYTES >> 10} KiB, which no intrinsics file is")
    return parse_intrinsics(data.decode("utf-8", errors="replace"), path.suffix.lower(), str(path))


def parse_intrinsics(text: str, suffix: str, origin: str) -> PinholeParameters:
    """Parse intrinsics.

    Args:
        text: `.txt`: 3x3, 3x4 or 4x4 matrix, or `fx fy cx cy`; `.json`: fx, fy, cx | ppx, cy | ppy or a matrix;
            `.xml`, `.yaml`, `.yml`: OpenCV's FileStorage (also the maps that ROS writes).
        suffix: says which.
        origin: names the file in messages.

    Raises:
        InputError: no intrinsics in there, or impossible ones.
    """
    if suffix == ".json":
        return _parse_json(text, origin)
    if suffix in (".xml", ".yaml", ".yml"):
        return _parse_storage(text, suffix, origin)
    return _parse_numbers(text, origin)


def _parse_numbers(text: str, origin: str) -> PinholeParameters:
    content = "\n".join(line.split("#", 1)[0] for line in text.splitlines())
    words = [word for word in re.split(r"[\s,;\[\]()]+", content) if word]
    values: list[float] = []
    for word in words[:17]:
        try:
            values.append(float(word))
        except ValueError:
            raise InputError(f"{origin}: expected numbers, got {word[:40]!r}: {_EXAMPLE}") from None
    if len(words) == 4:
        return _checked(values, origin)
    shapes = {9: (3, 3), 12: (3, 4), 16: (4, 4)}
    if len(words) not in shapes:
        raise InputError(
            f"{origin}: expected 4 (fx fy cx cy), 9 (3x3), 12 (3x4) or 16 (4x4) numbers, got {len(words)}: {_EXAMPLE}"
        )
    return _from_matrix(np.array(values).reshape(shapes[len(words)]), origin)


def _parse_json(text: str, origin: str) -> PinholeParameters:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: is not valid json ({error})") from error
    if isinstance(data, list):
        return _from_matrix(_matrix_of(data, origin), origin)
    if not isinstance(data, dict):
        raise InputError(f"{origin}: expected a json object with fx, fy, cx, cy, got {type(data).__name__}")
    for key in ("intrinsics", "intrinsic", "camera"):  # one level of nesting, as several recorders write
        if isinstance(data.get(key), dict):
            data = data[key]
    size = _size(_first(data, _WIDTH_KEYS), _first(data, _HEIGHT_KEYS))
    distortion = _first(data, _DISTORTION_KEYS)
    distorted = isinstance(distortion, list) and any(isinstance(v, int | float) and v != 0 for v in distortion)
    named = [_first(data, keys) for keys in (("fx",), ("fy",), ("cx", "ppx"), ("cy", "ppy"))]
    if all(value is not None for value in named):
        return _checked(named, origin, size, distorted)
    matrix = _first(data, _MATRIX_KEYS)
    if isinstance(matrix, dict):
        matrix = matrix.get("data")
    if not isinstance(matrix, list):
        raise InputError(
            f"{origin}: found neither fx, fy, cx, cy (or ppx, ppy) nor a matrix under {', '.join(_MATRIX_KEYS)}"
        )
    return _from_matrix(_matrix_of(matrix, origin), origin, size, distorted)


def _parse_storage(text: str, suffix: str, origin: str) -> PinholeParameters:
    is_xml = suffix == ".xml"
    try:
        matrix = find_numbers(text, is_xml, _MATRIX_KEYS)
        distortion = find_numbers(text, is_xml, _DISTORTION_KEYS)
    except ValueError as error:
        raise InputError(f"{origin}: damaged or no calibration ({str(error)[:100]})") from error
    if matrix is None:
        raise InputError(
            f"{origin}: no camera matrix in there (found {', '.join(keys_of(text, is_xml)) or 'nothing'}; "
            f"looked for {', '.join(_MATRIX_KEYS)})"
        )
    size = _size(find_scalar(text, is_xml, _WIDTH_KEYS), find_scalar(text, is_xml, _HEIGHT_KEYS))
    return _from_matrix(_matrix_of(matrix, origin), origin, size, any(value != 0 for value in distortion or ()))


def _first(data: dict[str, Any], keys: Iterable[str]) -> Any:
    return next((data[key] for key in keys if key in data), None)


def _size(width: Any, height: Any) -> tuple[int | None, int | None]:
    valid = [isinstance(v, int | float) and 1 <= v <= _MAX_SIDE for v in (width, height)]
    return (int(width), int(height)) if all(valid) else (None, None)


def _matrix_of(values: list[Any], origin: str) -> np.ndarray:
    try:
        flat = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{origin}: the camera matrix must hold numbers only ({error})") from error
    if flat.size not in (9, 12, 16):
        raise InputError(f"{origin}: a camera matrix must have 9, 12 or 16 numbers, got {flat.size}")
    return flat.reshape((3, 3) if flat.size == 9 else (-1, 4))


def _from_matrix(
    matrix: np.ndarray, origin: str, size: tuple[int | None, int | None] = (None, None), distorted: bool = False
) -> PinholeParameters:
    if matrix.shape[1] == 3 and matrix[2, 0] > 1.0 and matrix[0, 2] == 0.0:
        matrix = matrix.T  # stored column by column, as Open3D does
    if not np.allclose(matrix[2, :3], (0.0, 0.0, 1.0)):
        raise InputError(f"{origin}: the third row of a camera matrix must be 0 0 1, got {matrix[2, :3].tolist()}")
    if matrix[1, 0] != 0.0:
        raise InputError(f"{origin}: row 2, column 1 of a camera matrix must be 0, got {matrix[1, 0]:g}")
    return _checked((matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]), origin, size, distorted)


def _checked(
    values: Sequence[Any],
    origin: str,
    size: tuple[int | None, int | None] = (None, None),
    distorted: bool = False,
) -> PinholeParameters:
    try:
        fx, fy, cx, cy = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{origin}: fx, fy, cx, cy must be numbers ({error})") from error
    if not all(math.isfinite(v) for v in (fx, fy, cx, cy)) or fx <= 0 or fy <= 0:
        raise InputError(
            f"{origin}: expected finite values with positive focal lengths, got fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}"
        )
    return PinholeParameters(fx, fy, cx, cy, origin, size[0], size[1], distorted)
