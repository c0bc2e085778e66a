"""A browser's clock against the host's, from pings over a network with jitter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["ClockAlignment", "ClockFigures"]


@dataclass(frozen=True, slots=True)
class ClockFigures:
    """How well two clocks are aligned.

    Attributes:
        samples: answers that were used.
        round_trip_ms: the shortest in the window; half of it bounds the error of the offset.
        drift_ppm: how much faster the host's clock runs than the device's.
        resets: how often the device's clock jumped.
    """

    samples: int
    round_trip_ms: float
    drift_ppm: float
    resets: int


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One ping and its answer; the offset is the host's time minus the device's in the middle of the round trip."""

    device_ns: int
    offset_ns: int
    round_trip_ns: int


class ClockAlignment:
    """Offset and drift of a device's clock, from exchanges as NTP makes them (RFC 5905, section 8).

    The host notes when it sent a ping and when the answer came, the device says what its clock showed in between. The
    offset so found is wrong by at most half the round trip, and the exchange with the shortest one is the best. Of each
    few seconds the best exchange is kept, and a line through these, weighted by how much longer than the shortest they
    took, gives offset and drift. The drift is held towards zero by what crystals do, so that a short window cannot
    turn jitter into drift.

    Args:
        window_ns: how long an exchange counts.
        bucket_ns: of each of these intervals the best exchange is kept.
        drift_sigma_ppm, drift_limit_ppm: what drift is expected, and the most that is believed.
        resolution_ns: error of an exchange besides its round trip (browsers round their clock to 0.1 or 1 ms).
        jump_ns: an answer that disagrees by more than its round trip explains and this is suspicious; `jump_count` of
            them in a row mean that the device's clock jumped, and the alignment starts afresh.
    """

    def __init__(
        self,
        *,
        window_ns: int = 60_000_000_000,
        bucket_ns: int = 4_000_000_000,
        drift_sigma_ppm: float = 50.0,
        drift_limit_ppm: float = 500.0,
        resolution_ns: int = 200_000,
        jump_ns: int = 10_000_000,
        jump_count: int = 3,
    ) -> None:
        self._window_ns = window_ns
        self._bucket_ns = bucket_ns
        self._drift_sigma = drift_sigma_ppm * 1e-6
        self._drift_limit = drift_limit_ppm * 1e-6
        self._resolution_ns = resolution_ns
        self._jump_ns = jump_ns
        self._jump_count = jump_count
        self._best: deque[_Exchange] = deque()
        self._bucket = 0
        self._suspicious = 0
        self._samples = 0
        self._resets = 0
        # The line: offset = reference + level + drift * (device - origin).
        self._origin_ns = 0
        self._reference_ns = 0
        self._level_ns = 0.0
        self._drift = 0.0
        self._figures = ClockFigures(0, 0.0, 0.0, 0)

    @property
    def samples(self) -> int:
        """Exchanges used since the start or the last jump."""
        return self._samples

    @property
    def resets(self) -> int:
        return self._resets

    @property
    def in_doubt(self) -> bool:
        """Whether the last exchanges contradict the alignment: more of them, soon, would settle it."""
        return self._suspicious > 0

    def add(self, sent_ns: int, device_ns: int, received_ns: int) -> bool:
        """Take an exchange: host time of the ping, device time of the answer, host time of the answer [ns].

        Returns:
            False where it was not used: the answer came before the question, or it contradicts the earlier ones and
            may show a jump.
        """
        round_trip_ns = received_ns - sent_ns
        if round_trip_ns < 0:
            return False
        exchange = _Exchange(device_ns, (sent_ns + received_ns) // 2 - device_ns, round_trip_ns)
        if self._best and self._contradicts(exchange):
            self._suspicious += 1
            if self._suspicious < self._jump_count:
                return False
            self._best.clear()
            self._samples = 0
            self._drift = 0.0
            self._resets += 1
        self._suspicious = 0
        self._samples += 1
        bucket = device_ns // self._bucket_ns
        if not self._best or bucket != self._bucket:
            self._best.append(exchange)
            self._bucket = bucket
        elif round_trip_ns <= self._best[-1].round_trip_ns:
            self._best[-1] = exchange
        while self._best[0].device_ns < device_ns - self._window_ns:
            self._best.popleft()
        self._fit()
        return True

    def host_ns(self, device_ns: int) -> int:
        """The host's time when the device's clock showed `device_ns`. Wants at least one exchange."""
        if not self._best:
            raise ValueError("a clock cannot be aligned before its first exchange: ask `samples`")
        return device_ns + self._offset_ns(device_ns)

    def offset_ns(self) -> int:
        """The host's time less the device's, as of the newest exchange. Wants at least one exchange."""
        return self.host_ns(self._origin_ns) - self._origin_ns

    def figures(self) -> ClockFigures:
        """May be called from another thread."""
        return self._figures

    def _offset_ns(self, device_ns: int) -> int:
        return self._reference_ns + round(self._level_ns + self._drift * (device_ns - self._origin_ns))

    def _contradicts(self, exchange: _Exchange) -> bool:
        shortest_ns = min(kept.round_trip_ns for kept in self._best)
        error_ns = abs(exchange.offset_ns - self._offset_ns(exchange.device_ns))
        return error_ns > (exchange.round_trip_ns + shortest_ns) // 2 + self._jump_ns

    def _fit(self) -> None:
        """Weighted least squares of a line, with a normal prior on its slope."""
        shortest_ns = min(exchange.round_trip_ns for exchange in self._best)
        # Differences to a recent exchange stay small: nanoseconds of the host's uptime do not fit into a float.
        self._origin_ns, self._reference_ns = self._best[-1].device_ns, self._best[-1].offset_ns
        points = []
        for exchange in self._best:
            sigma_ns = self._resolution_ns + (exchange.round_trip_ns - shortest_ns) / 2
            x, y = exchange.device_ns - self._origin_ns, exchange.offset_ns - self._reference_ns
            points.append((float(x), float(y), sigma_ns**-2))
        total = sum(w for _, _, w in points)
        mean_x = sum(w * x for x, _, w in points) / total
        mean_y = sum(w * y for _, y, w in points) / total
        sxx = sum(w * (x - mean_x) ** 2 for x, _, w in points)
        sxy = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in points)
        drift = sxy / (sxx + self._drift_sigma**-2)
        self._drift = min(max(drift, -self._drift_limit), self._drift_limit)
        self._level_ns = mean_y - self._drift * mean_x
        self._figures = ClockFigures(self._samples, shortest_ns * 1e-6, self._drift * 1e6, self._resets)
