"""What trackers of head and hands add to the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bodystream.errors import ConfigurationError
from bodystream.types import Array

__all__ = ["TrackerNoise"]


@dataclass(frozen=True, slots=True)
class TrackerNoise:
    """What a good inside-out tracker adds to the truth: white noise, and an offset that wanders.

    Attributes:
        jitter_m, jitter_rad: standard deviation of the white noise, per axis.
        drift_m, drift_rad: standard deviation of the wandering offset, per axis.
        drift_time_s: after which the offset has forgotten where it was (time constant of its autocorrelation).
    """

    jitter_m: float = 0.0005
    jitter_rad: float = 0.002
    drift_m: float = 0.003
    drift_rad: float = 0.01
    drift_time_s: float = 2.0

    def __post_init__(self) -> None:
        amounts = (self.jitter_m, self.jitter_rad, self.drift_m, self.drift_rad)
        if not all(0 <= amount < np.inf for amount in amounts) or not 0 < self.drift_time_s < np.inf:
            raise ConfigurationError(
                f"tracker noise takes amounts of at least 0 and a positive drift time, got {amounts} "
                f"and {self.drift_time_s} s"
            )

    def draw(self, count: int, rate_hz: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """(count, 3) offsets [m] and (count, 3) rotation vectors [rad] of one device."""
        return (
            self._series(self.jitter_m, self.drift_m, count, rate_hz, rng),
            self._series(self.jitter_rad, self.drift_rad, count, rate_hz, rng),
        )

    def _series(self, jitter: float, drift: float, count: int, rate_hz: float, rng: np.random.Generator) -> Array:
        keep = float(np.exp(-1.0 / (self.drift_time_s * rate_hz)))
        push = rng.normal(size=(count, 3)) * np.sqrt(1.0 - keep**2)
        push[0] = rng.normal(size=3)  # as if the tracker had been on for ever
        return jitter * rng.normal(size=(count, 3)) + drift * np.asarray(lfilter([1.0], [1.0, -keep], push, axis=0))
