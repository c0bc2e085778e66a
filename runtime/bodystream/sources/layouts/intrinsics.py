"""Camera intrinsics as people store them: plain numbers, json, OpenCV's xml and yaml."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.files import read_text_bounded
from bodystream.sources.layouts.pinhole import PinholeParameters, UnreadIntrinsics
from bodystream.sources.layouts.stated_scale import is_stated_key, rate_of, scale_of
from bodystream.sources.layouts.storage import find_numbers, find_scalar, keys_of

__all__ = [
    "INTRINSICS_STEMS",
    "INTRINSICS_SUFFIXES",
    "PinholeParameters",
    "UnreadIntrinsics",
    "find_intrinsics",
    "parse_intrinsics",
    "read_intrinsics",
]

INTRINSICS_STEMS = (
    "intrinsics",
    "intrinsic",
    "depth_intrinsics",
    "depth_intrinsic",
    "intrinsics_depth",
    "intrinsic_depth",
    "camera_intrinsics",
    "camera_intrinsic",
    "camera",
    "camera_info",
    "camera_parameters",
    "camera_params",
    "calibration",
    "calib",
    "K",
)
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
_NESTED_KEYS = ("depth_intrinsics", "camera_intrinsics", "intrinsics", "intrinsic", "camera")
_MAX_LISTED = 200_000
_EXAMPLE = "e.g. intrinsics.txt with one line `fx fy cx cy`"


def find_intrinsics(folder: Path) -> PinholeParameters | UnreadIntrinsics | None:
    """The first intrinsics file of a folder (`intrinsics.txt`, `camera.json`, ...) that is understood.

    Returns:
        None when there is none; an `UnreadIntrinsics` when none of those that are there is understood.

    Raises:
        InputError: the folder cannot be listed.
    """
    unread: UnreadIntrinsics | None = None
    found: PinholeParameters | None = None
    scales: list[float] = []
    rates: list[float] = []
    notes: list[str] = []
    for path in _candidates(folder):
        try:
            text = read_text_bounded(path, _MAX_TEXT_BYTES)
        except InputError as error:
            unread = unread or UnreadIntrinsics(str(path), str(error))
            continue
        scale_m, rate_hz, note = _stated(text, path.suffix.lower())
        rates += [] if rate_hz is None else [rate_hz]
        scales += [] if scale_m is None else [scale_m]
        notes += [f"{path}: {note}"] if note else []
        if found is not None:
            continue
        try:
            found = parse_intrinsics(text, path.suffix.lower(), str(path))
        except InputError as error:
            unread = unread or UnreadIntrinsics(str(path), str(error))
    scale_m, rate_hz = scales[0] if scales else None, rates[0] if rates else None
    if found is not None:
        if unread is not None:
            notes.append(f"{unread.problem}; {found.origin} is read instead")
        scale_m = found.depth_scale_m if found.depth_scale_m is not None else scale_m
        notes = [*found.notes, *notes]
    result = found or unread
    if result is None:
        return None
    return dataclasses.replace(result, depth_scale_m=scale_m, rate_hz=rate_hz, notes=tuple(notes))


def _candidates(folder: Path) -> list[Path]:
    """Files of the folder with the names of intrinsics, the likeliest first, whatever the case and the hyphens."""
    ranks = {stem.lower(): rank for rank, stem in enumerate(INTRINSICS_STEMS)}
    found: list[tuple[int, int, str, Path]] = []
    try:
        for path in itertools.islice(folder.iterdir(), _MAX_LISTED):
            rank = ranks.get(path.stem.lower().replace("-", "_"))
            suffix = path.suffix.lower()
            if rank is not None and suffix in INTRINSICS_SUFFIXES and path.is_file():
                found.append((rank, INTRINSICS_SUFFIXES.index(suffix), path.name, path))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return [path for *_, path in sorted(found)]


def read_intrinsics(path: Path) -> PinholeParameters:
    """Read one file of any supported format (see `parse_intrinsics`).

    Raises:
        InputError: it cannot be read or holds no intrinsics.
    """
    return parse_intrinsics(read_text_bounded(path, _MAX_TEXT_BYTES), path.suffix.lower(), str(path))


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
        found = _parse_json(text, origin)
    elif suffix in (".xml", ".yaml", ".yml"):
        found = _parse_storage(text, suffix, origin)
    else:
        found = _parse_numbers(text, origin)
    scale_m, rate_hz, _ = _stated(text, suffix)
    return dataclasses.replace(found, depth_scale_m=scale_m, rate_hz=rate_hz)


def _stated(text: str, suffix: str) -> tuple[float | None, float | None, str]:
    """Depth unit and rate that a calibration file states, and what is not understood about the unit."""
    entries: list[tuple[str, Any]] = []
    if suffix == ".json":
        try:
            entries = [entry for entry in _entries(json.loads(text)) if is_stated_key(entry[0])]
        except (ValueError, RecursionError):
            pass
    elif suffix in (".xml", ".yaml", ".yml"):
        is_xml = suffix == ".xml"
        keys = [key for key in keys_of(text, is_xml, limit=1000) if is_stated_key(key)]
        entries = [(key, find_scalar(text, is_xml, (key,))) for key in keys]
    scale_m, note = scale_of(entries)
    return scale_m, rate_of(entries), note


def _entries(data: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Keys and values of a json object, the outer ones first, those of objects within it after them."""
    if isinstance(data, dict) and depth < 4:
        yield from data.items()
        for value in data.values():
            yield from _entries(value, depth + 1)


def _parse_numbers(text: str, origin: str) -> PinholeParameters:
    content = "\n".join(line.split("#", 1)[0] for line in text.splitlines())
    words = [word for word in re.split(r"[\s,;\[\]()]+", content) if word]
    values: list[float] = []
    for word in words[:17]:
        try:
            values.append(float(word))
        except ValueError:
            raise InputError(f"{origin}: expected numbers, got {excerpt(word, 40)}: {_EXAMPLE}") from None
    if len(words) == 4:
        return dataclasses.replace(_checked(values, origin), named=False)
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
        raise InputError(f"{origin}: is not valid json ({str(error)[:100]})") from error
    if isinstance(data, list):
        return _from_matrix(_matrix_of(data, origin), origin)
    if not isinstance(data, dict):
        raise InputError(f"{origin}: expected a json object with fx, fy, cx, cy, got {type(data).__name__}")
    for key in _NESTED_KEYS:  # one level of nesting, as several recorders write
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
        raise InputError(f"{origin}: the camera matrix must hold numbers only ({str(error)[:100]})") from error
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
        raise InputError(f"{origin}: fx, fy, cx, cy must be numbers ({str(error)[:100]})") from error
    if not all(math.isfinite(v) for v in (fx, fy, cx, cy)) or fx <= 0 or fy <= 0:
        raise InputError(
            f"{origin}: expected finite values with positive focal lengths, got fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}"
        )
    return PinholeParameters(fx, fy, cx, cy, origin, size[0], size[1], distorted)
