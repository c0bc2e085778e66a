"""The layout anybody can make by hand: `colour/` + `depth/` + an intrinsics file; `mask/` if there are masks.

Depth is 16-bit png in millimetres or npy in metres; without a colour folder the recording is depth-only.
"""

from __future__ import annotations

from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts.images import COLOUR_SUFFIXES, DEPTH_SUFFIXES
from bodystream.sources.layouts.intrinsics import INTRINSICS_STEMS, INTRINSICS_SUFFIXES, find_intrinsics
from bodystream.sources.layouts.pairing import (
    COLOUR_FOLDERS,
    DEPTH_FOLDERS,
    MASK_FOLDERS,
    files_in,
    pair_by_name,
)
from bodystream.sources.layouts.record import MILLIMETRE_M, Recording

__all__ = ["INTRINSICS_WANTED", "NAME", "WANTED", "fits", "read"]

NAME = "plain"
WANTED = f"{'|'.join(COLOUR_FOLDERS)}/ (jpg, png) + depth/ (16-bit png, npy) + an intrinsics file"
INTRINSICS_WANTED = (
    f"a file named {', '.join(INTRINSICS_STEMS[:-1])} or {INTRINSICS_STEMS[-1]} "
    f"({', '.join(INTRINSICS_SUFFIXES)}), e.g. intrinsics.txt with one line `fx fy cx cy`"
)


def fits(path: Path) -> bool:
    """Whether there is a `depth` folder with depth files in it."""
    return bool(files_in(path, DEPTH_FOLDERS, DEPTH_SUFFIXES))


def read(path: Path, numbered: bool = False, layout: str = NAME) -> Recording:
    """List the frames of a folder.

    Args:
        numbered: file names are frame numbers, and say when a frame was taken.

    Raises:
        InputError: there is no depth folder, it is empty, or its files pair with no colour file.
    """
    depth_files = files_in(path, DEPTH_FOLDERS, DEPTH_SUFFIXES)
    if not depth_files:
        raise InputError(f"{path}: no depth images ({', '.join(DEPTH_SUFFIXES)}) in {path / DEPTH_FOLDERS[0]}")
    notes: list[str] = []
    colour_files = files_in(path, COLOUR_FOLDERS, COLOUR_SUFFIXES)
    if not colour_files:
        notes.append(f"{path}: no colour images ({'|'.join(COLOUR_FOLDERS)}/), so only depth is used")
    mask_files = files_in(path, MASK_FOLDERS, COLOUR_SUFFIXES)
    paired = pair_by_name(depth_files, colour_files, mask_files, numbered)
    return Recording(
        layout=layout,
        records=paired.records,
        depth_scale_m=MILLIMETRE_M,
        intrinsics=find_intrinsics(path),
        intrinsics_wanted=INTRINSICS_WANTED,
        notes=(*notes, *paired.notes),
        time_note=paired.time_note,
        masks=paired.masks,
    )
