"""The numbers in the names of a folder's files: which of them runs on, which is a time."""

from __future__ import annotations

import datetime
import itertools
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodystream.sources.layouts.number_times import E9, MAX_TIME_NS, NumberMeaning, meaning_of_names

__all__ = ["NameNumbers", "in_order_of_time", "natural", "numbers_of"]

_NUMBER = re.compile(r"([0-9]{1,24})(?:\.([0-9]{1,12})(?![0-9]))?")
_SECONDS = re.compile(r"(?<![0-9])([0-9]{9,10})[-_ .]([0-9]{1,9})(?![0-9])")
_DECIMAL = re.compile(r"[^0-9]*[0-9]{1,24}\.[0-9]{1,12}")
_CALENDAR = re.compile(
    r"(?<![0-9])(?:((?:19|20)[0-9]{2})([-_. ]?)([01][0-9])\2([0-3][0-9])[-_. tT]{0,3})?"  # a date, or none
    r"([0-2][0-9])([-_.: ]?)([0-5][0-9])\6([0-5][0-9])[-_.,]?([0-9]{3}(?:[0-9]{3}){0,2})(?![0-9])"
)
_MAX_NUMBERS = 8
_SHORTEST_STEP_NS = 2_000_000
_LONGEST_STEP_NS = 5_000_000_000
_EPOCH_S = 10**8
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2 before 10."""
    return [
        (0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", text)
        if part
    ]


def numbers_of(stem: str) -> tuple[int, ...]:
    """The numbers in a name, each times 1e9; what follows a point is its fraction."""
    found = itertools.islice(_NUMBER.finditer(stem), _MAX_NUMBERS)
    return tuple(int(match[1]) * E9 + int((match[2] or "").ljust(9, "0")[:9]) for match in found)


@dataclass(frozen=True, slots=True)
class NameNumbers:
    """What the names of a folder's files say.

    Attributes:
        columns: each number of the names, over all files; empty where the names do not all hold as many.
        times_ns: when each image was taken, or None.
        running: the column that counts the images, or None.
        note: what the user should know about the times.
    """

    columns: tuple[tuple[int, ...], ...]
    times_ns: tuple[int, ...] | None = None
    running: int | None = None
    note: str = ""

    @classmethod
    def of(cls, files: Sequence[Path]) -> NameNumbers:
        """Of files in natural order."""
        stems = [file.stem for file in files]
        rows = [numbers_of(stem) for stem in stems]
        if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
            return cls(())
        columns = tuple(zip(*rows, strict=True))
        split = _split_seconds(stems) or _clock_times(stems)
        if split is not None:
            return cls(columns, split)
        rising = [index for index, column in enumerate(columns) if _rises(column)]
        running = next((index for index in rising if _counts(columns[index])), None)
        note = ""
        for index in reversed(rising):
            if index == running:
                continue
            meaning = meaning_of_names(columns[index], beside_a_number=running is not None)
            times_ns = _times(columns[index], meaning)
            if times_ns is not None:
                return cls(columns, times_ns, running, meaning.note)
            note = note or meaning.note
        return cls(columns, None, running if running is not None else (rising[-1] if rising else None), note)


def _times(column: Sequence[int], meaning: NumberMeaning) -> tuple[int, ...] | None:
    if meaning.unit_ns is None or column[-1] * meaning.unit_ns // E9 > MAX_TIME_NS:
        return None
    return tuple(value * meaning.unit_ns // E9 for value in column)


def _rises(column: Sequence[int]) -> bool:
    return all(b > a for a, b in itertools.pairwise(column))


def _counts(column: Sequence[int]) -> bool:
    """Whether it goes up by one whole number, but for images that were dropped."""
    if column[0] >= _EPOCH_S * E9 or len(column) < 2 or any(value % E9 for value in column):
        return False
    return _steps_of(column) == E9


def _split_seconds(stems: Sequence[str]) -> tuple[int, ...] | None:
    """Times in names such as 1305031102-175304: seconds since 1970 and a fraction, in two numbers."""
    parts: list[tuple[int, str]] = []
    for stem in stems:
        matches = _SECONDS.findall(stem)
        if len(matches) != 1 or int(matches[0][0]) < _EPOCH_S:
            return None
        parts.append((int(matches[0][0]), matches[0][1]))
    width = max(len(fraction) for _, fraction in parts)
    # Of fixed width or not, a fraction is in the unit that its longest one needs.
    unit_ns = 10 ** (9 - (3 if width <= 3 else 6 if width <= 6 else 9))
    padded = all("." in stem for stem in stems)
    times = [
        seconds * E9 + (int(fraction.ljust(9, "0")) if padded else int(fraction) * unit_ns)
        for seconds, fraction in parts
    ]
    if not _rises(times) or len(times) < 2 or times[-1] > MAX_TIME_NS:
        return None
    # A session's date and a running number look alike, but rise by next to nothing.
    return tuple(times) if _steps_of(times) >= _SHORTEST_STEP_NS else None


def _clock_times(stems: Sequence[str]) -> tuple[int, ...] | None:
    """Times in names such as 2024-05-01_12-00-59.850, 20240501_120059_850 or 12_00_59_850: a clock's, with a fraction.

    Read as plain numbers they would leap at each full minute. Within one second nothing tells the fraction from a
    running number, so the seconds must go on; without a date and separators nothing tells them from one number, until
    a minute is full (a number would count on to 99).
    """
    seconds: list[int] = []
    bare = False
    times: list[int] = []
    for stem in stems:
        match = _CALENDAR.search(stem)
        if match is None:
            return None
        year, _, month, day, hour, separator, minute, second, fraction = match.groups()
        bare = bare or not (year or separator)
        try:
            days = datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY if year else 0
        except ValueError:
            return None
        if int(hour) > 23:
            return None
        seconds.append(days * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second))
        times.append(seconds[-1] * E9 + int(fraction.ljust(9, "0")))
    if len({second // 60 if bare else second for second in seconds}) < 2 or times[0] < 0 or not _rises(times):
        return None
    return tuple(times) if _SHORTEST_STEP_NS <= _steps_of(times) <= _LONGEST_STEP_NS else None


def _steps_of(column: Sequence[int]) -> int:
    return statistics.median_low(b - a for a, b in itertools.pairwise(column))


def in_order_of_time(files: Sequence[Path]) -> list[Path]:
    """Files in natural order, or in order of the one decimal number in their names (0.12 comes before 0.5)."""
    if files and all(_DECIMAL.fullmatch(file.stem) for file in files):
        return sorted(files, key=lambda file: numbers_of(file.stem))
    return list(files)
