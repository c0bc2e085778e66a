"""The report of a capture, as JSON: what came in, how fast, how well, on what."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

import msgspec

from bodystream.sinks.reports.figures import (
    CountSection,
    FramesSection,
    LatencySection,
    MemorySection,
    RunFigures,
    Series,
    SourceSection,
    StageSection,
    TrackingSection,
    latency_section,
    read_json,
    stage_sections,
    write_json,
)
from bodystream.sinks.reports.machine import MachineSection, describe_machine
from bodystream.timing import Spans, SpanSummary
from bodystream.types import Status

__all__ = ["CaptureReport", "QualitySection", "ReportBuilder", "read_report", "write_report"]


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


class CaptureReport(msgspec.Struct, frozen=True):
    """All of it; `write_report` gives the JSON. Latency is from the frame's timestamp to its result."""

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
        self._figures = RunFigures(sample_memory_every)
        self._iou, self._depth, self._surface = (Series() for _ in range(3))
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
        with self._lock:
            self._figures.add(frame_t_ns, status, reason, residuals, done_t_ns)
            self._nodes, self._nodes_peak = nodes, max(nodes, self._nodes_peak)
            self._vertices, self._vertices_peak = vertices, max(vertices, self._vertices_peak)

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
        stages = stage_sections(spans)
        with self._lock:
            (depth_m,) = self._depth.percentiles(50)
            surface_m = self._surface.mean
            return CaptureReport(
                frames=FramesSection(frames_in, self._figures.processed, frames_dropped),
                fps=self._figures.rate_hz,
                stages=stages,
                latency=latency_section(self._figures.latency),
                quality=QualitySection(
                    self._iou.mean,
                    None if depth_m is None else depth_m * 1e3,
                    max(self._iou.count, self._depth.count),
                    None if surface_m is None else surface_m * 1e3,
                ),
                tracking=self._figures.tracking_section(restarts),
                graph={"nodes": CountSection(self._nodes, self._nodes_peak)},
                surface={"vertices": CountSection(self._vertices, self._vertices_peak)},
                source=SourceSection(self._source) if source is None else source,
                memory=self._figures.memory_section(buffer_growths),
                providers=dict(self.providers),
                machine=self._machine,
                warnings=list(dict.fromkeys(warnings)),
            )


def write_report(path: str | os.PathLike[str], report: CaptureReport) -> None:
    """Write indented JSON, whole or not at all; a figure that is not finite becomes null.

    Raises:
        InputError: the file cannot be written.
    """
    write_json(path, report)


def read_report(path: str | os.PathLike[str]) -> CaptureReport:
    """Read what `write_report` wrote.

    Raises:
        InputError: not a report.
    """
    return read_json(path, CaptureReport, "a capture report")
