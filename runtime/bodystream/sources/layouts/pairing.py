"""Which colour file belongs to which depth file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts.images import read_colour, read_depth, read_mask
from bodystream.sources.layouts.record import FrameRecord
from bodystream.types import Array

__all__ = ["COLOUR_FOLDERS", "DEPTH_FOLDERS", "MASK_FOLDERS", "files_of", "find_folder", "pair_by_name"]

COLOUR_FOLDERS = ("color", "colour", "rgb", "image", "images")
DEPTH_FOLDERS = ("depth",)
MASK_FOLDERS = ("mask", "masks")

_MAX_FILES = 1_000_000


def find_folder(root: Path, names: Iterable[str]) -> Path | None:
    """The first of `names` that is a folder in `root`."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def files_of(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder with one of the suffixes, in natural order (2 before 10).

    Raises:
        InputError: the folder cannot be listed or holds more files than any take.
    """
    found: list[Path] = []
    try:
        for path in folder.iterdir():
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                found.append(path)
            if len(found) > _MAX_FILES:
                raise InputError(f"{folder}: more than {_MAX_FILES} files")
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return sorted(found, key=lambda path: _natural(path.stem))


def pair_by_name(
    depth_files: Sequence[Path], colour_files: Sequence[Path], mask_files: Sequence[Path] = (), number: bool = False
) -> tuple[list[FrameRecord], list[str]]:
    """Frames from two folders: equal names, else equal last numbers in the names, else order where counts agree.

    Args:
        mask_files: named `<frame>.png` or `<frame>_<object>.png`; several objects of one frame are united.
        number: the names are frame numbers.

    Returns:
        The records in order, incomplete ones with their problem, and notes for the user.

    Raises:
        InputError: nothing pairs up.
    """
    depth, colour = _keyed(depth_files, colour_files)
    notes: list[str] = []
    if colour and not depth.keys() & colour.keys():
        where = f"{depth_files[0].parent} and {colour_files[0].parent}"
        if len(depth_files) != len(colour_files):
            raise InputError(
                f"{where}: no colour file has the name or number of a depth file, and their counts differ "
                f"({len(colour_files)} and {len(depth_files)}): name the two files of a frame alike"
            )
        notes.append(f"{where}: the names do not agree, so files are paired in their order")
        depth = dict(enumerate(depth_files))
        colour = dict(enumerate(colour_files))
    masks: dict[str, list[Path]] = {}
    for path in mask_files:
        masks.setdefault(path.stem, []).append(path)
        if "_" in path.stem:
            masks.setdefault(path.stem.split("_", 1)[0], []).append(path)
    keys = sorted(depth.keys() | colour.keys(), key=lambda key: _natural(str(key)))
    return [
        _record(depth.get(key), colour.get(key), bool(colour), masks, int((depth.get(key) or colour[key]).stem))
        if number
        else _record(depth.get(key), colour.get(key), bool(colour), masks, None)
        for key in keys
    ], notes


def _record(
    depth: Path | None, colour: Path | None, wants_colour: bool, masks: dict[str, list[Path]], number: int | None
) -> FrameRecord:
    present = depth if depth is not None else colour
    assert present is not None
    problem = ""
    if depth is None:
        problem = f"{present} has no depth file"
    elif wants_colour and colour is None:
        problem = f"{present} has no colour file"
    own_masks = masks.get(present.stem, [])
    return FrameRecord(
        name=present.stem,
        read_depth=None if depth is None else partial(read_depth, depth),
        read_colour=None if colour is None else partial(read_colour, colour),
        read_mask=partial(_union, tuple(own_masks)) if own_masks else None,
        depth_file="" if depth is None else str(depth),
        colour_file="" if colour is None else str(colour),
        number=number,
        problem=problem,
    )


def _union(paths: tuple[Path, ...], raw_depth: Array) -> Array:
    mask = read_mask(paths[0])
    for path in paths[1:]:
        other = read_mask(path)
        if other.shape != mask.shape:
            raise InputError(f"{path} and {paths[0]}: masks of one frame differ in size")
        mask = mask | other
    return mask


def _keyed(
    depth_files: Sequence[Path], colour_files: Sequence[Path]
) -> tuple[dict[str | int, Path], dict[str | int, Path]]:
    depth: dict[str | int, Path] = {path.stem: path for path in depth_files}
    colour: dict[str | int, Path] = {path.stem: path for path in colour_files}
    if not colour or depth.keys() & colour.keys():
        return depth, colour
    by_number = []
    for files in (depth_files, colour_files):
        numbered = {_last_number(path.stem): path for path in files}
        if None in numbered or len(numbered) != len(files):
            return depth, colour
        by_number.append({number: path for number, path in numbered.items() if number is not None})
    return by_number[0], by_number[1]


def _last_number(stem: str) -> int | None:
    digits = re.findall(r"[0-9]+", stem)
    return int(digits[-1]) if digits and len(digits[-1]) < 20 else None


def _natural(text: str) -> list[tuple[int, int, str]]:
    return [
        (0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", text)
        if part
    ]
