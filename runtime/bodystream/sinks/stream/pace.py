"""Which frames are packed at all, where they come faster than any client wants them."""

from __future__ import annotations

__all__ = ["TAKEN", "Pace"]

TAKEN = 0.95
"""Of the interval that a client asked for, what has to pass before its next motion: cameras are not exact."""
_PACKED = 0.975  # between that and 1, so that a client takes all that is packed, and none waits for the one after it


class Pace:
    """Tells frames that are due."""

    def __init__(self) -> None:
        self._taken_ns = 0  # when the last one was due

    def is_due(self, t_ns: int, rate_hz: float) -> bool:
        """Whether a client of this rate may take a frame of now.

        Counted from when one was due, so that frames that come a little late do not lower the rate. Another rate counts
        at once.
        """
        interval_ns = round(_PACKED * 1e9 / rate_hz)
        due_ns = self._taken_ns + interval_ns
        if t_ns < due_ns:
            return False
        self._taken_ns = max(due_ns, t_ns - interval_ns)
        return True
