"""Smoothing of what a network says sample by sample, against jitter: a low pass that opens while the body moves.

The 1-euro filter (Casiez, Roussel and Vogel, "1 EUR Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012) on rotations, one cutoff per joint. Head and hands are met afterwards, so the lag
of a filter shows in what nobody measures only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.geometry.rotations import (
    matrix_from_quaternion,
    matrix_from_rotation_vector,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
)
from bodystream.timing import Tick
from bodystream.types import Array

__all__ = ["PoseSmoother", "SmoothingConfig"]


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """How much is smoothed.

    Attributes:
        rest_hz: cutoff of a joint at rest.
        opening: how many Hz the cutoff rises per rad/s of the joint's speed.
        speed_hz: cutoff of the speed itself.
    """

    rest_hz: float = 2.0
    opening: float = 0.5
    speed_hz: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ConfigurationError(f"smoothing: {name} must be finite and not negative, got {value}")


class PoseSmoother:
    """Filters rotations along the shortest arcs; one object per person."""

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        self.config = SmoothingConfig() if config is None else config
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._smooth = self._raw = np.zeros((0, 3, 3))
        self._speed = np.zeros((0, 3))

    def step(self, tick: Tick, rotations: Array) -> Array:
        """(J, 3, 3) rotations, smoothed; those of a fresh tick are returned as they are."""
        rotations = np.asarray(rotations, np.float64)
        config = self.config
        seconds = tick.seconds
        if tick.fresh or seconds == 0.0 or rotations.shape != self._raw.shape:
            self._smooth, self._speed = rotations.copy(), np.zeros((len(rotations), 3))
        else:
            made, missing = _arcs(np.stack([self._raw, self._smooth]), rotations)
            self._speed += _share(config.speed_hz, seconds) * (made / seconds - self._speed)
            cutoff = config.rest_hz + config.opening * np.linalg.norm(self._speed, axis=-1, keepdims=True)
            arcs = _share(cutoff, seconds) * missing
            self._smooth = self._smooth @ matrix_from_rotation_vector(arcs)
        self._raw = rotations.copy()
        return self._smooth.copy()

    def correct(self, rotations: Array) -> None:
        """Go on from here: (J, 3, 3), the last answer after it was refined.

        Head and hands allow an arm several positions of its elbow. Refinement that begins where it ended a moment ago
        stays with one of them, instead of jumping from one to another.
        """
        if rotations.shape == self._smooth.shape:
            # by way of quaternions: what comes back each time must not leave the rotations step by step
            self._smooth = matrix_from_quaternion(quaternion_from_matrix(rotations))


def _arcs(start: Array, end: Array) -> Array:
    """(..., J, 3) rotation vectors, in the frames of `start`, that take `start` to `end`."""
    return rotation_vector_from_matrix(np.swapaxes(start, -1, -2) @ end)


def _share(cutoff_hz: Array | float, seconds: float) -> Array | float:
    """How far a first-order low pass of this cutoff goes towards its input in one step."""
    return 1.0 - np.exp(-2.0 * np.pi * cutoff_hz * seconds)
