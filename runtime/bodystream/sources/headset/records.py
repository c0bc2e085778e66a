"""Checks of numbers in recordings, with messages that name the record."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.types import DeviceKind, TrackedDevice

__all__ = [
    "MAX_SAMPLES",
    "MAX_TIME_MS",
    "is_missing",
    "number",
    "numbers",
    "numbers_or_lost",
    "raw_device",
    "shown",
    "since_start_ns",
]

MAX_SAMPLES = 1_000_000
"""Three hours at 90 Hz."""
MAX_TIME_MS = 4e12
"""Beyond any clock: `Date.now()` is 1.8e12. In nanoseconds it fits into 64 bits."""
_MAX_VALUE = 1e6
_MAX_SPAN_NS = 10**18
_MISSING = frozenset(
    ("", "-", "--", "nan", "+nan", "-nan", "nan(ind)", "-nan(ind)", "1.#qnan", "-1.#ind", "null", "none", "nil", "na")
    + ("n/a", "#n/a", "undefined")
)
"""What writers of many languages put in the place of a number that is not there."""


def is_missing(value: Any) -> bool:
    """Whether a value stands for a number that is not there: null, not finite, or a word for that."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, str) and len(value) < 32 and value.strip().lower() in _MISSING)


def number(value: Any, where: str, what: str, limit: float = _MAX_VALUE) -> float:
    """`value` as a finite float of at most `limit`.

    Raises:
        InputError: it is not; the message begins with `where`, the file and the record.
    """
    # A bool is an int, and an int may be too large for a float; nan fails the comparison.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= limit:
        raise InputError(
            f"{where}: the {what} must be a finite number, got {shown(value)}: is this another format or version?"
        )
    return float(value)


def numbers(values: Any, count: int, where: str, what: str) -> list[float]:
    """`values` as a list of `count` finite floats.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(values, list) or len(values) != count:
        raise InputError(f"{where}: the {what} must be {count} numbers, got {shown(values)}")
    return [number(value, where, f"{what}, number {place}") for place, value in enumerate(values)]


def numbers_or_lost(values: Any, count: int, where: str, what: str) -> list[float] | None:
    """The same, or None where one of them is missing: writers put null for a device that is not tracked.

    Raises:
        InputError: it is something else.
    """
    if values is None or (isinstance(values, list) and len(values) == count and any(map(is_missing, values))):
        return None
    return numbers(values, count, where, what)


def since_start_ns(device_ns: int, start_ns: int, where: str) -> int:
    """How long after the first sample this one is [ns].

    Raises:
        InputError: so long that one of the two is no time.
    """
    span_ns = device_ns - start_ns
    if abs(span_ns) > _MAX_SPAN_NS:
        raise InputError(
            f"{where}: the time is {abs(span_ns) * 1e-9 / 31557600:.0f} years {'after' if span_ns > 0 else 'before'} "
            "the first one: a damaged number, or times of two clocks"
        )
    return span_ns


def raw_device(pose: list[float], kind: DeviceKind) -> TrackedDevice:
    """Seven numbers, position and quaternion, as they are."""
    return TrackedDevice(np.array(pose[:3], np.float64), np.array(pose[3:], np.float64), kind)


def shown(value: Any) -> str:
    """What was got, short enough for a message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"  # Python refuses to print integers of more than 4300 digits
    return excerpt(value)
