"""ScanNet as its tools export it: `color/0.jpg`, `depth/0.png` (mm) and `intrinsic/intrinsic_depth.txt` (4x4).

Colour is larger than depth, and registered with `intrinsic_color.txt` and the two `extrinsic_*.txt`, which take points
to one frame (`SensReader/sensorData.h`); where those are absent the two cameras stand in one place, as the exported
poses assume. `pose/` is not needed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_text_bounded
from bodystream.sources.layouts import plain
from bodystream.sources.layouts.intrinsics import PinholeParameters, read_intrinsics
from bodystream.sources.layouts.lenses import LensParameters, Rig, rigid
from bodystream.sources.layouts.record import Recording
from bodystream.types import Array

__all__ = ["NAME", "WANTED", "base_from", "fits", "read"]

NAME = "scannet"
WANTED = "color/N.jpg + depth/N.png + intrinsic/intrinsic_depth.txt (ScanNet)"

_MAX_TEXT_BYTES = 64 << 10


def fits(path: Path) -> bool:
    """Whether there are depth's intrinsics and a depth folder."""
    return (path / "intrinsic" / "intrinsic_depth.txt").is_file() and plain.fits(path)


def read(path: Path) -> Recording:
    """List the frames of a folder.

    Raises:
        InputError: files are absent or damaged.
    """
    recording = plain.read(path, layout=NAME)
    folder = path / "intrinsic"
    depth = read_intrinsics(folder / "intrinsic_depth.txt")
    rig = None
    if any(record.read_colour is not None for record in recording.records):
        colour = read_intrinsics(folder / "intrinsic_color.txt")
        base_from_depth, base_from_colour = _extrinsic(folder, "depth"), _extrinsic(folder, "color")
        rig = rig_of(depth, colour, base_from_depth, base_from_colour, str(folder))
    return dataclasses.replace(recording, intrinsics=depth, rig=rig)


def rig_of(
    depth: PinholeParameters, colour: PinholeParameters, base_from_depth: Array, base_from_colour: Array, origin: str
) -> Rig:
    """Both cameras of a scan, from the transforms of each to the base frame."""
    return Rig(LensParameters(depth), LensParameters(colour), np.linalg.inv(base_from_colour) @ base_from_depth, origin)


def base_from(numbers: Array, origin: str) -> Array:
    """An extrinsic matrix (4, 4) [m]; zeros and numbers that are not finite stand for one that is not known: identity.

    Raises:
        InputError: it is no rigid transform.
    """
    with np.errstate(invalid="ignore"):  # signalling nans
        matrix = np.asarray(numbers, np.float64).reshape(4, 4)
    if not np.isfinite(matrix).all() or not matrix[:3, :3].any():
        return np.eye(4)
    return rigid(matrix[:3, :3].ravel(), matrix[:3, 3], origin)


def _extrinsic(folder: Path, camera: str) -> Array:
    path = folder / f"extrinsic_{camera}.txt"
    if not path.is_file():
        return np.eye(4)
    words = read_text_bounded(path, _MAX_TEXT_BYTES).split()
    try:
        numbers = [float(word) for word in words[:17]]
    except ValueError:
        numbers = []
    if len(numbers) != 16:
        raise InputError(f"{path}: expected a 4x4 matrix, got {len(words)} values")
    return base_from(np.array(numbers), str(path))
