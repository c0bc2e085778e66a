"""The second part of a BVH file: how many frames, how long each lasts, and a line of numbers for each.

A recorder that is killed leaves the number of frames blank or zero and the last line cut: what is whole is read. A file
that announces more frames than it has lost some on its way, and is refused.
"""

from __future__ import annotations

import re

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.sources.motion.numerals import MAX_NUMBER, number_words, parsed_numbers, spellings
from bodystream.types import Array

__all__ = ["parse_frames"]

_MAX_FRAMES = 2_000_000
_SHORTEST_FRAME_S, _LONGEST_FRAME_S = 1e-4, 1.0
_HEADER = re.compile(
    r"\s*(?:Frames[ \t]*:?[ \t]*(?P<count>(?!Frame)[^\s:]*)\s+)?Frame[ \t]*Time[ \t]*:?[ \t]*(?P<time>[^\s:]+)"
    r"[ \t]*(?:\n|\Z)",
    re.IGNORECASE,
)


def parse_frames(text: str, first_line: int, columns: int, name: str) -> tuple[float, Array, list[str]]:
    """Time between frames [s], (T, columns) float64, and what had to be assumed.

    Args:
        text: what follows the word MOTION, lines ending in a line feed.
        first_line: the line of that word.
        columns: channels of all joints together.
        name: of the file, for messages.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    header = _HEADER.match(text)
    if header is None:
        raise InputError(
            f"{name}, line {first_line}: 'Frames: N' and 'Frame Time: S' must follow MOTION: the file is cut off or "
            "was not written by a BVH exporter"
        )
    count = _count(header["count"] or "", name)
    frame_time = _frame_time(header["time"], name)
    if columns == 0:
        raise InputError(f"{name}: no joint has CHANNELS, so there is no motion")
    body, line_before = text[header.end() :], first_line + text.count("\n", 0, header.end())
    notes: list[str] = []
    if count is None:
        body, is_cut = _whole_lines(body, columns)
        notes.append(
            "its header gives no number of frames, as when a recorder is ended before its file is; the whole lines "
            f"were taken{', and a last one that is cut was left out' if is_cut else ''}"
        )
    for spelling in spellings(body):
        values = parsed_numbers(spelling)
        if values is None or not values.size or not np.isfinite(values).all() or np.abs(values).max() > MAX_NUMBER:
            continue
        if count is None and values.size % columns == 0 and _lines_are_frames(spelling, columns):
            count = values.size // columns
            if count > _MAX_FRAMES:
                raise InputError(f"{name} has {count} frames, at most {_MAX_FRAMES} are accepted: cut it")
        if values.size == (count or 0) * columns:
            return frame_time, values.reshape(-1, columns), notes
    raise InputError(_what_is_wrong(body, line_before, count, columns, name))


def _count(word: str, name: str) -> int | None:
    """The announced number of frames; None where a recorder has not come to write it."""
    if not word or re.fullmatch("0{1,20}", word):
        return None
    if not word.isascii() or not word.isdigit() or len(word) > 12 or int(word) > _MAX_FRAMES:
        raise InputError(f"{name}: 'Frames: {excerpt(word)}' must be a whole number from 1 to {_MAX_FRAMES}")
    return int(word)


def _frame_time(word: str, name: str) -> float:
    try:
        frame_time = float(number_words(word)[0])
    except ValueError:
        frame_time = float("nan")
    if not _SHORTEST_FRAME_S <= frame_time <= _LONGEST_FRAME_S:
        raise InputError(
            f"{name}: 'Frame Time: {word[:40]}' must be seconds between {_SHORTEST_FRAME_S} and {_LONGEST_FRAME_S}; "
            "a larger number may be frames per second"
        )
    return frame_time


def _whole_lines(body: str, columns: int) -> tuple[str, bool]:
    """The body without a last line that was cut, and whether there was one.

    A last line without its line feed may lack digits of its last number even where it has all of them, and a disk that
    lost power leaves zeros.
    """
    body = body.rstrip("\x00")
    head, _, tail = body.rpartition("\n")
    if tail.strip():
        return head, True
    head, last = head.rstrip(), ""
    at = head.rfind("\n")
    head, last = (head[:at], head[at + 1 :]) if at >= 0 else ("", head)
    if last and all(len(spelling.split()) < columns for spelling in spellings(last)):
        return head, True
    return body, False


def _lines_are_frames(body: str, columns: int) -> bool:
    """Whether each line is one frame: without a count, only this tells a lost number from a whole file."""
    return all(len(words) == columns for line in body.split("\n") if (words := line.split()))


def _what_is_wrong(body: str, line_before: int, count: int | None, columns: int, name: str) -> str:
    """The message for frames that do not add up, looked for line by line."""
    found = 0
    lines = body.split("\n")
    last = max((i for i, line in enumerate(lines) if line.strip()), default=-1)
    of_count = "" if count is None else f" of {count}"
    for index, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        where = f"{name}, line {line_before + index} (frame {found + 1}{of_count})"
        numbers = 0
        for word in words:
            for part in number_words(word):
                numbers += 1
                try:
                    value = float(part)
                except ValueError:
                    return f"{where}: {excerpt(word)} is not a number"
                if not abs(value) <= MAX_NUMBER:
                    return f"{where}: {word[:40]} is not a usable number; the capture or its export was broken there"
        if numbers != columns:
            if index == last and numbers < columns:
                return f"{where}: {numbers} of {columns} numbers: the file is cut off in the middle of a frame"
            return (
                f"{where}: {numbers} numbers, but the hierarchy has {columns} channels: the skeleton is another "
                "motion's, or the line is damaged"
            )
        found += 1
    if count is None:
        return f"{name} holds no whole frame: its recorder was ended before it wrote one"
    cause = "the file is cut off" if found < count else "the header was not updated after an edit"
    return f"{name}: 'Frames: {count}' is announced and {found} are there: {cause}"
