"""The report of a capture, as JSON: what came in, how fast, how well, on what."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import psutil

from bodystream.errors import InputError
from bodystream.sinks.atomic import atomic_path
from bodystream.sinks.machine import MachineSection, describe_machine
from bodystream.timing import Spans, SpanSummary, now_ns
from bodystream.types import Status

__all__ = [
    "CaptureReport",
    "CountSection",
    "FramesSection",
    "LatencySection",
    "MemorySection",
    "QualitySection",
    "ReportBuilder",
    "SourceSection",
    "StageSection",
    "TrackingSection",
    "read_report",
    "write_report",
]

_WINDOW = 16384  # values of which a median is taken: the last nine minutes at 30 Hz
_MEMORY_SAMPLES = 512


class FramesSection(msgspec.Struct, frozen=True):
    """Frames that the source gave, that were processed, and that a newer one replaced."""

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
    """From the frame's timestamp to its result [ms]; null where no frame was processed."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class QualitySection(msgspec.Struct, frozen=True, omit_defaults=True):
    """How well the model explains the frames; null where it was not measured.

    Attributes:
        silhouette_iou_mean: mean over the frames.
        depth_residual_median_mm: median over the frames of each frame's median.
        frames: frames that were measured.
        surface_error_mean_mm: mean over the frames; only where the source knows the truth.
    """

    silhouette_iou_mean: float | None
    depth_residual_median_mm: float | None
    frames: int
    surface_error_mean_mm: float | None = None


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


class CaptureReport(msgspec.Struct, frozen=True):
    """All of it; `write_report` gives the JSON."""

    frames: FramesSection
    fps: float | None
    stages: dict[str, StageSection]
    latency: LatencySection
    quality: QualitySection
    tracking: TrackingSection
    graph: dict[str, CountSection]
    surface: dict[str, CountSection]
    source: SourceSection
    memory: MemorySection
    providers: dict[str, str]
    machine: MachineSection
    warnings: list[str]


class _Series:
    """The last values of one figure, and the mean of all that were finite."""

    def __init__(self) -> None:
        self._ring = np.zeros(_WINDOW)
        self.count = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        if np.isfinite(value):
            self._ring[self.count % _WINDOW] = value
            self.count += 1
            self._sum += value

    @property
    def mean(self) -> float | None:
        return self._sum / self.count if self.count else None

    def percentiles(self, *q: float) -> list[float | None]:
        if not self.count:
            return [None] * len(q)
        return [float(p) for p in np.percentile(self._ring[: min(self.count, _WINDOW)], q)]


class ReportBuilder:
    """Collects figures frame by frame in bounded memory; thread-safe.

    Args:
        source: its name, as the user gave it.
        providers: what does the work, e.g. `{"kernels": "cpu", "flow": "opencv-dis"}`.
        machine: description to use instead of looking at this machine.
        sample_memory_every: frames between two looks at the process's memory.
    """

    def __init__(
        self,
        source: str,
        providers: Mapping[str, str] | None = None,
        machine: MachineSection | None = None,
        sample_memory_every: int = 50,
    ) -> None:
        self.providers = {} if providers is None else dict(providers)
        self._source = source
        self._machine = describe_machine() if machine is None else machine
        self._lock = threading.Lock()
        self._sample_every = sample_memory_every
        self._process = psutil.Process()
        self._memory: list[tuple[int, float]] = []
        self._rss_peak = 0.0
        self._rss_start = self._sample(0)
        self._processed = 0
        self._first_ns = self._last_ns = 0
        self._latency, self._iou, self._depth, self._surface = (_Series() for _ in range(4))
        self._residuals: dict[str, _Series] = {}
        self._status = {status.value: 0 for status in Status}
        self._reasons: dict[str, int] = {}
        self._nodes = self._nodes_peak = self._vertices = self._vertices_peak = 0

    def add_frame(
        self,
        frame_t_ns: int,
        status: Status,
        reason: str = "",
        *,
        nodes: int = 0,
        vertices: int = 0,
        residuals: Mapping[str, float] | None = None,
        done_t_ns: int | None = None,
    ) -> None:
        """Count one processed frame.

        Args:
            frame_t_ns: when it was taken; its latency is `done_t_ns` (default: now) minus this.
            residuals: named figures of the solver for this frame; values that are not finite are left out.
        """
        done = now_ns() if done_t_ns is None else done_t_ns
        with self._lock:
            if not self._processed:
                self._first_ns = done
            self._last_ns = done
            self._processed += 1
            self._latency.add((done - frame_t_ns) * 1e-6)
            self._status[Status(status).value] += 1
            if reason and (reason in self._reasons or len(self._reasons) < 1000):
                self._reasons[reason] = self._reasons.get(reason, 0) + 1
            self._nodes, self._nodes_peak = nodes, max(nodes, self._nodes_peak)
            self._vertices, self._vertices_peak = vertices, max(vertices, self._vertices_peak)
            for name, value in ({} if residuals is None else residuals).items():
                self._residuals.setdefault(name, _Series()).add(value)
            if self._processed % self._sample_every == 0:
                self._sample(self._processed)

    def add_quality(
        self, silhouette_iou: float, depth_residual_m: float, surface_error_m: float = float("nan")
    ) -> None:
        """Add one measured frame; nan = could not be had."""
        with self._lock:
            self._iou.add(silhouette_iou)
            self._depth.add(depth_residual_m)
            self._surface.add(surface_error_m)

    def build(
        self,
        *,
        spans: Spans | Mapping[str, SpanSummary],
        frames_in: int,
        frames_dropped: int = 0,
        source: SourceSection | None = None,
        restarts: int = 0,
        buffer_growths: int = 0,
        warnings: Sequence[str] = (),
    ) -> CaptureReport:
        """The report so far; may be called more than once.

        Args:
            frames_in: frames that the source gave to the capture.
            frames_dropped: of those, replaced by a newer one before they were processed.
            warnings: of sinks and providers; the source has its own.
        """
        summary = spans.summary() if isinstance(spans, Spans) else spans
        with self._lock:
            rss_end = self._sample(self._processed)
            p50, p95, p99 = self._latency.percentiles(50, 95, 99)
            (depth_m,) = self._depth.percentiles(50)
            surface_m = self._surface.mean
            seconds = (self._last_ns - self._first_ns) * 1e-9
            commonest = sorted(self._reasons.items(), key=lambda item: -item[1])[:10]
            return CaptureReport(
                frames=FramesSection(frames_in, self._processed, frames_dropped),
                fps=(self._processed - 1) / seconds if seconds > 0 else None,
                stages={s: StageSection(v.count, v.p50_ms, v.p95_ms, v.p99_ms) for s, v in summary.items()},
                latency=LatencySection(p50, p95, p99),
                quality=QualitySection(
                    self._iou.mean,
                    None if depth_m is None else depth_m * 1e3,
                    max(self._iou.count, self._depth.count),
                    None if surface_m is None else surface_m * 1e3,
                ),
                tracking=TrackingSection(
                    dict(self._status),
                    dict(commonest),
                    {name: series.percentiles(50)[0] for name, series in self._residuals.items()},
                    restarts,
                ),
                graph={"nodes": CountSection(self._nodes, self._nodes_peak)},
                surface={"vertices": CountSection(self._vertices, self._vertices_peak)},
                source=SourceSection(self._source) if source is None else source,
                memory=MemorySection(self._rss_start, rss_end, self._rss_peak, self._growth(), buffer_growths),
                providers=dict(self.providers),
                machine=self._machine,
                warnings=list(dict.fromkeys(warnings)),
            )

    def _sample(self, frame: int) -> float:
        """Look at the memory; the samples are thinned out when they become many."""
        rss = self._process.memory_info().rss / 2**20
        self._rss_peak = max(self._rss_peak, rss)
        self._memory.append((frame, rss))
        if len(self._memory) > _MEMORY_SAMPLES:
            self._memory = self._memory[::2]
            self._sample_every *= 2
        return rss

    def _growth(self) -> float | None:
        """Least-squares slope [MB per 1000 frames] of the memory over the second half of the frames."""
        frame, rss = np.array(self._memory, dtype=float).T
        late = frame >= self._processed / 2
        if self._processed < 200 or np.ptp(frame[late]) == 0:
            return None
        return float(np.polyfit(frame[late], rss[late], 1)[0] * 1000)


def write_report(path: str | os.PathLike[str], report: CaptureReport) -> None:
    """Write indented JSON, whole or not at all; a figure that is not finite becomes null.

    Raises:
        InputError: the file cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=2)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data + b"\n")


def read_report(path: str | os.PathLike[str]) -> CaptureReport:
    """Read what `write_report` wrote.

    Raises:
        InputError: not a report.
    """
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=CaptureReport)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a capture report: {error}") from error
