"""What the reports of all runs have in common: their sections, and figures collected in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np
import psutil

from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.timing import Spans, SpanSummary, now_ns
from bodystream.types import Status

__all__ = [
    "CountSection",
    "FramesSection",
    "LatencySection",
    "MemorySection",
    "RunFigures",
    "Series",
    "SourceSection",
    "StageSection",
    "Tally",
    "TrackingSection",
    "WINDOW",
    "latency_section",
    "read_json",
    "stage_sections",
    "write_json",
]

WINDOW = 16384
"""Values of which a percentile is taken: the last nine minutes at 30 Hz."""
_MEMORY_SAMPLES = 512
_NAMES = 1000  # of reasons or flags that are told apart

Report = TypeVar("Report", bound=msgspec.Struct)


class FramesSection(msgspec.Struct, frozen=True):
    """Frames or samples that the source gave, that were processed, and that a newer one replaced."""

    received: int = msgspec.field(name="in")
    processed: int
    dropped: int


class StageSection(msgspec.Struct, frozen=True):
    """Durations of one stage [ms]."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class LatencySection(msgspec.Struct, frozen=True):
    """Percentiles of a time since the data's timestamp [ms]; null where nothing was measured."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class TrackingSection(msgspec.Struct, frozen=True):
    """Frames per status, why frames were not tracked (the most frequent reasons), and medians of the residuals."""

    status: dict[str, int]
    reasons: dict[str, int]
    residuals: dict[str, float | None]
    restarts: int


class CountSection(msgspec.Struct, frozen=True):
    """A count at the end and at its largest."""

    last: int
    peak: int


class SourceSection(msgspec.Struct, frozen=True):
    """What gave the frames."""

    name: str
    delivered: int = 0
    lost: int = 0
    reconnects: int = 0
    warnings: list[str] = []


class MemorySection(msgspec.Struct, frozen=True):
    """Resident memory of the process [MB = 2^20 bytes].

    Attributes:
        rss_peak_mb: largest of the samples.
        growth_mb_per_1000_frames: slope over the second half of the frames; null below 200 frames.
        buffer_growths: how often a preallocated buffer had to grow.
    """

    rss_start_mb: float
    rss_end_mb: float
    rss_peak_mb: float
    growth_mb_per_1000_frames: float | None
    buffer_growths: int


class Series:
    """The last `window` values of one figure, and mean and largest of all that were finite."""

    def __init__(self, window: int = WINDOW) -> None:
        self._ring = np.zeros(window)
        self.count = 0
        self._sum = 0.0
        self._largest = -np.inf

    def add(self, value: float) -> None:
        if np.isfinite(value):
            self._ring[self.count % len(self._ring)] = value
            self.count += 1
            self._sum += value
            self._largest = max(self._largest, value)

    @property
    def mean(self) -> float | None:
        return self._sum / self.count if self.count else None

    @property
    def largest(self) -> float | None:
        return float(self._largest) if self.count else None

    def percentiles(self, *q: float) -> list[float | None]:
        if not self.count:
            return [None] * len(q)
        return [float(p) for p in np.percentile(self._ring[: min(self.count, len(self._ring))], q)]


class Tally:
    """Counts by name, of at most `_NAMES` names: what comes up anew after that is not told."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, name: str) -> None:
        if name and (name in self.counts or len(self.counts) < _NAMES):
            self.counts[name] = self.counts.get(name, 0) + 1

    def commonest(self, most: int | None = None) -> dict[str, int]:
        """The most frequent first."""
        return dict(sorted(self.counts.items(), key=lambda item: -item[1])[:most])


class RunFigures:
    """Rate, latency, status, residuals and memory of a run, frame by frame in bounded memory. Not thread-safe.

    Args:
        sample_memory_every: frames between two looks at the process's memory.
        window: values of which a percentile is taken.
    """

    def __init__(self, sample_memory_every: int = 50, window: int = WINDOW) -> None:
        self.processed = 0
        self.latency = Series(window)
        self._window = window
        self._first_ns = self._last_ns = 0
        self._residuals: dict[str, Series] = {}
        self._status = {status.value: 0 for status in Status}
        self._reasons = Tally()
        self._sample_every = sample_memory_every
        self._process = psutil.Process()
        self._memory: list[tuple[int, float]] = []
        self._rss_peak = 0.0
        self._rss_start = self._sample()

    def add(
        self,
        t_ns: int,
        status: Status,
        reason: str = "",
        residuals: Mapping[str, float] | None = None,
        done_t_ns: int | None = None,
    ) -> float:
        """Count one frame that was taken at `t_ns` and was done at `done_t_ns` (default: now); its latency [ms]."""
        done = now_ns() if done_t_ns is None else done_t_ns
        latency_ms = (done - t_ns) * 1e-6
        if not self.processed:
            self._first_ns = done
        self._last_ns = done
        self.processed += 1
        self.latency.add(latency_ms)
        self._status[Status(status).value] += 1
        self._reasons.add(reason)
        for name, value in ({} if residuals is None else residuals).items():
            if name not in self._residuals:
                self._residuals[name] = Series(self._window)
            self._residuals[name].add(value)
        if self.processed % self._sample_every == 0:
            self._sample()
        return latency_ms

    @property
    def rate_hz(self) -> float | None:
        """Frames per second from the first to the last result."""
        seconds = (self._last_ns - self._first_ns) * 1e-9
        return (self.processed - 1) / seconds if seconds > 0 else None

    def tracking_section(self, restarts: int) -> TrackingSection:
        medians = {name: series.percentiles(50)[0] for name, series in self._residuals.items()}
        return TrackingSection(dict(self._status), self._reasons.commonest(10), medians, restarts)

    def memory_section(self, buffer_growths: int) -> MemorySection:
        """Takes a last look at the memory."""
        rss_end = self._sample()
        return MemorySection(self._rss_start, rss_end, self._rss_peak, self._growth(), buffer_growths)

    def _sample(self) -> float:
        """Look at the memory; the samples are thinned out when they become many."""
        rss = self._process.memory_info().rss / 2**20
        self._rss_peak = max(self._rss_peak, rss)
        self._memory.append((self.processed, rss))
        if len(self._memory) > _MEMORY_SAMPLES:
            self._memory = self._memory[::2]
            self._sample_every *= 2
        return rss

    def _growth(self) -> float | None:
        """Least-squares slope [MB per 1000 frames] of the memory over the second half of the frames."""
        frame, rss = np.array(self._memory, dtype=float).T
        late = frame >= self.processed / 2
        if self.processed < 200 or np.ptp(frame[late]) == 0:
            return None
        return float(np.polyfit(frame[late], rss[late], 1)[0] * 1000)


def latency_section(series: Series) -> LatencySection:
    return LatencySection(*series.percentiles(50, 95, 99))


def stage_sections(spans: Spans | Mapping[str, SpanSummary]) -> dict[str, StageSection]:
    summary = spans.summary() if isinstance(spans, Spans) else spans
    return {stage: StageSection(s.count, s.p50_ms, s.p95_ms, s.p99_ms) for stage, s in summary.items()}


def write_json(path: str | os.PathLike[str], report: msgspec.Struct) -> None:
    """Write indented JSON, whole or not at all; a figure that is not finite becomes null.

    Raises:
        InputError: the file cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=2)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data + b"\n")


def read_json(path: str | os.PathLike[str], kind: type[Report], what: str) -> Report:
    """Read what `write_json` wrote.

    Args:
        what: a person would call the file, with its article: `a capture report`.

    Raises:
        InputError: not such a report.
    """
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not {what}: {error}") from error
