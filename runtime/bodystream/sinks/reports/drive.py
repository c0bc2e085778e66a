"""The report of a driven body, as JSON: what came in, how fast, how late, how sure, on what."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence

import msgspec

from bodystream.errors import ConfigurationError
from bodystream.sinks.reports.figures import (
    CountSection,
    FramesSection,
    LatencySection,
    MemorySection,
    RunFigures,
    Series,
    SourceSection,
    StageSection,
    Tally,
    TrackingSection,
    latency_section,
    read_json,
    stage_sections,
    write_json,
)
from bodystream.sinks.reports.machine import MachineSection, describe_machine
from bodystream.timing import Spans, SpanSummary
from bodystream.types import BodyPose

__all__ = [
    "BudgetSection",
    "DriveQualitySection",
    "DriveReport",
    "DriveReportBuilder",
    "read_drive_report",
    "write_drive_report",
]

_WINDOW = 49152  # values of which a percentile is taken: the last nine minutes at 90 Hz


class DriveQualitySection(msgspec.Struct, frozen=True, omit_defaults=True):
    """How well the poses meet what was measured; null where it was not measured.

    Attributes:
        head_error_mean_cm, hand_error_mean_cm: distance of the posed head and hands from the tracked ones.
        poses: poses that were measured.
        joint_error_mean_cm: mean over poses and joints; only where the source knows the truth.
    """

    head_error_mean_cm: float | None
    hand_error_mean_cm: float | None
    poses: int
    joint_error_mean_cm: float | None = None


class BudgetSection(msgspec.Struct, frozen=True):
    """Poses that came later than one period of the source's nominal rate after their sample, over the whole run.

    Attributes:
        nominal_rate_hz, period_ms: null where the source has no nominal rate; nothing is missed then.
        misses: poses that were later than one period.
        share: misses of all poses, 0 to 1; null without poses or nominal rate.
        worst_ms: the longest latency of all poses.
    """

    nominal_rate_hz: float | None
    period_ms: float | None
    misses: int
    share: float | None
    worst_ms: float | None


class DriveReport(msgspec.Struct, frozen=True):
    """All of it; `write_drive_report` gives the JSON. What a capture's report holds too has the same name there.

    Attributes:
        frames: samples that the source gave, that were posed, and that a newer one replaced.
        fps: the same as `rate_hz`, under the name that it has in a capture's report.
        rate_hz: poses per second that were reached.
        latency: from the sample's timestamp to its pose.
        data_age: from the sample's timestamp to the time that a pose was asked for or shown.
        flags: poses that carried each flag (`left_lost`...), the most frequent first.
        calibration: what was measured of the person, in sentences.
        bundles: networks and bodies in use, by their task: `{"pose": "pose-cmu 1.0"}`.
        providers: what does the work: `{"kernels": "cpu", "pose": "openvino"}`.
    """

    frames: FramesSection
    fps: float | None
    rate_hz: float | None
    stages: dict[str, StageSection]
    latency: LatencySection
    data_age: LatencySection
    budget: BudgetSection
    flags: dict[str, int]
    quality: DriveQualitySection
    tracking: TrackingSection
    surface: dict[str, CountSection]
    calibration: list[str]
    source: SourceSection
    memory: MemorySection
    bundles: dict[str, str]
    providers: dict[str, str]
    machine: MachineSection
    warnings: list[str]


class DriveReportBuilder:
    """Collects figures pose by pose in bounded memory; thread-safe.

    Percentiles are of the last nine minutes at 90 Hz; counts, means, misses and the worst latency are of the whole run.

    Args:
        source: its name, as the user gave it.
        nominal_rate_hz: of the source, or None where it has none; its period is the budget of a pose.
        bundles, providers: see `DriveReport`; may be changed until the report is built.
        machine: description to use instead of looking at this machine.
        sample_memory_every: poses between two looks at the process's memory.

    Raises:
        ConfigurationError: a nominal rate that is not a positive number.
    """

    def __init__(
        self,
        source: str,
        nominal_rate_hz: float | None = None,
        *,
        bundles: Mapping[str, str] | None = None,
        providers: Mapping[str, str] | None = None,
        machine: MachineSection | None = None,
        sample_memory_every: int = 100,
    ) -> None:
        if nominal_rate_hz is not None and not (math.isfinite(nominal_rate_hz) and nominal_rate_hz > 0):
            raise ConfigurationError(
                f"the nominal rate of {source} must be a positive number of Hz, got {nominal_rate_hz}: give None where "
                "it is not known"
            )
        self.bundles = {} if bundles is None else dict(bundles)
        self.providers = {} if providers is None else dict(providers)
        self._source = source
        self._nominal_rate_hz = nominal_rate_hz
        self._period_ms = None if nominal_rate_hz is None else 1e3 / nominal_rate_hz
        self._machine = describe_machine() if machine is None else machine
        self._lock = threading.Lock()
        self._figures = RunFigures(sample_memory_every, _WINDOW)
        self._age = Series(_WINDOW)
        self._head, self._hands, self._joints = (Series(1) for _ in range(3))  # of which only means are told
        self._measured = 0
        self._flags = Tally()
        self._misses = 0
        self._vertices = self._vertices_peak = 0

    def add_pose(
        self,
        pose: BodyPose,
        *,
        vertices: int = 0,
        residuals: Mapping[str, float] | None = None,
        done_t_ns: int | None = None,
    ) -> None:
        """Count one pose.

        Args:
            pose: its latency is `done_t_ns` (default: now) minus its `t_ns`.
            vertices: of the mesh that was posed with it.
            residuals: named figures of the solver for this pose; values that are not finite are left out.
        """
        with self._lock:
            latency_ms = self._figures.add(pose.t_ns, pose.status, pose.reason, residuals, done_t_ns)
            if self._period_ms is not None and latency_ms > self._period_ms:
                self._misses += 1
            for flag in dict.fromkeys(pose.flags):
                self._flags.add(flag)
            self._vertices, self._vertices_peak = vertices, max(vertices, self._vertices_peak)

    def add_data_age(self, age_ns: int) -> None:
        """Add the age that the newest sample had when a pose was asked for or shown."""
        with self._lock:
            self._age.add(age_ns * 1e-6)

    def add_quality(
        self, head_error_m: float, hand_errors_m: Sequence[float] = (), joint_error_m: float = float("nan")
    ) -> None:
        """Add one measured pose; nan = could not be had.

        Args:
            hand_errors_m: of the hands that were tracked.
            joint_error_m: mean over the joints, where the truth is known.
        """
        with self._lock:
            self._measured += 1
            self._head.add(head_error_m)
            for error_m in hand_errors_m:
                self._hands.add(error_m)
            self._joints.add(joint_error_m)

    def build(
        self,
        *,
        spans: Spans | Mapping[str, SpanSummary],
        samples_in: int,
        samples_dropped: int = 0,
        source: SourceSection | None = None,
        calibration: Sequence[str] = (),
        restarts: int = 0,
        buffer_growths: int = 0,
        warnings: Sequence[str] = (),
    ) -> DriveReport:
        """The report so far; may be called more than once.

        Args:
            samples_in: samples that the source gave to the driver.
            samples_dropped: of those, replaced by a newer one before they were posed.
            restarts: how often the driver began anew: a clock that jumped, a new calibration, the user's wish.
            warnings: of the driver, sinks and providers; the source has its own.
        """
        stages = stage_sections(spans)
        with self._lock:
            figures, period_ms = self._figures, self._period_ms
            share = self._misses / figures.processed if figures.processed and period_ms is not None else None
            return DriveReport(
                frames=FramesSection(samples_in, figures.processed, samples_dropped),
                fps=figures.rate_hz,
                rate_hz=figures.rate_hz,
                stages=stages,
                latency=latency_section(figures.latency),
                data_age=latency_section(self._age),
                budget=BudgetSection(self._nominal_rate_hz, period_ms, self._misses, share, figures.latency.largest),
                flags=self._flags.commonest(),
                quality=DriveQualitySection(
                    _cm(self._head.mean), _cm(self._hands.mean), self._measured, _cm(self._joints.mean)
                ),
                tracking=figures.tracking_section(restarts),
                surface={"vertices": CountSection(self._vertices, self._vertices_peak)},
                calibration=list(calibration),
                source=SourceSection(self._source) if source is None else source,
                memory=figures.memory_section(buffer_growths),
                bundles=dict(self.bundles),
                providers=dict(self.providers),
                machine=self._machine,
                warnings=list(dict.fromkeys(warnings)),
            )


def _cm(metres: float | None) -> float | None:
    return None if metres is None else metres * 1e2


def write_drive_report(path: str | os.PathLike[str], report: DriveReport) -> None:
    """Write indented JSON, whole or not at all; a figure that is not finite becomes null.

    Raises:
        InputError: the file cannot be written.
    """
    write_json(path, report)


def read_drive_report(path: str | os.PathLike[str]) -> DriveReport:
    """Read what `write_drive_report` wrote.

    Raises:
        InputError: not a report of a driven body.
    """
    return read_json(path, DriveReport, "a report of a driven body")
