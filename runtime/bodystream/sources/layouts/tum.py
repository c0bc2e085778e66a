"""The TUM RGB-D layout: `rgb.txt`, `depth.txt`, `associations.txt`; depth in 1/5000 m (Sturm et al. 2012).

Lists hold `timestamp path` per line, associations two such pairs. Which pair comes first differs between tools, so
the depth column is found from the paths or, where they do not tell, from the files themselves.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.layouts.images import DamagedFileError, png_is_depth, read_colour, read_depth
from bodystream.sources.layouts.intrinsics import find_intrinsics
from bodystream.sources.layouts.matching import MAX_DIFFERENCE_NS, mutually_nearest, told_of_few
from bodystream.sources.layouts.number_times import E9, MAX_TIME_NS, NumberMeaning, meaning_of_times
from bodystream.sources.layouts.plain import INTRINSICS_WANTED
from bodystream.sources.layouts.record import FrameRecord, Recording

__all__ = ["NAME", "TUM_SCALE_M", "WANTED", "associate", "fits", "parse_list", "read"]

NAME = "tum"
WANTED = "associations.txt, or rgb.txt + depth.txt, with the images they list"
TUM_SCALE_M = 1.0 / 5000.0

_ASSOCIATION_FILES = ("associations.txt", "associate.txt", "associated.txt")
_MAX_LIST_BYTES = 32 << 20
_MAX_LINES = 500_000  # four hours and a half at 30 Hz
_FRAMES_HZ = 30
_MAX_WORD = 40
_LARGEST = 10**19
_PROBE = 20

Row = tuple[int, str]  # time, path as written
Frame = tuple[int, str | None, str | None, str]  # time [ns], path of depth, of colour, problem


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
    frames: list[Frame]
    if association is not None:
        rows, cut = parse_list(_text(association), 4, str(association))
        depth_column = _depth_column(path, association, rows)
        lists = [[row[depth_column] for row in rows]]
        meaning = _meaning(lists[0])
        times = _times(lists[0], meaning, association)
        frames = [(t, row[depth_column][1], row[1 - depth_column][1], "") for t, row in zip(times, rows, strict=True)]
        origin, cut_file = association, association if cut else None
    else:
        origin = path / "depth.txt"
        depth, colour, meaning, cut_file = _two_lists(path)
        frames = associate(depth, colour)
        complete = sum(frame[2] is not None and frame[1] is not None for frame in frames)
        notes += told_of_few(f"{path}: by time", complete, len(depth))
    if cut_file is not None:
        frames.append((_after(frames), None, None, f"the last line of {cut_file} is cut off"))
    if not any(depth for _, depth, _, _ in frames):
        raise InputError(f"{path}: its lists name no frame")
    if any(b[0] < a[0] for a, b in zip(frames, frames[1:], strict=False)):
        notes.append(f"{path}: time stamps are not in order; frames are sorted by time")
        frames.sort(key=lambda frame: frame[0])
    return Recording(
        layout=NAME,
        records=tuple(_record(path, *frame, numbered=meaning.unit_ns is None) for frame in frames),
        depth_scale_m=TUM_SCALE_M,
        intrinsics=find_intrinsics(path),
        intrinsics_wanted=INTRINSICS_WANTED,
        notes=tuple(notes),
        time_note=f"{origin}: {meaning.note}" if meaning.note else "",
    )


def _two_lists(path: Path) -> tuple[list[Row], list[Row], NumberMeaning, Path | None]:
    """Depth and colour with their times [ns], what the times are, and the list that is cut off."""
    lists: list[list[Row]] = []
    meanings: list[NumberMeaning] = []
    cut_file: Path | None = None
    for name in ("depth.txt", "rgb.txt"):
        rows, cut = parse_list(_text(path / name), 2, str(path / name))
        written = [row[0] for row in rows]
        meanings.append(_meaning(written))
        times = _times(written, meanings[-1], path / name)
        lists.append([(time_ns, file) for time_ns, (_, file) in zip(times, written, strict=True)])
        cut_file = cut_file or (path / name if cut else None)
    numbered = [meaning.unit_ns is None for meaning in meanings]
    if all(lists) and numbered[0] != numbered[1]:
        raise InputError(
            f"{path}: one of depth.txt and rgb.txt holds frame numbers and the other times, so that nothing pairs "
            "their images: write times into both, or an associations.txt"
        )
    return lists[0], lists[1], meanings[0], cut_file


def _meaning(rows: list[Row]) -> NumberMeaning:
    return meaning_of_times([value_e9 for value_e9, _ in rows])


def _times(rows: list[Row], meaning: NumberMeaning, origin: Path) -> list[int]:
    """Times [ns]; of frame numbers, those of a camera of 30 Hz."""
    times: list[int] = []
    for value_e9, _ in rows:
        time_ns = meaning.time_ns(value_e9)
        times.append(round(value_e9 / _FRAMES_HZ) if time_ns is None else time_ns)
    if times and max(times) > MAX_TIME_NS:
        raise InputError(f"{origin}: its times reach {max(times) / 1e9:.3g} s, which is no time since 1970 or a start")
    return times


def parse_list(text: str, columns: int, origin: str) -> tuple[list[list[Row]], bool]:
    """Parse a list file.

    Args:
        columns: 2 (`timestamp path`) or 4 (two of them).

    Returns:
        Per line its (time, path) pairs, the time as written times 1e9 (nanoseconds where it is in seconds), and whether
        the last line is incomplete (the recording was cut off).

    Raises:
        InputError: a line before the last has not the right columns, or a path that leaves the folder.
    """
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise InputError(f"{origin}: more than {_MAX_LINES} lines: cut the recording into shorter ones")
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


def associate(depth: list[Row], colour: list[Row]) -> list[Frame]:
    """Pair depth and colour that are mutually nearest in time, at most 20 ms apart.

    Returns:
        (time_ns, depth path, colour path, problem) in order of time. A depth image without colour is a lost frame;
        so is colour after the last depth image (the recording ended mid-frame). Colour elsewhere is a faster camera.
    """
    if not depth or not colour:
        return [(t, p, None, f"{p} has no colour image") for t, p in depth]
    depth, colour = sorted(depth), sorted(colour)
    pairs = mutually_nearest([t for t, _ in depth], [t for t, _ in colour])
    frames: list[Frame] = []
    for i, (time_ns, depth_path) in enumerate(depth):
        if i in pairs:
            frames.append((time_ns, depth_path, colour[pairs[i]][1], ""))
        else:
            frames.append((time_ns, depth_path, None, f"{depth_path} has no colour image within 20 ms"))
    last_ns = depth[-1][0] + MAX_DIFFERENCE_NS
    frames += [(t, None, p, f"{p} has no depth image: the recording ended there") for t, p in colour if t > last_ns]
    return frames


def _record(
    root: Path, time_ns: int, depth: str | None, colour: str | None, problem: str, *, numbered: bool
) -> FrameRecord:
    depth_path = None if depth is None else root / depth
    colour_path = None if colour is None else root / colour
    return FrameRecord(
        name=PurePosixPath(depth or colour or "last line").stem,
        read_depth=None if depth_path is None else partial(read_depth, depth_path),
        read_colour=None if colour_path is None else partial(read_colour, colour_path),
        depth_file=str(depth_path or ""),
        colour_file=str(colour_path or ""),
        time_ns=None if numbered else time_ns,
        number=round(time_ns * _FRAMES_HZ / 1e9) if numbered else None,
        problem=problem,
    )


def _row(time_text: str, path_text: str, origin: str, index: int) -> Row:
    try:
        whole, _, fraction = time_text.partition(".")
        if not time_text.isascii() or "_" in time_text or len(time_text) > _MAX_WORD:
            raise ValueError
        if whole.isdecimal() and (not fraction or fraction.isdecimal()):
            # Kept in integers: a double resolves today's epoch seconds only to 0.2 microseconds.
            value_e9 = int(whole) * E9 + int((fraction + "000000000")[:9])
        else:
            value_e9 = round(float(time_text) * E9)  # nan and infinity raise
        if not 0 <= value_e9 < _LARGEST * E9:
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"{origin} line {index + 1}: {excerpt(time_text, 44)} is no time") from None
    pure = PurePosixPath(path_text)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path_text:
        raise InputError(f"{origin} line {index + 1}: {excerpt(path_text, 80)} leaves the recording's folder")
    return value_e9, path_text


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


def _after(frames: list[Frame]) -> int:
    return max((frame[0] for frame in frames), default=0) + 1


def _text(path: Path) -> str:
    return read_bounded(path, _MAX_LIST_BYTES, DamagedFileError).decode("utf-8", errors="replace")
