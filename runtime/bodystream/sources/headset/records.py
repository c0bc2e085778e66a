"""Checks of numbers in recordings, with messages that name the record."""

from __future__ import annotations

from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.types import DeviceKind, TrackedDevice

__all__ = ["MAX_SAMPLES", "MAX_TIME_MS", "number", "numbers", "raw_device", "shown"]

MAX_SAMPLES = 1_000_000
"""Three hours at 90 Hz."""
MAX_TIME_MS = 1e14
"""Beyond any clock: `Date.now()` is 1.8e12."""
_MAX_VALUE = 1e6


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
    return repr(value)[:60]
