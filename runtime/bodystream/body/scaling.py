"""Every number of a feature brought to [-0.95, 0.95] by itself, over the examples that are learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["FeatureScale"]

_MOST = 0.95
_LEAST_HALF_RANGE = 0.02
"""Numbers that hardly change, as those of a vertex that never deforms, are not stretched beyond this [rad, or a share
of a length]: what skinning says of them would be multiplied a thousandfold."""


@dataclass(frozen=True, slots=True)
class FeatureScale:
    """Sec. 3, "Scaling deformation feature".

    Attributes:
        low, high: (..., 9) float64, the least and the largest value of each number; high > low.

    Raises:
        InputError: shapes that differ, values that are not finite, or a range that is none.
    """

    low: Array
    high: Array

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape:
            raise InputError(f"a scale needs as many lows as highs, got {self.low.shape} and {self.high.shape}")
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all() and (self.high > self.low).all()):
            raise InputError("a scale's lows and highs must be finite, each high above its low")

    @classmethod
    def over(cls, low: Array, high: Array) -> FeatureScale:
        """Of extremes that were found; ranges that are next to none get a width."""
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, _LEAST_HALF_RANGE)
        return cls(middle - half, middle + half)

    def scaled(self, features: Array) -> Array:
        """Features as networks see them; beyond [-0.95, 0.95] only where they are beyond all examples."""
        return (features - self.low) * (2.0 * _MOST / (self.high - self.low)) - _MOST

    def unscaled(self, scaled: Array) -> Array:
        """Undoes `scaled`."""
        return (scaled + _MOST) * ((self.high - self.low) / (2.0 * _MOST)) + self.low
