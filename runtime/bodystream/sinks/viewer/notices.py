"""What the page says for some seconds: warnings as they happen, and what came of a button."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SHOWN_S", "Notice", "Notices"]

SHOWN_S = 8.0
"""How long a notice stands on the page after it last happened [s]."""
_KEPT = 50


@dataclass(frozen=True, slots=True)
class Notice:
    """One line.

    Attributes:
        text: for people.
        times: how often it happened.
        warning: else it tells of something that went as it should.
    """

    text: str
    times: int
    warning: bool


class Notices:
    """Remembers when each text last happened. Any thread may call it.

    Args:
        clock: seconds that only increase.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: dict[tuple[str, str], int] = {}  # by who says it and what: the counts given last
        self._notices: dict[str, tuple[Notice, float]] = {}

    def warn(self, warnings: Sequence[str] | Mapping[str, int], origin: str) -> None:
        """Take all warnings that `origin` has had so far: what is new, or has happened more often, happens now.

        Args:
            warnings: texts, or how often each happened.
        """
        counts = warnings if isinstance(warnings, Mapping) else dict.fromkeys(warnings, 1)
        with self._lock:
            for text, times in counts.items():
                before = self._times.get((origin, text), 0)
                if times > before:
                    self._times[origin, text] = times
                    self._add(text, times - before, warning=True)

    def tell(self, text: str) -> None:
        """Something that is no warning happens now."""
        with self._lock:
            self._add(text, 1, warning=False)

    def now(self) -> list[Notice]:
        """What is to be shown, the newest last."""
        return [notice for notice, when in self._sorted() if self._clock() - when < SHOWN_S]

    def earlier(self) -> list[Notice]:
        """What has passed, the newest last."""
        return [notice for notice, when in self._sorted() if self._clock() - when >= SHOWN_S]

    def _add(self, text: str, times: int, warning: bool) -> None:
        before = self._notices.pop(text, None)
        total = times + (0 if before is None else before[0].times)
        self._notices[text] = (Notice(text, total, warning), self._clock())
        while len(self._notices) > _KEPT:
            del self._notices[next(iter(self._notices))]  # the one that happened longest ago

    def _sorted(self) -> list[tuple[Notice, float]]:
        with self._lock:
            return list(self._notices.values())
