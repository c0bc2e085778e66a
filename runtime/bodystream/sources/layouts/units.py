"""Is the depth in the unit it is said to be in?

Two witnesses. The median depth of a room lies between 0.2 and 10 m. And a camera that triangulates (structured light
or stereo) measures a disparity in fixed steps, so its depth levels are `k z^2` apart, with k = step / (focal length x
baseline): about 2.9e-3 per metre for a Kinect v1, 1.6e-3 for a RealSense D435 at 640x480, 0.5e-3 for a D455 at
1280x720 (Khoshelham & Elberink 2012, eq. 4). Raw values carry k in their own unit, which shows the unit where the
files still hold the sensor's own levels. Filtered, warped or time-of-flight depth has no such levels; then only the
median speaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["ScaleDecision", "decide_scale", "level_step", "measured", "to_metres"]

_SATURATED = 65535  # what 16-bit recorders write for "beyond range"
_PLAUSIBLE_MEDIAN_M = (0.2, 10.0)
_FAR_MEDIAN_M = 5.0
_STATED_MARGIN = 5.0
_STEP_RANGE_PER_M = (0.4e-3, 4.5e-3)
_INTEGER_SCALES_M = (0.001, 0.0002, 0.0001)  # millimetre, TUM RGB-D, RealSense at 100 micrometres
_FLOAT_SCALES_M = (1.0, 0.001)
_MIN_STEP = 4  # smaller steps are dominated by rounding to integers
_MIN_LEVELS = 10
_MIN_LEVEL_PIXELS = 3
_MAX_STEP_SPREAD = 1.3


@dataclass(frozen=True, slots=True)
class ScaleDecision:
    """The unit to use.

    Attributes:
        scale_m: metres per raw unit.
        warning: what the user should know about it, or empty.
    """

    scale_m: float
    warning: str = ""


def measured(raw: Array) -> Array:
    """(H, W) bool: which raw values are measurements (positive, finite, not a 16-bit image's saturated 65535)."""
    if raw.dtype.kind == "f":
        return np.isfinite(raw) & (raw > 0)
    if raw.dtype == np.uint16:
        return (raw > 0) & (raw < _SATURATED)
    return raw > 0


def to_metres(raw: Array, scale_m: float, max_depth_m: float | None = None) -> Array:
    """Raw depth as (H, W) float32 [m]; what is no measurement or lies beyond `max_depth_m` becomes 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        depth_m = raw.astype(np.float32)
        depth_m *= np.float32(scale_m)
    bad = ~measured(raw)
    if raw.dtype.kind == "f":
        bad |= np.isinf(depth_m)  # a double beyond float32
    if max_depth_m is not None:
        bad |= depth_m > max_depth_m
    depth_m[bad] = 0.0
    return depth_m


def level_step(raw: Array) -> float | None:
    """k of `step = k z^2` between the depth levels of one (H, W) 16-bit image [1/unit]; None without clear levels."""
    if raw.dtype.kind not in "ui" or raw.dtype.itemsize != 2:
        return None
    values = raw[measured(raw)]
    counts = np.bincount(values.ravel(), minlength=2)
    levels = np.flatnonzero(counts >= _MIN_LEVEL_PIXELS)
    if levels.size < _MIN_LEVELS:
        return None
    steps = np.diff(levels)
    wide = steps >= _MIN_STEP
    if wide.sum() < _MIN_LEVELS - 1 or counts[levels[1:]][wide].sum() < 0.5 * values.size:
        return None
    middles = 0.5 * (levels[1:] + levels[:-1])[wide]
    low, middle, high = np.percentile(steps[wide] / middles**2, (25, 50, 75))
    return float(middle) if high <= _MAX_STEP_SPREAD * low else None


def decide_scale(
    samples: Sequence[Array],
    default_m: float,
    chosen_m: float | None,
    origin: str,
    stated: tuple[float, str] | None = None,
) -> ScaleDecision:
    """Choose the depth unit of a recording.

    Args:
        samples: a few raw depth images.
        default_m: what the layout says, for integers; floats are taken as metres.
        chosen_m: the user's choice; it is obeyed, with a warning where it looks wrong.
        origin: names the recording in messages.
        stated: what the recorder itself wrote for integers, and where; obeyed, never replaced by another unit.

    Raises:
        InputError: the stated unit makes no scene, no known unit gives a plausible one, or several do and nothing tells
            them apart.
    """
    if chosen_m is not None and not (math.isfinite(chosen_m) and chosen_m > 0):
        raise InputError(f"depth_scale_m must be a positive number of metres per unit, got {chosen_m}")
    is_float = bool(samples) and samples[0].dtype.kind == "f"
    if stated is not None:
        default_m = stated[0]
    scale = chosen_m if chosen_m is not None else (1.0 if is_float else default_m)
    values = [s[measured(s)] for s in samples]
    values = [v for v in values if v.size]
    if not values:
        return ScaleDecision(scale)  # empty frames say nothing about the unit; they are reported on their own
    median = float(np.median(np.concatenate(values)))
    others = [s for s in (_FLOAT_SCALES_M if is_float else _INTEGER_SCALES_M) if not math.isclose(s, scale)]
    plausible = [s for s in (scale, *others) if _PLAUSIBLE_MEDIAN_M[0] <= median * s <= _PLAUSIBLE_MEDIAN_M[1]]
    seen = f"{origin}: with {scale:g} m per unit the median depth is {median * scale:.3g} m"

    if chosen_m is not None:
        if scale in plausible:
            return ScaleDecision(scale)
        return ScaleDecision(scale, f"{seen}, which is unlikely; used because ?depth_scale_m={scale:g} was given")

    if stated is not None and not is_float:
        return _obey(median, *stated)

    steps = [k for k in map(level_step, samples) if k is not None]
    agreeing: list[float] = []
    if steps:
        step = float(np.median(steps))
        agreeing = [s for s in plausible if _STEP_RANGE_PER_M[0] <= step / s <= _STEP_RANGE_PER_M[1]]
        seen += f" and neighbouring depth levels lie {step / scale * 1e3:.2g} mm apart at 1 m"
    candidates = agreeing if agreeing else plausible
    if scale in candidates:
        far = median * scale > _FAR_MEDIAN_M and len(candidates) > 1
        options = " or ".join(f"?depth_scale_m={s:g} ({median * s:.3g} m)" for s in candidates if s != scale)
        return ScaleDecision(scale, f"{seen}, far for a person; if that is wrong pass {options}" if far else "")
    if len(candidates) == 1:
        found = candidates[0]
        return ScaleDecision(
            found,
            f"{seen}: wrong unit. Using {found:g} m per unit (median {median * found:.3g} m) instead; "
            f"pass ?depth_scale_m={scale:g} to insist",
        )
    if not candidates:
        raise InputError(
            f"{seen}; no usual unit ({', '.join(f'{s:g}' for s in (scale, *others))} m) gives a scene between "
            f"{_PLAUSIBLE_MEDIAN_M[0]} and {_PLAUSIBLE_MEDIAN_M[1]:g} m: pass ?depth_scale_m=METRES (per unit)"
        )
    options = ", ".join(f"{s:g} (median {median * s:.3g} m)" for s in candidates)
    raise InputError(f"{seen}: wrong unit, and several others fit: pass ?depth_scale_m= with one of {options}")


def _obey(median: float, scale_m: float, where: str) -> ScaleDecision:
    """The recorder's own unit, doubted where it makes no room, refused where it makes no scene at all."""
    seen = f"{where} states {scale_m:g} m per unit of depth, with which the median depth is {median * scale_m:.3g} m"
    low, high = _PLAUSIBLE_MEDIAN_M
    if low <= median * scale_m <= high:
        return ScaleDecision(scale_m)
    if low / _STATED_MARGIN <= median * scale_m <= high * _STATED_MARGIN:
        return ScaleDecision(scale_m, f"{seen}, which is unlikely; if that is wrong pass ?depth_scale_m=METRES")
    raise InputError(f"{seen}: that is no scene; correct the file or pass ?depth_scale_m=METRES (per unit)")
