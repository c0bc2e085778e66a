"""Checks of what a headset or recording delivers: units, axes, quaternions, hands and time.

Wrong conventions make a body that lies, looks backwards or bends its arms the wrong way, and nothing in a single number
says so. `SampleChecker` looks at a stream for faults that people really have, corrects what it was asked to correct,
and names the likely cause of the rest.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.sources.headset.axes import (
    CONVENTIONS,
    OUR_AXES,
    AxesEvidence,
    AxesVerdict,
    conversion,
    hand_in_our_axes,
    mirrored,
)
from bodystream.sources.headset.check_messages import MESSAGES
from bodystream.sources.headset.evidence import BodyEvidence
from bodystream.timing import LONGEST_GAP_S
from bodystream.types import HeadsetSample, TrackedDevice

__all__ = ["CheckedSample", "HeadsetOptions", "SampleChecker"]

_CONVENTIONS = frozenset(
    {"wxyz_suspected", "units_suspected", "left_handed_axes", "axes_turned", "axes_suspected", "axes_unknown"}
    | {"hands_swapped", "head_tilted", "head_height"}
)
"""Flags that suspect a convention, of which a source that makes its own poses has none in doubt."""
_SCALES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_MAX_POSITION_M = 100.0
_MIN_NORM, _NORM_TOLERANCE = 1e-3, 0.02
_WINDOW = 60
"""Samples with a head in which units are decided, and over which the head is judged to be upside down."""
_SUSPECT_AFTER, _SUSPECT_UNTIL = 30, 300
"""A quaternion order is suspected after and until so many samples: later on, people stand on their heads."""
_UPRIGHT = 0.7
_EMULATED_SIDES = {"left_emulated": "left", "right_emulated": "right"}
_EMULATED_PATIENCE_S = 1.0
_PRIME = 900
_JUMP_NS = round(LONGEST_GAP_S * 1e9)
_RESTART_COUNT = 10
"""So many samples in a row from before the last one are a clock that was set back."""
_HEIGHTS_M = (0.3, 2.6)
_HEIGHT_PATIENCE_S = 2.0
_TELEPORT_M, _TELEPORT_M_S, _WALK_M_S = 0.5, 10.0, 2.0
"""A head that moved further than the first jumped if it was faster than the second; one that was not seen for a while
may have been carried on by somebody who walks, and no further."""
_TELEPORT_RAD, _TELEPORT_RAD_S = 1.0, 40.0


@dataclass(frozen=True)
class HeadsetOptions:
    """What is known of a headset's conventions.

    Attributes:
        units: of positions. With auto they are taken for centimetres or millimetres where they can be nothing else.
        quaternion_order: of rotations. With auto wxyz is taken where the head would be upside down otherwise.
        left_handed: z points ahead, as in Unity: the same as the axes RUF.
        swap_hands: exchange left and right.
        axes: where x, y and z point, as `RUB` (`axes.CONVENTIONS`). With auto, streams whose vertical axis is another
            one are found by where head and hands are.
        device_axes: of the devices themselves, where they were not converted along with the world.
        is_settled: the source made its poses itself, in our conventions, as from a motion file: a head that is upside
            down is a handstand then, and no convention is suspected.
    """

    units: Literal["m", "cm", "mm", "auto"] = "auto"
    quaternion_order: Literal["xyzw", "wxyz", "auto"] = "auto"
    left_handed: bool = False
    swap_hands: bool = False
    axes: str = "auto"
    device_axes: str | None = None
    is_settled: bool = False

    def __post_init__(self) -> None:
        if self.units not in (*_SCALES, "auto"):
            raise ConfigurationError(f"units must be one of m, cm, mm, auto, got {self.units!r}")
        if self.quaternion_order not in ("xyzw", "wxyz", "auto"):
            raise ConfigurationError(f"quaternion order must be one of xyzw, wxyz, auto, got {self.quaternion_order!r}")
        if self.left_handed and self.axes != "auto":
            raise ConfigurationError(f"--left-handed stands for --axes RUF, and --axes is {self.axes}: leave one")
        if self.device_axes is not None and self.axes == "auto":
            raise ConfigurationError("--device-axes needs --axes, those of the world")
        if self.axes != "auto":
            conversion(self.axes, self.device_axes)  # checks them


@dataclass(frozen=True, slots=True)
class CheckedSample:
    """Attributes:
    sample: in metres, with unit quaternions xyzw with w >= 0, or None where it was dropped.
    flags: what was amiss, names of `MESSAGES`. After `time_jump` and `head_teleport` the past says nothing.
    reread: units, axes or the quaternions' order are taken for others from this sample on: all before was wrong.
    """

    sample: HeadsetSample | None
    flags: tuple[str, ...] = ()
    reread: bool = False


class SampleChecker:
    """Corrects and judges one stream; make another one for another stream. Not for use from several threads.

    Attributes:
        counts: how many samples had each flag.
        dropped: samples that were not passed on.
        warnings: messages for the user, each once, in the order in which they came up.
    """

    def __init__(self, options: HeadsetOptions | None = None) -> None:
        self._options = HeadsetOptions() if options is None else options
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self.warnings: list[str] = []
        self._last_t_ns: int | None = None
        self._rejected: deque[int] = deque(maxlen=_RESTART_COUNT)
        self._heights: list[float] = []
        self._distances: list[float] = []
        self._ups: deque[float] = deque(maxlen=_WINDOW)
        self._heads = 0
        self._found_units = "m"
        self._found_wxyz = False
        self._axes = AxesEvidence()
        self._verdict: AxesVerdict | None = None
        self._last_verdict: AxesVerdict | None = None
        self._drops: deque[int] = deque(maxlen=_WINDOW)
        self._read_as = self._reading()
        self._outside_s = 0.0
        self._last_head: tuple[int, TrackedDevice] | None = None
        self._origin_moved = False
        self._emulated_s = {"left": 0.0, "right": 0.0}
        self._told: set[str] = set()
        self._lap = 0
        self._evidence = BodyEvidence()

    def prime(self, samples: Iterable[HeadsetSample]) -> None:
        """Learn units, axes and the quaternions' order from a recording's beginning, before it is checked."""
        for sample in itertools.islice(samples, _PRIME):
            self._learn(sample, priming=True)
        self._judge_axes(primed=True)
        self._read_as = self._reading()

    def check(self, sample: HeadsetSample) -> CheckedSample:
        """Correct one sample and say what is amiss with it and with the stream so far."""
        flags: list[str] = []
        self._origin_moved = self._origin_moved or sample.origin_moved  # a dropped sample may have been the one
        dt_s = self._check_time(sample.t_ns, flags)
        if dt_s is None:
            self.dropped += 1
            return self._finish(None, flags)
        if sample.lap != self._lap:
            self._lap, self._last_head = sample.lap, None
        self._learn(sample)
        if self._found_units != "m" and self._options.units in ("m", "auto"):
            flags.append("units_suspected")
        if self._found_wxyz and self._options.quaternion_order != "wxyz" and self._heads >= _SUSPECT_AFTER:
            flags.append("wxyz_suspected")
        if self._verdict is not None:
            flags.append("axes_unknown" if self._verdict.axes is None else "axes_suspected")
        reading = self._reading()
        reread, self._read_as = reading != self._read_as, reading
        if reread:
            self._last_head, self._evidence = None, BodyEvidence()
        head = self._device(sample.head, flags)
        left = self._device(sample.left, flags)
        right = self._device(sample.right, flags)
        emulated = sample.emulated
        if self._options.swap_hands:
            left, right = right, left
            emulated = tuple("right" if side == "left" else "left" for side in emulated)
        for side in self._emulated_s:
            self._emulated_s[side] = self._emulated_s[side] + dt_s if side in emulated else 0.0
        flags += [f"{side}_emulated" for side in emulated]
        if self._origin_moved:
            self._origin_moved, self._last_head = False, None
            flags.append("head_teleport")
        if head is not None and "axes_unknown" not in flags:  # heights and sides mean nothing then
            self._check_head(sample.t_ns, head, dt_s, flags)
            flags += self._evidence.add(head, left, right, dt_s)
        return self._finish(replace(sample, head=head, left=left, right=right, emulated=emulated), flags, reread)

    @property
    def units(self) -> str:
        """The units that positions are taken for."""
        return self._found_units if self._options.units == "auto" else self._options.units

    @property
    def quaternion_order(self) -> str:
        """The order that quaternions are taken for."""
        if self._options.quaternion_order == "auto":
            return "wxyz" if self._found_wxyz else "xyzw"
        return self._options.quaternion_order

    @property
    def axes(self) -> str:
        """What x, y and z are taken to point to."""
        if self._options.axes != "auto":
            return self._options.axes
        if self._options.left_handed:
            return "RUF"
        return OUR_AXES if self._verdict is None or self._verdict.axes is None else self._verdict.axes

    def _reading(self) -> tuple[str, str, str, str | None]:
        device_axes = self._options.device_axes if self._verdict is None else self._verdict.device_axes
        return self.units, self.quaternion_order, self.axes, device_axes

    def _finish(self, sample: HeadsetSample | None, flags: list[str], reread: bool = False) -> CheckedSample:
        unique = tuple(dict.fromkeys(f for f in flags if not (self._options.is_settled and f in _CONVENTIONS)))
        for flag in unique:
            # Hands are out of sight for a moment now and then; the flag says so, and nobody need do anything.
            passing = flag in _EMULATED_SIDES and self._emulated_s[_EMULATED_SIDES[flag]] < _EMULATED_PATIENCE_S
            if flag not in self._told and not passing:
                self._told.add(flag)
                message = self._message(flag)
                corrected = (
                    (flag == "units_suspected" and self._options.units == "auto")
                    or (flag == "wxyz_suspected" and self._options.quaternion_order == "auto")
                    or flag == "axes_suspected"
                )
                self.warnings.append(f"{message}{' to be sure; they are taken so now' if corrected else ''}")
            self.counts[flag] += 1
        return CheckedSample(sample, unique, reread)

    def _message(self, flag: str) -> str:
        axes, found = self.axes, self._verdict
        named = f"{axes} ({CONVENTIONS[axes]})" if axes in CONVENTIONS else axes
        doubt = ""
        if found is not None and found.otherwise:
            doubt = f" (or {found.otherwise})"
        return MESSAGES[flag].format(
            units=self._found_units,
            mirrored="--left-handed" if axes == OUR_AXES else f"--axes {mirrored(axes)}",
            turned=mirrored(axes, right=True),
            up="" if found is None else found.up,
            options="" if found is None else found.options,
            named=named,
            doubt=doubt,
        )

    def _check_time(self, t_ns: int, flags: list[str]) -> float | None:
        """Time since the sample before [s]; None where the sample is to be dropped."""
        last = self._last_t_ns
        if last is not None and t_ns <= last:
            self._rejected = deque((t for t in self._rejected if t < t_ns), _RESTART_COUNT)
            self._rejected.append(t_ns)
            if len(self._rejected) < _RESTART_COUNT:
                flags.append("time_backwards")
                return None
            flags.append("time_jump")  # the clock was set back for good: begin anew
            dt_s = 0.0
        else:
            dt_s = 0.0 if last is None else (t_ns - last) * 1e-9
            if last is not None and t_ns - last > _JUMP_NS:
                flags.append("time_jump")
        self._rejected.clear()
        self._last_t_ns = t_ns
        return dt_s

    def _learn(self, sample: HeadsetSample, priming: bool = False) -> None:
        """Units and the quaternions' order, from the numbers as they came."""
        if sample.head is None or self._options.is_settled:
            return
        x, y, z = (float(value) for value in sample.head.position_m)
        a, b, c, d = (float(value) for value in sample.head.rotation_xyzw)
        square = a * a + b * b + c * c + d * d
        if not all(map(math.isfinite, (x, y, z, square))) or square < _MIN_NORM**2:
            return
        self._heads += 1
        # The y component of the head's up axis. Read as wxyz it would be the negative of this, whatever the rotation.
        self._ups.append(1 - 2 * (a * a + c * c) / square)
        if self._heads <= _SUSPECT_UNTIL or self._found_wxyz:
            up = median(self._ups)
            # A headset that lay upside down on a table and was then put on clears itself. Where the head is not above
            # the hands along y, the axes are others, and its rotation says nothing of the order.
            self._found_wxyz = up < _UPRIGHT if self._found_wxyz else up < -_UPRIGHT and self._above_hands()
            if self._verdict is not None:
                self._found_wxyz = self._verdict.order == "wxyz"
        self._learn_axes(sample, (x, y, z), (a, b, c, d))
        if not priming and self._axes.due():
            self._judge_axes()
        if self._heads > _WINDOW:
            return
        self._heights.append(max(abs(x), abs(y), abs(z)) if self._verdict is not None else abs(y))
        for hand in (sample.left, sample.right):
            if hand is not None:
                distance = math.dist((x, y, z), tuple(map(float, hand.position_m)))
                if math.isfinite(distance):
                    self._distances.append(distance)
        # Near the low end: a hand that is lost far away must not turn metres into centimetres.
        near = sorted(self._distances)[len(self._distances) // 4] if self._distances else None
        self._found_units = _units_of(median(self._heights), near)

    def _above_hands(self) -> bool:
        return not self._drops or 2 * sum(self._drops) >= len(self._drops)

    def _learn_axes(self, sample: HeadsetSample, head: tuple[float, ...], rotation: tuple[float, ...]) -> None:
        """Gather evidence, and look at it from time to time."""
        if self._options.axes != "auto" or self._options.left_handed or self._axes.settled:
            return
        hands = []
        for hand in (sample.left, sample.right):
            place = [math.nan] * 3 if hand is None else [float(value) for value in hand.position_m]
            hands.append(place if all(map(math.isfinite, place)) and any(place) else [math.nan] * 3)
            if hands[-1][1] == hands[-1][1]:
                self._drops.append(1 if head[1] > hands[-1][1] else -1)
        self._axes.add(sample.t_ns * 1e-9, list(head), list(rotation), *hands)

    def _judge_axes(self, primed: bool = False) -> None:
        near = sorted(self._distances)[len(self._distances) // 4] if self._distances else None
        scale = _SCALES[self.units] if near is None or self._options.units != "auto" else _SCALES[_units_of(9e9, near)]
        wanted = self._options.quaternion_order
        found = self._axes.verdict(scale, ("xyzw", "wxyz") if wanted == "auto" else (wanted,))
        before = self._verdict
        if before is not None and before.axes is not None:
            return
        last, self._last_verdict = self._last_verdict, found
        if found is None:
            self._verdict = None if self._axes.says_y else before
            return
        if not primed and found != last:  # twice in a row, and it is believed
            if last is None or found.up != last.up:
                return
            found = replace(found, axes=None)
        self._verdict, self._found_wxyz = found, found.order == "wxyz"
        self._found_units = {value: name for name, value in _SCALES.items()}[scale]

    def _device(self, device: TrackedDevice | None, flags: list[str]) -> TrackedDevice | None:
        """In metres, right-handed, with a unit quaternion; None where its numbers make no sense."""
        if device is None:
            return None
        scale = _SCALES[self.units]
        x, y, z = (float(value) * scale for value in device.position_m)
        q = [float(value) for value in device.rotation_xyzw]
        norm = math.sqrt(sum(value * value for value in q))
        if not (max(abs(x), abs(y), abs(z)) <= _MAX_POSITION_M and _MIN_NORM < norm < math.inf):
            flags.append("invalid_pose")
            return None
        if math.isnan(x + y + z):
            flags.append("invalid_pose")
            return None
        if abs(norm - 1) > _NORM_TOLERANCE:
            flags.append("not_normalised")
        if self.quaternion_order == "wxyz":
            q = [q[1], q[2], q[3], q[0]]
        if self._read_as[2] != OUR_AXES:
            turn = conversion(self._read_as[2], self._read_as[3])
            (x, y, z), q = turn.position([x, y, z]), turn.rotation(q)
        hand = device.hand
        if hand is not None and (scale != 1.0 or self._read_as[2] != OUR_AXES):
            hand = hand_in_our_axes(hand, scale, self._read_as[3] or self._read_as[2])
        # What has the right length already stays bit for bit what it is: a recording of checked samples is the same.
        norm = math.copysign(1.0 if abs(norm - 1) < 1e-12 else norm, q[3])
        return TrackedDevice(np.array((x, y, z)), np.array([value / norm for value in q]), device.kind, hand)

    def _check_head(self, t_ns: int, head: TrackedDevice, dt_s: float, flags: list[str]) -> None:
        height = head.position_m[1]
        self._outside_s = 0.0 if _HEIGHTS_M[0] <= height <= _HEIGHTS_M[1] else self._outside_s + min(dt_s, 0.1)
        if self._outside_s > _HEIGHT_PATIENCE_S:
            flags.append("head_height")
        if self._last_head is not None:
            before_ns, before = self._last_head
            gap_s = (t_ns - before_ns) * 1e-9
            if gap_s > 0:
                moved = math.dist(head.position_m, before.position_m)
                turned = 2 * math.acos(min(abs(float(head.rotation_xyzw @ before.rotation_xyzw)), 1.0))
                # Whoever is not seen for a while may turn as far as they like; the speed in turning then says nothing.
                if moved > max(
                    _TELEPORT_M, min(_TELEPORT_M_S * gap_s, _TELEPORT_M + _WALK_M_S * gap_s)
                ) or turned > max(_TELEPORT_RAD, _TELEPORT_RAD_S * gap_s):
                    flags.append("head_teleport")
        self._last_head = (t_ns, head)


def _units_of(height: float, distance: float | None) -> str:
    """Metres unless the head's height, or its distance to the hands, can only be something else."""
    if distance is None:
        return "m" if height < 30 else "cm" if height < 300 else "mm"
    # Hands are 5 cm to 1.6 m from the eyes: a head far up with hands that near is a floor far down, and hands that far
    # from a head at a person's height are controllers that lie somewhere.
    if distance <= 2.5 or height <= 3.0:
        return "m"
    return "cm" if distance < 180 else "mm"
