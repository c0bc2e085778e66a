"""Whether time goes on: the one answer to "does what was before say anything about now?"."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LONGEST_GAP_S", "ClockGate", "Tick"]

LONGEST_GAP_S = 0.5
"""Samples farther apart are of different movements: a stream that was interrupted, a clock that was set [s]."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One step of a stream.

    Attributes:
        t_ns: of the sample.
        seconds: since the step before; 0 where it is fresh [s].
        fresh: the first, or time went back, or on by more than the longest gap: the past says nothing.
    """

    t_ns: int
    seconds: float
    fresh: bool


class ClockGate:
    """Judges each time against the last one that was accepted. Stages are told by its ticks and keep no clock.

    Args:
        longest_s: a longer gap begins anew [s].
    """

    def __init__(self, longest_s: float = LONGEST_GAP_S) -> None:
        self._longest_s = longest_s
        self._last_ns: int | None = None

    def reset(self) -> None:
        """The next tick is fresh."""
        self._last_ns = None

    def ask(self, t_ns: int) -> Tick:
        """What a step at this time would be; nothing is remembered."""
        if self._last_ns is None:
            return Tick(t_ns, 0.0, True)
        seconds = (t_ns - self._last_ns) * 1e-9
        fresh = not 0.0 <= seconds <= self._longest_s
        return Tick(t_ns, 0.0 if fresh else seconds, fresh)

    def accept(self, tick: Tick) -> None:
        """The step was made: the next one is counted from it."""
        self._last_ns = tick.t_ns

    def step(self, t_ns: int) -> Tick:
        """`ask` and `accept` at once."""
        tick = self.ask(t_ns)
        self.accept(tick)
        return tick
