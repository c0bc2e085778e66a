"""Depth unit and rate that a recorder wrote beside the intrinsics, under the names that recorders use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from bodystream.errors import excerpt

__all__ = ["SCALE_KEYS", "is_stated_key", "rate_of", "scale_of"]

SCALE_KEYS = (
    "depth_scale",
    "depth_scale_m",
    "depth_scale_mm",
    "depth_unit",
    "depth_units",
    "depth_unit_m",
    "depth_unit_mm",
    "depth_factor",
    "depth_map_factor",
    "depth_scale_factor",
    "depth_scaling_factor",
    "depth_multiplier",
    "depth_divisor",
    "depth_shift",
    "png_depth_scale",
    "param_depthunits",
)
"""As they read with words apart; spelling in other cases, with hyphens or without anything between is the same key."""

_PLAIN_KEYS = {key.replace("_", "") for key in SCALE_KEYS}
_RATE_KEYS = {"fps", "framerate", "framespersecond"}
_RATES_HZ = (0.2, 300.0)
_WORDS_M = {
    "m": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "metre": 1.0,
    "metres": 1.0,
    "cm": 0.01,
    "mm": 1e-3,
    "millimeter": 1e-3,
    "millimeters": 1e-3,
    "millimetre": 1e-3,
    "millimetres": 1e-3,
    "um": 1e-6,
    "micrometer": 1e-6,
    "micrometers": 1e-6,
    "micrometre": 1e-6,
    "micrometres": 1e-6,
}
_SMALLEST_M = 1e-6
_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,3})?"
_QUOTIENT = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER}))?\s*([A-Za-z]*)\s*")


def is_stated_key(key: object) -> bool:
    """Whether a key of a calibration file names the depth unit or the rate."""
    return _is_one_of(key, _PLAIN_KEYS) or _is_one_of(key, _RATE_KEYS)


def rate_of(entries: Iterable[tuple[str, Any]]) -> float | None:
    """Frames per second among the entries of a calibration file (`fps`, `frame_rate`), or None."""
    for key, value in entries:
        if _is_one_of(key, _RATE_KEYS) and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if _RATES_HZ[0] <= value <= _RATES_HZ[1] else None
    return None


def _is_one_of(key: object, plain_keys: set[str]) -> bool:
    return isinstance(key, str) and len(key) < 40 and _plain(key) in plain_keys


def scale_of(entries: Iterable[tuple[str, Any]]) -> tuple[float | None, str]:
    """The depth unit among the entries of a calibration file.

    A number up to 1 is metres per unit (0.00025, 1/256), a larger one is units per metre (5000); a word is a unit.

    Returns:
        Metres per unit, or None where none is stated; and what to tell the user where a value is not understood.
    """
    for key, value in entries:
        if _is_one_of(key, _PLAIN_KEYS):
            scale_m = _metres(_plain(key), value)
            if scale_m is not None:
                return scale_m, ""
            return (
                None,
                f"its {key} is {excerpt(value)}, which is no depth unit, and is not used: pass ?depth_scale_m=METRES",
            )
    return None, ""


def _metres(key: str, value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    word = ""
    if isinstance(value, str):
        text = value[:80].strip()
        if text.lower() in _WORDS_M:
            return _WORDS_M[text.lower()]
        match = _QUOTIENT.fullmatch(text)
        if match is None:
            return None
        number, divisor, word = float(match[1]), float(match[2] or 1.0), match[3].lower()
        number = number / divisor if divisor else math.nan
    elif isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    if not (math.isfinite(number) and number > 0):
        return None
    if word:
        return number * _WORDS_M[word] if word in _WORDS_M else None
    if key == "paramdepthunits":  # of a RealSense preset: micrometres
        scale_m = number * 1e-6
    elif key.endswith("mm"):
        scale_m = number * 1e-3
    else:
        scale_m = number if number <= 1 else 1 / number
    return scale_m if _SMALLEST_M <= scale_m <= 1 else None


def _plain(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower())
