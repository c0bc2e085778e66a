"""One folder with `frame-000000.color.png` and `frame-000000.depth.png`: VolumeDeform, 7-Scenes and those like them.

Depth is in millimetres; 65535 (7-Scenes) is no measurement. VolumeDeform has `colorIntrinsics.txt` and
`depthIntrinsics.txt` (4x4) beside them; 7-Scenes has no calibration, and its colour is not registered to depth.
`frame-000000.pose.txt` is not needed. A folder whose only recording is in `seq-01` or `data` counts as that folder.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts.images import COLOUR_SUFFIXES, DEPTH_SUFFIXES
from bodystream.sources.layouts.intrinsics import find_intrinsics
from bodystream.sources.layouts.pairing import files_of, record_of
from bodystream.sources.layouts.record import MILLIMETRE_M, FrameRecord, Recording

__all__ = ["NAME", "WANTED", "fits", "read"]

NAME = "frames"
WANTED = "frame-NNNNNN.depth.png + frame-NNNNNN.color.png in one folder (VolumeDeform, 7-Scenes)"

_NAME = re.compile(r"(.*?)([0-9]{1,18})[.](depth|color|colour|rgb)", re.IGNORECASE)
_MAX_FOLDERS = 1000


def fits(path: Path) -> bool:
    """Whether there are files `*.depth.png`, here or in a folder `seq-*` or `data` below."""
    return bool(_folders(path))


def read(path: Path) -> Recording:
    """List the frames of a folder.

    Raises:
        InputError: there are none, or several recordings.
    """
    folders = _folders(path)
    if not folders:
        raise InputError(f"{path}: no files <number>.depth.png")
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders[:8])
        raise InputError(f"{path}: holds {len(folders)} recordings ({names}): give the folder of one of them")
    folder = folders[0]
    depth = _numbered(folder, ("depth",), DEPTH_SUFFIXES)
    colour = _numbered(folder, ("color", "colour", "rgb"), COLOUR_SUFFIXES)
    intrinsics = next(filter(None, map(find_intrinsics, dict.fromkeys((folder, path)))), None)
    return Recording(
        layout=NAME,
        records=tuple(
            _record(n, depth.get(n), colour.get(n), bool(colour)) for n in sorted(depth.keys() | colour.keys())
        ),
        depth_scale_m=MILLIMETRE_M,
        intrinsics=intrinsics,
        intrinsics_wanted="intrinsics.txt with one line `fx fy cx cy` (7-Scenes' authors used 585 585 320 240 640 480)",
        notes=() if colour else (f"{folder}: no colour images (*.color.png), so only depth is used",),
        unregistered=_unregistered(folder) if intrinsics is None else "",
        folder=folder,
    )


def _unregistered(folder: Path) -> str:
    return (
        f"{folder}: no calibration beside the images; colour in this layout is as its own camera saw it (7-Scenes), "
        "some centimetres beside depth. Take the *.color.png away to use depth alone, or pass "
        "?intrinsics=fx,fy,cx,cy,width,height if the images are registered"
    )


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    if _numbered(path, ("depth",), DEPTH_SUFFIXES):
        return [path]
    try:
        below = [p for p in itertools.islice(path.iterdir(), _MAX_FOLDERS) if re.fullmatch(r"(seq.*|data)", p.name)]
    except OSError:
        return []
    return sorted(folder for folder in below if folder.is_dir() and _numbered(folder, ("depth",), DEPTH_SUFFIXES))


def _numbered(folder: Path, kinds: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for file in files_of(folder, suffixes):
        match = _NAME.fullmatch(file.stem)
        if match is not None and match[3].lower() in kinds:
            found[int(match[2])] = file
    return found


def _record(number: int, depth: Path | None, colour: Path | None, wants_colour: bool) -> FrameRecord:
    record = record_of(depth, colour, wants_colour)
    return replace(record, name=record.name.split(".", 1)[0], number=number)
