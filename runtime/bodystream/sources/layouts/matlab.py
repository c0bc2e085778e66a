"""Depth recordings in MATLAB files: `<take>_depth.mat` with `d_depth`, unsigned (H, W, T) in millimetres.

The layout of the UTD-MHAD set (Chen, Jafari, Kehtarnavaz 2015): Kinect v1 at 320x240, the person already cut out, no
colour, no calibration; the sensor's nominal intrinsics are used, and everything that has depth is foreground.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.sources.layouts.images import DamagedFileError
from bodystream.sources.layouts.intrinsics import PinholeParameters, find_intrinsics
from bodystream.sources.layouts.mat5 import MatVariable, list_variables, read_variable
from bodystream.sources.layouts.pairing import files_of
from bodystream.sources.layouts.record import MILLIMETRE_M, FrameRecord, Recording
from bodystream.types import Array

__all__ = ["FILE_SUFFIXES", "NAME", "WANTED", "fits", "read", "read_take"]

NAME = "matlab"
FILE_SUFFIXES = (".mat",)
WANTED = "one *_depth.mat with d_depth (H, W, frames)"

_VARIABLE = "d_depth"
_MAX_BYTES = 1 << 30
_NOMINAL_SIZE = (320, 240)
_NOMINAL = (285.63, 285.63, 160.0, 120.0)


def takes_of(path: Path) -> list[Path]:
    """The take files of a folder, or of its `depth` folder."""
    return [
        file
        for folder in (path, path / "depth")
        if folder.is_dir()
        for file in files_of(folder, (".mat",))
        if file.stem.endswith("depth")
    ]


def fits(path: Path) -> bool:
    """Whether this is a .mat file or a folder with takes."""
    return path.suffix.lower() == ".mat" if path.is_file() else bool(takes_of(path))


def read(path: Path) -> Recording:
    """Read one take into memory.

    Args:
        path: the file, or a folder that holds exactly one.

    Raises:
        InputError: several takes, or a file that is no take.
    """
    file = path
    if path.is_dir():
        takes = takes_of(path)
        if len(takes) != 1:
            shown = ", ".join(str(take.relative_to(path)) for take in takes[:60]) or "none"
            raise InputError(
                f"{path}: holds {len(takes)} takes, one must be chosen: give the path of one file, e.g. "
                f"{takes[0] if takes else path / 'take_depth.mat'} (there are: {shown})"
            )
        file = takes[0]
    depth = read_take(file)
    height, width, count = depth.shape
    intrinsics = find_intrinsics(file.parent)
    notes: tuple[str, ...] = (f"{file}: holds no colour, so only depth is used",)
    if intrinsics is None and (width, height) == _NOMINAL_SIZE:
        intrinsics = PinholeParameters(*_NOMINAL, "the nominal Kinect v1 camera", width, height)
        notes += (
            f"{file}: holds no intrinsics; the nominal ones of a Kinect v1 are used (fx fy cx cy = "
            f"{' '.join(f'{v:g}' for v in _NOMINAL)}): add intrinsics.txt to replace them",
        )
    return Recording(
        layout=NAME,
        records=tuple(
            FrameRecord(
                name=f"{file.stem}:{index}",
                read_depth=partial(_frame, depth, index),
                read_mask=_has_depth,
                depth_file=f"{file} (frame {index})",
                number=index,
            )
            for index in range(count)
        ),
        depth_scale_m=MILLIMETRE_M,
        intrinsics=intrinsics,
        intrinsics_wanted="intrinsics.txt beside the file with one line `fx fy cx cy`",
        notes=notes,
    )


def read_take(path: Path) -> Array:
    """The (H, W, T) depth of a take, unsigned integers or floats as stored.

    Raises:
        InputError: not a MATLAB 5 file with such an array, truncated, or larger than any take.
    """
    data = read_bounded(path, _MAX_BYTES, DamagedFileError)
    depth = read_variable(_choose(path, list_variables(data, str(path))), _MAX_BYTES, str(path))
    if depth.dtype.kind == "i" and depth.min() < 0:
        raise InputError(f"{path}: {_VARIABLE} holds negative depth")
    if depth.dtype.kind == "i" or depth.dtype.itemsize < 2:
        depth = depth.astype(np.uint16 if depth.dtype.itemsize <= 2 else np.uint32)
    return depth


def _choose(path: Path, variables: list[MatVariable]) -> MatVariable:
    images = [v for v in variables if v.kind != "other" and len(v.shape) in (2, 3) and min(v.shape[:2]) >= 8]
    named = [v for v in images if v.name == _VARIABLE] or [v for v in images if len(v.shape) == 3]
    if len(named) != 1:
        found = ", ".join(f"{v.name} {'x'.join(map(str, v.shape))} {v.kind}" for v in variables[:20]) or "nothing"
        raise InputError(f"{path}: wanted one numeric array {_VARIABLE} (H, W, frames), found {found}")
    (chosen,) = named
    if len(chosen.shape) == 2:
        raise InputError(f"{path}: {chosen.name} must have a third axis of frames, got shape {chosen.shape}")
    if math.prod(chosen.shape) == 0:
        raise InputError(f"{path}: {chosen.name} is empty, shape {chosen.shape}")
    return chosen


def _frame(depth: Array, index: int) -> Array:
    return np.ascontiguousarray(depth[:, :, index])


def _has_depth(raw_depth: Array) -> Array:
    return raw_depth > 0
