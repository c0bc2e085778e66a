"""The TUM RGB-D layout: `rgb.txt`, `depth.txt`, `associations.txt`; depth in 1/5000 m (Sturm et al. 2012).

Lists hold `timestamp path` per line, associations two such pairs. Which pair comes first differs between tools, so
the depth column is found from the paths or, where they do not tell, from the files themselves.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.sources.layouts.images import DamagedFileError, png_is_depth, read_colour, read_depth
from bodystream.sources.layouts.intrinsics import find_intrinsics
from bodystream.sources.layouts.plain import INTRINSICS_WANTED
from bodystream.sources.layouts.record import FrameRecord, Recording

__all__ = ["NAME", "TUM_SCALE_M", "WANTED", "associate", "fits", "parse_list", "read"]

NAME = "tum"
WANTED = "associations.txt, or rgb.txt + depth.txt, with the images they list"
TUM_SCALE_M = 1.0 / 5000.0

_ASSOCIATION_FILES = ("associations.txt", "associate.txt", "associated.txt")
_MAX_LIST_BYTES = 64 << 20
_MAX_DIFFERENCE_NS = 20_000_000  # as the benchmark's associate.py
_PROBE = 20

Row = tuple[int, str]  # time [ns], path as written


def fits(path: Path) -> bool:
    """Whether the lists are there."""
    lists = (path / "rgb.txt").is_file() and (path / "depth.txt").is_file()
    return lists or any((path / name).is_file() for name in _ASSOCIATION_FILES)


def read(path: Path) -> Recording:
    """List the frames of a folder.

    Raises:
        InputError: a list is damaged or names no frame.
    """
    association = next((path / name for name in _ASSOCIATION_FILES if (path / name).is_file()), None)
    notes: list[str] = []
    frames: list[tuple[int, str | None, str | None, str]]
    if association is not None:
        rows, cut = parse_list(_text(association), 4, str(association))
        depth_column = _depth_column(path, association, rows)
        frames = [(row[depth_column][0], row[depth_column][1], row[1 - depth_column][1], "") for row in rows]
        if cut:
            frames.append((_after(frames), None, None, f"the last line of {association} is cut off"))
    else:
        depth_rows, depth_cut = parse_list(_text(path / "depth.txt"), 2, str(path / "depth.txt"))
        colour_rows, colour_cut = parse_list(_text(path / "rgb.txt"), 2, str(path / "rgb.txt"))
        frames = associate([row[0] for row in depth_rows], [row[0] for row in colour_rows])
        if depth_cut or colour_cut:
            cut_file = path / ("depth.txt" if depth_cut else "rgb.txt")
            frames.append((_after(frames), None, None, f"the last line of {cut_file} is cut off"))
    if not any(depth for _, depth, _, _ in frames):
        raise InputError(f"{path}: its lists name no frame")
    if any(b[0] < a[0] for a, b in zip(frames, frames[1:], strict=False)):
        notes.append(f"{path}: time stamps are not in order; frames are sorted by time")
        frames.sort(key=lambda frame: frame[0])
    return Recording(
        layout=NAME,
        records=tuple(_record(path, *frame) for frame in frames),
        depth_scale_m=TUM_SCALE_M,
        intrinsics=find_intrinsics(path),
        intrinsics_wanted=INTRINSICS_WANTED,
        notes=tuple(notes),
    )


def parse_list(text: str, columns: int, origin: str) -> tuple[list[list[Row]], bool]:
    """Parse a list file.

    Args:
        columns: 2 (`timestamp path`) or 4 (two of them).

    Returns:
        Per line its (time_ns, path) pairs, and whether the last line is incomplete (the recording was cut off).

    Raises:
        InputError: a line before the last has not the right columns, or a path that leaves the folder.
    """
    lines = text.splitlines()
    complete = text.endswith(("\n", "\r"))
    rows: list[list[Row]] = []
    for index, line in enumerate(lines):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            if len(words) != columns:
                raise InputError(f"{origin} line {index + 1}: expected {columns} columns, got {len(words)}")
            rows.append([_row(words[i], words[i + 1], origin, index) for i in range(0, columns, 2)])
        except InputError:
            if index == len(lines) - 1 and not complete:
                return rows, True
            raise
    return rows, False


def associate(depth: list[Row], colour: list[Row]) -> list[tuple[int, str | None, str | None, str]]:
    """Pair depth and colour that are mutually nearest in time, at most 20 ms apart.

    Returns:
        (time_ns, depth path, colour path, problem) in order of time. A depth image without colour is a lost frame;
        so is colour after the last depth image (the recording ended mid-frame). Colour elsewhere is a faster camera.
    """
    if not depth or not colour:
        return [(t, p, None, f"{p} has no colour image") for t, p in depth]
    depth, colour = sorted(depth), sorted(colour)
    depth_ns = np.array([t for t, _ in depth], np.int64)
    colour_ns = np.array([t for t, _ in colour], np.int64)
    nearest_colour = _nearest(colour_ns, depth_ns)
    nearest_depth = _nearest(depth_ns, colour_ns)
    frames: list[tuple[int, str | None, str | None, str]] = []
    for i, (time_ns, depth_path) in enumerate(depth):
        j = int(nearest_colour[i])
        if nearest_depth[j] == i and abs(colour_ns[j] - time_ns) <= _MAX_DIFFERENCE_NS:
            frames.append((time_ns, depth_path, colour[j][1], ""))
        else:
            frames.append((time_ns, depth_path, None, f"{depth_path} has no colour image within 20 ms"))
    last_ns = depth[-1][0] + _MAX_DIFFERENCE_NS
    frames += [(t, None, p, f"{p} has no depth image: the recording ended there") for t, p in colour if t > last_ns]
    return frames


def _nearest(sorted_ns: np.ndarray, wanted_ns: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(sorted_ns, wanted_ns), 1, len(sorted_ns) - 1) if len(sorted_ns) > 1 else None
    if right is None:
        return np.zeros(len(wanted_ns), np.int64)
    left_is_nearer = wanted_ns - sorted_ns[right - 1] <= sorted_ns[right] - wanted_ns
    return np.where(left_is_nearer, right - 1, right)


def _record(root: Path, time_ns: int, depth: str | None, colour: str | None, problem: str) -> FrameRecord:
    depth_path = None if depth is None else root / depth
    colour_path = None if colour is None else root / colour
    return FrameRecord(
        name=PurePosixPath(depth or colour or "last line").stem,
        read_depth=None if depth_path is None else partial(read_depth, depth_path),
        read_colour=None if colour_path is None else partial(read_colour, colour_path),
        depth_file=str(depth_path or ""),
        colour_file=str(colour_path or ""),
        time_ns=time_ns,
        problem=problem,
    )


def _row(time_text: str, path_text: str, origin: str, index: int) -> Row:
    try:
        seconds, _, fraction = time_text.partition(".")
        if seconds.isdecimal() and (not fraction or fraction.isdecimal()) and len(seconds) <= 10:
            # Kept in integers: a double resolves today's epoch seconds only to 0.2 microseconds.
            time_ns = int(seconds) * 10**9 + int((fraction + "000000000")[:9])
        else:
            value = float(time_text)
            if not math.isfinite(value) or not 0 <= value < 9e9:
                raise ValueError
            time_ns = round(value * 1e9)
    except ValueError:
        raise InputError(f"{origin} line {index + 1}: {time_text[:40]!r} is no time in seconds") from None
    pure = PurePosixPath(path_text)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path_text:
        raise InputError(f"{origin} line {index + 1}: {path_text[:80]!r} leaves the recording's folder")
    return time_ns, path_text


def _depth_column(root: Path, association: Path, rows: list[list[Row]]) -> int:
    for row in rows[:_PROBE]:
        named = ["depth" in path.lower() for _, path in row]
        if named[0] != named[1]:
            return named.index(True)
        depth = [png_is_depth(root / path) for _, path in row]
        if (depth[0] is True) != (depth[1] is True):
            return depth.index(True)
    raise InputError(
        f"{association}: cannot tell which column is depth: no path contains 'depth' and no file there is a 16-bit "
        "grey png"
    )


def _after(frames: list[tuple[int, str | None, str | None, str]]) -> int:
    return max((frame[0] for frame in frames), default=0) + 1


def _text(path: Path) -> str:
    return read_bounded(path, _MAX_LIST_BYTES, DamagedFileError).decode("utf-8", errors="replace")
