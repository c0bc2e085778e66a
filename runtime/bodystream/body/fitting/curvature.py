"""What a search has seen of its loss's second derivatives, for the next one, in which distances weigh more."""

from __future__ import annotations

import numpy as np

from bodystream.types import Array

__all__ = ["SeenCurvature"]

_MOST = 60
_CURVED = 1e-8
"""Of a step's length times that of the derivatives' change, the least product of both that tells something."""


class SeenCurvature:
    """Second derivatives of `weight * data + codes @ codes` out of first ones, as quasi-Newton methods have them (BFGS;
    Nocedal and Wright, Numerical Optimization, 2006, eq. 6.19): what was seen at one weight is known for another.

    Args:
        drawn: (N,) second derivatives of what is no data, a square of each unknown.
    """

    def __init__(self, drawn: Array) -> None:
        self._drawn = drawn
        self._pairs: list[tuple[Array, Array]] = []  # of changes of the unknowns and of the data's derivatives

    def saw(self, unknowns: list[Array], bars: list[Array], weight: float) -> None:
        """Learn from the (N,) derivatives of the loss at some vectors, one after the other."""
        for number in range(1, len(unknowns)):
            step, change = unknowns[number] - unknowns[number - 1], bars[number] - bars[number - 1]
            of_data = (change - self._drawn * step) / weight
            lengths = float(np.linalg.norm(step) * np.linalg.norm(change))
            if step @ change > _CURVED * lengths and step @ of_data > 0.0:
                self._pairs.append((step, of_data))
        self._pairs = self._pairs[-_MOST:]

    def at(self, weight: float) -> Array | None:
        """(N, N) positive definite, at a weight of the data; None before anything was seen."""
        if not self._pairs:
            return None
        pairs = [(step, weight * change + self._drawn * step) for step, change in self._pairs]
        usual = float(np.median([(step @ change) / (step @ step) for step, change in pairs]))
        out = usual * np.eye(len(self._drawn))
        for step, change in pairs:
            carried = out @ step
            out += np.outer(change, change) / (change @ step) - np.outer(carried, carried) / (step @ carried)
        return out + 1e-6 * usual * np.eye(len(out))
