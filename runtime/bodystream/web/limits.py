"""How often somebody may do something, and how much at a time."""

from __future__ import annotations

__all__ = ["MAX_MESSAGE_BYTES", "LeakyBucket"]

MAX_MESSAGE_BYTES = 4096
"""Of what clients send; a pose sample with both hands and all their joints takes about 2.6 kB."""


class LeakyBucket:
    """Allows `capacity` things at once, and `per_s` on the long run."""

    def __init__(self, capacity: float, per_s: float) -> None:
        self._capacity, self._per_s = capacity, per_s
        self._level = 0.0
        self._last_ns: int | None = None

    def take(self, t_ns: int, amount: float = 1.0, spare: float = 0.0) -> bool:
        """Count one thing, or as much as it weighs; false where it is too much, and then it does not count.

        Args:
            spare: share of the capacity that is left to others.
        """
        self._leak(t_ns)
        if self._level + amount > self._capacity * (1.0 - spare):
            return False
        self._level += amount
        return True

    def pour(self, t_ns: int, amount: float) -> None:
        """Count what happens in any case; `take` has to wait for it."""
        self._leak(t_ns)
        self._level += amount

    def _leak(self, t_ns: int) -> None:
        if self._last_ns is not None:
            self._level = max(0.0, self._level - (t_ns - self._last_ns) * 1e-9 * self._per_s)
        self._last_ns = t_ns
