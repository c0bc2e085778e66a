"""From the clock that an OpenXR runtime converts to the host's monotonic clock.

On Linux the two are one: `XR_KHR_convert_timespec_time` speaks of CLOCK_MONOTONIC, which is `timing.now_ns`. On Windows
`XR_KHR_win32_convert_performance_counter_time` speaks of the performance counter, and up to Python 3.12 the monotonic
clock is a counter that advances every 15.6 ms: poses are stamped by the fine one, put onto the other's zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bodystream.timing import now_ns

__all__ = ["CounterClock", "split_ns"]

_NS = 1_000_000_000


def split_ns(t_ns: int) -> tuple[int, int]:
    """Whole seconds and the rest in nanoseconds, as `struct timespec` wants them."""
    return divmod(t_ns, _NS)


class CounterClock:
    """Host time at the resolution of a counter that has another zero.

    Args:
        read_ticks: reads the counter.
        frequency_hz: ticks per second.
        host_ns: the host's monotonic clock, which may advance in coarse steps.
        window: how many readings the offset between the two is taken from; they may drift apart by some
            parts per million, so that an old reading loses its worth.
    """

    def __init__(
        self,
        read_ticks: Callable[[], int],
        frequency_hz: int,
        *,
        host_ns: Callable[[], int] = now_ns,
        window: int = 512,
    ) -> None:
        self._read_ticks = read_ticks
        self._frequency_hz = frequency_hz
        self._host_ns = host_ns
        self._offsets_ns: deque[int] = deque(maxlen=window)
        self._latest_ns = 0

    def now(self) -> tuple[int, int]:
        """This moment as host nanoseconds, which never go back, and as ticks of the counter."""
        ticks = self._read_ticks()
        # In integers: a double would round a counter of 10 MHz to more than a tick after some years of uptime.
        counter_ns = ticks * _NS // self._frequency_hz
        # A coarse clock is late by up to one step and never early, so the largest offset is the nearest to the truth.
        self._offsets_ns.append(self._host_ns() - counter_ns)
        self._latest_ns = max(self._latest_ns, counter_ns + max(self._offsets_ns))
        return self._latest_ns, ticks
