"""The recent past of head and hands, as joints of the body, and its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.pose.features import DEVICES, FeatureConfig, device_features, heading_rotation
from bodystream.types import Array

__all__ = ["History", "JointTargets"]

_CAPACITY = 256


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
        x = device_features(p, r, seen, np.asarray(stature_m))
        return x, heading_rotation(r[0, 0])


def _between(start: Array, end: Array, u: Array) -> Array:
    return start + u * (end - start)
