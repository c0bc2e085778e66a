"""Durations of named stages in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bodystream.timing.clock import now_ns

__all__ = ["SpanSummary", "Spans"]


@dataclass(frozen=True, slots=True)
class SpanSummary:
    """Percentiles of a stage's durations over the last `window` frames [ms]."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Spans:
    """Durations per stage; keeps the last `window` values of each, so a day-long run stays small."""

    def __init__(self, window: int = 4096) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._rings: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def add(self, stage: str, duration_ns: int) -> None:
        with self._lock:
            ring = self._rings.get(stage)
            if ring is None:
                ring = self._rings[stage] = np.zeros(self._window)
                self._counts[stage] = 0
            ring[self._counts[stage] % self._window] = duration_ns * 1e-6
            self._counts[stage] += 1

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time a block as one span of `stage`; a block that raises is not counted."""
        start = now_ns()
        yield
        self.add(stage, now_ns() - start)

    def summary(self) -> dict[str, SpanSummary]:
        """Percentiles of every stage, in the order in which the stages first appeared."""
        with self._lock:
            values = {s: self._rings[s][: min(self._counts[s], self._window)].copy() for s in self._rings}
            counts = dict(self._counts)
        return {
            stage: SpanSummary(counts[stage], *(float(p) for p in np.percentile(v, (50, 95, 99))))
            for stage, v in values.items()
        }

    def reset(self) -> None:
        with self._lock:
            self._rings.clear()
            self._counts.clear()
