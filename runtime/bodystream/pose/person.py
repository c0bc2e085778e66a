"""Who is driven: known from the start, guessed from how high the head is seen, or measured in a pose."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from bodystream.errors import ConfigurationError, InputError, excerpt
from bodystream.geometry.skeleton import Skeleton
from bodystream.pose.calibration import Calibration, fitted_skeleton
from bodystream.pose.floor import FloorFinder
from bodystream.pose.measuring import CalibrationConfig, calibrate
from bodystream.pose.observation import JointTargets

__all__ = ["CalibrationPose", "Person", "StatureEstimator"]

CalibrationPose = Literal["floor", "auto", "T", "I"]
FLOOR_FOUND, FLOOR_MISSED = "the floor is ", "the floor was not measured"
"""How the notes begin that tell how a measurement of the floor ended."""
"""What is measured: the floor, by a hand that is laid on it, or a person in a pose."""

_GUESS_EVERY = 90
"""Samples between two looks at the guessed stature."""
_GUESS_STEP_M = 0.02
_CALIBRATIONS = 4
"""A calibration that fails is tried again until so many failed."""


class StatureEstimator:
    """A guess of the stature while nothing was calibrated: people stand upright now and then.

    Args:
        default_head_m: head joint's height that is assumed until someone was seen standing [m].
    """

    _CELL_M = 0.01
    _STANDING_M = (1.30, 2.1)

    def __init__(self, default_head_m: float = 1.55) -> None:
        self._default_m = default_head_m
        self._counts = np.zeros(int(self._STANDING_M[1] / self._CELL_M) + 1, np.int64)

    def push(self, joints: JointTargets) -> None:
        """Take in a sample; without a head, or with one that is nowhere, it tells nothing."""
        if not joints.tracked[0]:
            return
        height = float(joints.positions_m[0, 1])
        if 0.0 <= height <= self._STANDING_M[1]:
            self._counts[int(height / self._CELL_M)] += 1

    @property
    def head_height_m(self) -> float:
        """Robust maximum of the head's height: what 2 % of the samples are above; the default while that is low."""
        total = int(self._counts.sum())
        if total < 30:
            return self._default_m
        above = np.cumsum(self._counts[::-1])[::-1]
        cell = int(np.flatnonzero(above >= max(0.02 * total, 5.0)).max())
        height = (cell + 0.5) * self._CELL_M
        return height if height >= self._STANDING_M[0] else self._default_m

    def calibration(self) -> Calibration:
        """The guess in the form of a calibration."""
        height = self.head_height_m
        how = "assumed, as nobody was seen standing" if height == self._default_m else "the highest that it was seen"
        return Calibration.of("assumed", height, 1.0, (f"not calibrated: head at {height:.2f} m is {how}",))


class Person:
    """What is known of a person's proportions, sample by sample.

    Args:
        calibration: measured before; or
        skeleton: given by the source; or
        head_height_m: of the head joint when standing [m]. With none of them the stature is guessed.
        hold_s: how long a calibration pose is held [s].
        config: what is accepted as a calibration pose.

    Attributes:
        skeleton: to begin with.
        calibration: the last one that was given, guessed or measured, or None.
        floor_m: height of the floor above what the samples call 0 [m]; samples are to be lowered by as much from when
            it changes, which is for the caller to do (`pose.floor.lowered`).
    """

    def __init__(
        self,
        *,
        calibration: Calibration | None = None,
        skeleton: Skeleton | None = None,
        head_height_m: float | None = None,
        hold_s: float = 2.0,
        config: CalibrationConfig | None = None,
    ) -> None:
        self.calibration = calibration
        self._stature = StatureEstimator()
        self._guesses = calibration is None and skeleton is None and head_height_m is None
        self._guessed_m = self._stature.head_height_m
        self._pushed = 0
        if calibration is not None:
            self.skeleton = calibration.skeleton
        elif skeleton is not None:
            self.skeleton = skeleton
        else:
            self.skeleton = fitted_skeleton(self._guessed_m if head_height_m is None else head_height_m)
        self._hold_s, self._config = hold_s, config
        self.floor_m = 0.0
        self._floor: FloorFinder | None = None  # while one is looked for
        self._samples: list[JointTargets] | None = None  # of the pose that is being held
        self._poses: tuple[CalibrationPose, ...] = ()  # after this one
        self._pose: CalibrationPose = "auto"
        self._failed = 0
        self._waits_from_ns: int | None = None  # of a calibration that cannot begin
        self._told_to_wait = False
        self._notes: list[str] = []

    @property
    def measuring(self) -> bool:
        """Whether a calibration pose, or the floor, is being measured."""
        return self._samples is not None or self._floor is not None

    def measure(self, *poses: CalibrationPose) -> None:
        """Measure the person, in a T- or I-pose, from the seconds after head and both hands are tracked.

        Where that fails, it is tried again a few times; the notes tell.

        Args:
            poses: one after the other, default `auto`; with `floor` a hand, or the controller in it, is waited for that
                lies on the floor for a second.

        Raises:
            ConfigurationError: there is no such pose.
        """
        for pose in poses:
            if pose not in get_args(CalibrationPose):
                known = ", ".join(get_args(CalibrationPose))
                raise ConfigurationError(f"a calibration pose is one of {known}, got {excerpt(pose)}")
        self._poses = poses or ("auto",)
        self._next()

    def _next(self) -> None:
        """Begin with the pose that is next, if any."""
        self._samples = self._floor = None
        if not self._poses:
            return
        self._pose, *rest = self._poses
        self._poses, self._failed = tuple(rest), 0
        self._begin()

    def restart(self) -> None:
        """What came before says nothing: a pose that is being held is held anew."""
        if self.measuring:
            self._begin()

    def forget_heights(self) -> None:
        """The heights that were seen until now were none: units or axes were others."""
        self._stature = StatureEstimator()

    def notes(self) -> tuple[str, ...]:
        """Lines for a person that came up since the last call."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def step(self, joints: JointTargets) -> Calibration | None:
        """Take in one sample; a calibration where the person is another one than thought from now on."""
        if self._floor is not None:
            found = self._look_for_floor(self._floor, joints)
        elif self._samples is not None:
            found = self._hold(joints)
        elif self._guesses:
            found = self._guess(joints)
        else:
            return None
        if found is not None:
            self.calibration = found
        return found

    def _hold(self, joints: JointTargets) -> Calibration | None:
        assert self._samples is not None
        if not self._samples and not joints.tracked.all():
            self._wait(joints.t_ns)
            return None
        self._samples.append(joints)
        if (joints.t_ns - self._samples[0].t_ns) * 1e-9 < self._hold_s:
            return None
        samples, self._samples = self._samples, None
        try:
            assert self._pose != "floor"
            found = calibrate(samples, self._pose, self._config)
        except InputError as error:
            self._notes.append(f"not calibrated: {error}")
            self._failed += 1
            if self._failed < _CALIBRATIONS:
                self._begin()
                again = f"{self._failed} of {_CALIBRATIONS - 1}"
                self._notes.append(f"calibrating again ({again}): {self._hold_s:g} seconds from now")
            else:
                self._notes.append("no calibration is tried again: driving goes on with what was known before")
                self._next()
            return None
        self._guesses = False
        self._next()
        return found

    def _look_for_floor(self, floor: FloorFinder, joints: JointTargets) -> Calibration | None:
        found_m = floor.step(joints)
        if found_m is not None:
            self.floor_m += found_m
            # Heights that were seen until now were above another floor.
            self.forget_heights()
            side = "below" if found_m < 0.0 else "above"
            self._notes.append(
                f"{FLOOR_FOUND}{100 * abs(found_m):.0f} cm {side} where the headset has it; heights are above the real "
                f"one from now on (--floor {self.floor_m:.2f} says so from the start)"
            )
        elif floor.given_up:
            self._notes.append(
                f"{FLOOR_MISSED}: no hand lay still on it for {floor.config.hold_s:g} s within "
                f"{floor.config.patience_s:g} s; lay a controller, or the hand itself, on the floor, where the headset "
                "sees it"
            )
        else:
            return None
        self._next()
        return None

    def _guess(self, joints: JointTargets) -> Calibration | None:
        self._stature.push(joints)
        self._pushed += 1  # not the sample's index: of a slow driver, newest wins, and it may be odd for ever
        if self._pushed % _GUESS_EVERY:
            return None
        height = self._stature.head_height_m
        if abs(height - self._guessed_m) <= _GUESS_STEP_M:
            return None
        self._guessed_m = height
        return self._stature.calibration()

    def _begin(self) -> None:
        self._waits_from_ns, self._told_to_wait = None, False
        if self._pose == "floor":
            self._floor = FloorFinder()
        else:
            self._samples = []

    def _wait(self, t_ns: int) -> None:
        if self._waits_from_ns is None:
            self._waits_from_ns = t_ns
        elif not self._told_to_wait and (t_ns - self._waits_from_ns) * 1e-9 >= self._hold_s:
            self._told_to_wait = True
            self._notes.append("the calibration begins when head and both hands are tracked")
