"""What the numbers in lists and names mean: seconds, milliseconds, microseconds, nanoseconds, or frame numbers.

A depth camera gives 0.2 to 200 images a second. Units of time differ by 1000, so that the step between neighbours fits
one unit only; frame numbers are whole and stand close together.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["E9", "MAX_TIME_NS", "NumberMeaning", "meaning_of_names", "meaning_of_times"]

E9 = 10**9
"""Numbers are handed over times 1e9, as whole numbers: a double resolves today's seconds only to 0.2 microseconds."""

MAX_TIME_NS = 2**63 - 1

_UNITS_NS = {"seconds": E9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
_LONGEST_STEP_S = 5.0
_FRAME_STEP = 10.5  # as milliseconds it would be 95 Hz
_COUNTER = 10**8  # greater numbers count time, not frames
_LATEST_S = 10**11  # the year 5138
_MIN_NAMES = 5
_JITTER = 0.15
_USUAL_HZ = (5.0, 6.0, 10.0, 12.5, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0, 90.0)
_USUAL_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class NumberMeaning:
    """What a series of numbers is.

    Attributes:
        unit_ns: nanoseconds per 1, or None for numbers that are no times.
        note: what the user should know, to be shown unless a rate is given; else empty.
    """

    unit_ns: int | None
    note: str = ""

    def time_ns(self, value_e9: int) -> int | None:
        """One of the numbers (times 1e9) as a time [ns]; None where it is none."""
        return None if self.unit_ns is None else value_e9 * self.unit_ns // E9


def meaning_of_times(values_e9: Sequence[int]) -> NumberMeaning:
    """Of numbers that are said to be times, as a list's first column; the usual unit is the second."""
    ordered = sorted(set(values_e9))
    steps = _steps(ordered)
    if not steps:
        word = _by_size(ordered[-1] // E9) if ordered else "seconds"
        return _told(word, None, "its times are", False)
    step = statistics.median_low(steps) / E9
    whole = all(value % E9 == 0 for value in ordered)
    if whole and step <= _FRAME_STEP and ordered[-1] < _COUNTER * E9:
        first, second = ordered[0] // E9, ordered[1] // E9
        return NumberMeaning(
            None,
            f"its times are whole numbers ({first}, {second}, ...), which are taken as frame numbers at 30 Hz, not as "
            "seconds; ?rate_hz=HZ sets the rate",
        )
    return _told(_unit_of_step(step), step, "its times are", whole)


def meaning_of_names(values_e9: Sequence[int], beside_a_number: bool = False) -> NumberMeaning:
    """Of one number in the names of files, in the files' order; they are times only where that is plain to see.

    Args:
        beside_a_number: the names hold a running number, too, so that this one is likely to be the time.
    """
    steps = [b - a for a, b in itertools.pairwise(values_e9)]
    if not steps or min(steps) <= 0 or (len(values_e9) < _MIN_NAMES and not beside_a_number):
        return NumberMeaning(None)
    step = statistics.median_low(steps) / E9
    whole = all(value % E9 == 0 for value in values_e9)
    word = _unit_of_step(step)
    if values_e9[-1] * _UNITS_NS[word] > _LATEST_S * E9 * E9:
        return NumberMeaning(None)  # a date written as one number, or an identifier
    large = values_e9[0] >= _COUNTER * E9
    if whole and step <= _FRAME_STEP and not large:
        return NumberMeaning(None)
    regular = all(abs(s / E9 / step - max(1, round(s / E9 / step))) <= _JITTER for s in steps)
    if large or not whole or beside_a_number or (regular and min(steps) < max(steps)):
        return _told(word, step, "the names of its files are", whole)
    if not regular:
        return NumberMeaning(None)
    rate_hz = E9 / (step * _UNITS_NS[word])
    if step % 5 and any(abs(rate_hz / usual - 1) <= _USUAL_MARGIN for usual in _USUAL_HZ):
        return _told(word, step, "the names of its files are", whole)
    return NumberMeaning(
        None,
        f"the names of its files are {step:g} apart and taken as one frame each at 30 Hz; if they are {word}, pass "
        f"?rate_hz={rate_hz:.4g}",
    )


def _told(word: str, step: float | None, what: str, whole: bool) -> NumberMeaning:
    unit_ns = _UNITS_NS[word]
    if word == "seconds" and not whole:
        return NumberMeaning(unit_ns)
    rate = "" if step is None else f" ({E9 / (step * unit_ns):.3g} Hz)"
    return NumberMeaning(unit_ns, f"{what} read as {word}{rate}; ?rate_hz=HZ sets the rate if that is wrong")


def _steps(ordered: Sequence[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(ordered)]


def _unit_of_step(step: float) -> str:
    for word, unit_ns in _UNITS_NS.items():
        if step * unit_ns < _LONGEST_STEP_S * E9:
            return word
    return "nanoseconds"


def _by_size(value: int) -> str:
    for word, unit_ns in _UNITS_NS.items():
        if value * unit_ns <= _LATEST_S * E9:
            return word
    return "nanoseconds"
