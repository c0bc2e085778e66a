"""One folder with `NNN.jpg`, `NNN_depth.png`, `NNN_mask.jpg` and `NNN_camera.xml` per frame.

Depth is in millimetres, masks are jpg (foreground above 127), cameras are OpenCV storage files with `intrinsic`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts.images import COLOUR_SUFFIXES, DEPTH_SUFFIXES, read_colour, read_depth
from bodystream.sources.layouts.intrinsics import (
    PinholeParameters,
    UnreadIntrinsics,
    find_intrinsics,
    read_intrinsics,
)
from bodystream.sources.layouts.masks import MaskReader
from bodystream.sources.layouts.matching import told_of_few
from bodystream.sources.layouts.names import NameNumbers
from bodystream.sources.layouts.pairing import files_of
from bodystream.sources.layouts.record import MILLIMETRE_M, FrameRecord, Recording

__all__ = ["NAME", "WANTED", "fits", "read"]

NAME = "numbered"
WANTED = "NNN.jpg + NNN_depth.png (+ NNN_mask.jpg) + NNN_camera.xml in one folder"

_DEPTH = "_depth"


def fits(path: Path) -> bool:
    """Whether there are files `<number>_depth.png`."""
    return any(_number(file) is not None for file in files_of(path, DEPTH_SUFFIXES))


def read(path: Path) -> Recording:
    """List the frames of a folder.

    Raises:
        InputError: there are no such files.
    """
    depth = {n: f for f in files_of(path, DEPTH_SUFFIXES) if (n := _number(f)) is not None}
    colour = {f.stem: f for f in files_of(path, COLOUR_SUFFIXES) if f.stem.isdecimal()}
    if not depth:
        raise InputError(f"{path}: no files <number>{_DEPTH}.png")
    names = sorted(depth.keys() | colour.keys(), key=int)
    cameras = [path / f"{name}_camera.xml" for name in names]
    shared = find_intrinsics(path) or _first_readable(cameras)
    masks = {f.stem: f for f in files_of(path, COLOUR_SUFFIXES) if f.stem.endswith("_mask")}
    reader = MaskReader(
        [
            ((masks[f"{name}_mask"],), partial(read_depth, depth[name]))
            for name in names
            if name in depth and f"{name}_mask" in masks
        ]
    )
    times = NameNumbers.of([Path(f"{name}.x") for name in names])
    notes = [] if colour else [f"{path}: no colour images (<number>.jpg), so only depth is used"]
    if colour:
        notes += told_of_few(str(path), len(depth.keys() & colour.keys()), len(depth))
    records = [
        _record(reader, path, name, depth.get(name), colour.get(name), bool(colour), masks.get(f"{name}_mask"))
        for name in names
    ]
    if times.times_ns is not None:
        records = [
            dataclasses.replace(record, time_ns=time_ns, number=None)
            for record, time_ns in zip(records, times.times_ns, strict=True)
        ]
    return Recording(
        layout=NAME,
        records=tuple(records),
        depth_scale_m=MILLIMETRE_M,
        intrinsics=shared,
        intrinsics_wanted=f"{names[0]}_camera.xml (OpenCV storage with `intrinsic`), or intrinsics.txt for all frames",
        masks=reader,
        notes=tuple(notes),
        time_note=f"{path}: {times.note}" if times.note else "",
    )


def _record(
    reader: MaskReader,
    root: Path,
    name: str,
    depth: Path | None,
    colour: Path | None,
    wants_colour: bool,
    mask: Path | None,
) -> FrameRecord:
    problem = ""
    if depth is None:
        problem = f"{colour} has no depth file"
    elif wants_colour and colour is None:
        problem = f"{depth} has no colour file"
    camera = root / f"{name}_camera.xml"
    return FrameRecord(
        name=name,
        read_depth=None if depth is None else partial(read_depth, depth),
        read_colour=None if colour is None else partial(read_colour, colour),
        read_mask=None if mask is None else partial(reader.read, (mask,)),
        read_intrinsics=partial(read_intrinsics, camera) if camera.is_file() else None,
        depth_file="" if depth is None else str(depth),
        colour_file="" if colour is None else str(colour),
        number=int(name),
        problem=problem,
    )


def _number(path: Path) -> str | None:
    stem = path.stem
    if not stem.endswith(_DEPTH):
        return None
    name = stem[: -len(_DEPTH)]
    return name if name.isascii() and name.isdecimal() and len(name) < 20 else None


def _first_readable(cameras: list[Path]) -> PinholeParameters | UnreadIntrinsics | None:
    """The first frame's camera that can be read; a damaged one only matters when no other is there."""
    failure: UnreadIntrinsics | None = None
    for camera in cameras:
        if camera.is_file():
            try:
                return read_intrinsics(camera)
            except InputError as error:
                failure = failure or UnreadIntrinsics(str(camera), str(error))
    return failure
