"""At most so many results a second, and on the long run as many."""

from __future__ import annotations

from bodystream.errors import ConfigurationError

__all__ = ["Pace"]


class Pace:
    """Tells which results are to be sent.

    Args:
        rate_hz: at most so many a second; None = each one.
        what: the option and whose it is, for messages: `vmc:127.0.0.1:39539: rate_hz`.

    Raises:
        ConfigurationError: a rate that is none.
    """

    def __init__(self, rate_hz: float | None, what: str) -> None:
        if rate_hz is not None and not 0.0 < rate_hz <= 1000.0:
            raise ConfigurationError(f"{what} must be above 0 and at most 1000, got {rate_hz:g}")
        self._period_ns = 0 if rate_hz is None else round(1e9 / rate_hz)
        self._due_ns: int | None = None

    def is_due(self, now: int) -> bool:
        """Whether a result is to be sent now [ns], so that on the long run there are as many as the rate wants.

        One that comes a little early is not left to the next one: of 90 poses a second at a rate of 90 Hz none is to
        be lost for their jitter.
        """
        if not self._period_ns:
            return True
        if self._due_ns is not None and now < self._due_ns - self._period_ns // 4:
            return False
        due = now if self._due_ns is None else max(self._due_ns, now - self._period_ns)
        self._due_ns = due + self._period_ns
        return True
