"""The recent past of head and hands, as joints of the body, and its features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.mounting import SIDES, joints_at_devices
from bodystream.pose.features import DEVICES, FeatureConfig, device_features
from bodystream.types import Array, HeadsetSample

__all__ = ["UNTURNED", "History", "JointTargets", "joints_of_sample"]

UNTURNED = np.tile(np.eye(3), (3, 1, 1))
"""(3, 3, 3) orientations of head and hands of which nothing is known."""
UNTURNED.setflags(write=False)
_CAPACITY = 256
_LENGTH_TOLERANCE = 0.05  # of a unit quaternion


@dataclass(frozen=True, slots=True)
class JointTargets:
    """Where head and wrists are, as joints of the skeleton in their canonical frames.

    Attributes:
        t_ns: of the sample.
        positions_m: (3, 3) float64 world positions of head, left and right wrist [m].
        rotations: (3, 3, 3) float64 world orientations.
        tracked: (3,) bool; the values of what is not tracked mean nothing.
    """

    t_ns: int
    positions_m: Array
    rotations: Array
    tracked: Array

    @classmethod
    def nothing(cls, t_ns: int) -> JointTargets:
        """Of a sample in which nothing is tracked."""
        return cls(t_ns, np.zeros((3, 3)), UNTURNED.copy(), np.zeros(3, bool))


def joints_of_sample(sample: HeadsetSample) -> JointTargets:
    """Head and wrists as joints of the skeleton, whatever devices they were measured by: the one conversion.

    Raises:
        InputError: a device that cannot be worn there, or one that is tracked and whose place is not finite or whose
            quaternion has not the length 1.
    """
    joints = JointTargets.nothing(sample.t_ns)
    devices = (sample.head, sample.left, sample.right)
    seen = [i for i, device in enumerate(devices) if device is not None]
    if not seen:
        return joints
    worn = [device for device in devices if device is not None]
    for i, device in zip(seen, worn, strict=True):
        place, rotation = (
            [float(value) for value in device.position_m],
            [float(value) for value in device.rotation_xyzw],
        )
        if not (all(map(math.isfinite, place)) and abs(math.hypot(*rotation) - 1.0) <= _LENGTH_TOLERANCE):  # nan, too
            raise InputError(
                f"{SIDES[i]} has position {place} and rotation {rotation}: they must be finite, and the rotation a "
                "unit quaternion (normalise them); leave the device out while it is not tracked"
            )
    joints.positions_m[seen], joints.rotations[seen] = joints_at_devices(worn, [SIDES[i] for i in seen])
    joints.tracked[seen] = True
    return joints


class History:
    """Keeps the last moments of `JointTargets`; asked for a time between two of them, it interpolates.

    Where the past is not known the oldest known state stands for it on a fresh start, and the present one for a hand
    that was lost, which is what training showed the networks too.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self._ages_ns = np.asarray([round(age * 1e9) for age in config.ages_s], np.int64)
        self._t_ns = np.zeros(_CAPACITY, np.int64)
        self._positions = np.zeros((_CAPACITY, len(DEVICES), 3))
        self._rotations = np.zeros((_CAPACITY, len(DEVICES), 3, 3))
        self._tracked = np.zeros((_CAPACITY, len(DEVICES)), bool)
        self._count = 0

    def clear(self) -> None:
        """Forget everything: another person, or a jump in time."""
        self._count = 0

    def add(self, targets: JointTargets) -> None:
        """The newest state; times must ascend."""
        if self._count == _CAPACITY:  # a quarter of a copy each time the buffer is full, rather than a ring
            half = _CAPACITY // 2
            for array in (self._t_ns, self._positions, self._rotations, self._tracked):
                array[:half] = array[half:].copy()
            self._count = half
        last = self._count
        self._t_ns[last] = targets.t_ns
        self._positions[last] = targets.positions_m
        self._rotations[last] = targets.rotations
        self._tracked[last] = targets.tracked
        self._count += 1

    def features(self, stature_m: float) -> tuple[Array, Array]:
        """`x_H` (3, token_size) float64 of the newest state, and the (3, 3) heading it is relative to."""
        times = self._t_ns[: self._count]
        wanted = np.maximum(times[-1] - self._ages_ns, times[0])
        after = np.minimum(np.searchsorted(times, wanted), self._count - 1)
        before = np.maximum(after - 1, 0)
        span = np.maximum(times[after] - times[before], 1)
        u = np.clip((wanted - times[before]) / span, 0.0, 1.0)
        # between two samples some milliseconds apart a straight line is as good as a slerp
        p = _between(self._positions[before], self._positions[after], u[:, None, None])
        r = _between(self._rotations[before], self._rotations[after], u[:, None, None, None])
        seen = self._tracked[before] & self._tracked[after]
        seen[0] = self._tracked[self._count - 1]
        # what is older than a state in a gap is hidden too: training shows pasts that end, never ones with a hole
        seen = np.logical_and.accumulate(seen, axis=0)
        return device_features(p, r, seen, np.asarray(stature_m))


def _between(start: Array, end: Array, u: Array) -> Array:
    return start + u * (end - start)
