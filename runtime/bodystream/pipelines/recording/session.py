"""Recording alone: a camera, a headset or both, each read on a thread of its own, into one take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodystream.errors import BodystreamError, ConfigurationError
from bodystream.pipelines.reader import length_of
from bodystream.pipelines.recording.recorder import COLOUR_CODING, TakeRecorder
from bodystream.pipelines.recording.taps import FrameTap, SampleTap
from bodystream.sinks.reports.figures import SourceSection, stage_sections
from bodystream.sinks.reports.machine import describe_machine
from bodystream.sinks.reports.record import RecordedSection, RecordReport
from bodystream.sources.base import RgbdSource
from bodystream.sources.headset.base import HeadsetSource

__all__ = ["RecordProgress", "TakeRecording"]

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class RecordProgress:
    """For a status line.

    Attributes:
        frames, samples, dropped: so far. total: frames (of a headset alone, samples) that there will be, or None.
        seconds: so far. megabytes: in the file (10^6 bytes).
    """

    frames: int
    samples: int
    dropped: int
    total: int | None
    seconds: float
    megabytes: float


class TakeRecording:
    """Records until its sources end, a limit is reached, or `stop`.

    Args:
        path: of the new take.
        camera, headset: what is recorded, one of them at least; they are closed at the end.
        colour: see `TakeRecorder`.
        frames: stop after so many frames; without a camera, samples.
        seconds: stop after so long [s].
        host_utc_offset_ns: see `TakeRecorder`.
        on_note: is called with lines for a person, from any thread. on_progress: on the thread of `run`.

    Raises:
        ConfigurationError: nothing to record, or a limit that is none.
        InputError, MissingDependencyError: see `TakeRecorder`.
    """

    def __init__(
        self,
        path: Path,
        camera: RgbdSource | None = None,
        headset: HeadsetSource | None = None,
        *,
        colour: str = COLOUR_CODING,
        frames: int | None = None,
        seconds: float | None = None,
        host_utc_offset_ns: int | None = None,
        on_note: Callable[[str], None] | None = None,
        on_progress: Callable[[RecordProgress], None] | None = None,
    ) -> None:
        if camera is None and headset is None:
            raise ConfigurationError("nothing to record: give a camera, a headset, or both")
        if frames is not None and frames < 1:
            raise ConfigurationError(f"a recording takes at least 1 frame, got {frames}")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ConfigurationError(f"a recording takes a positive time in seconds, got {seconds}")
        self._camera, self._headset = camera, headset
        self._frames, self._seconds = frames, seconds
        self._on_note, self._on_progress = on_note, on_progress
        self._stop = threading.Event()
        self._left = 0
        self._lock = threading.Condition()
        self._failures: list[Exception] = []
        self.recorder = TakeRecorder(path, colour=colour, on_note=on_note, host_utc_offset_ns=host_utc_offset_ns)

    @property
    def report(self) -> RecordReport:
        """As it stands now."""
        recorder = self.recorder
        megabytes, seconds = recorder.written_bytes * 1e-6, recorder.seconds
        return RecordReport(
            take=str(recorder.path),
            recorded=RecordedSection(
                recorder.frames,
                recorder.samples,
                recorder.dropped,
                recorder.rounded,
                seconds,
                megabytes,
                megabytes / seconds if seconds > 0 else 0.0,
            ),
            stages=stage_sections(recorder.spans),
            camera=_section(self._camera),
            headset=_section(self._headset),
            machine=describe_machine(),
            warnings=[str(failure) for failure in self._failures],
        )

    def stop(self) -> None:
        """End after what came so far; may be called by a signal's handler."""
        self._stop.set()

    def run(self) -> RecordReport:
        """Record on threads of its own, and wait for the end.

        Raises:
            BodystreamError: what ended a source or the file; what came before is in the take.
        """
        work: list[tuple[Any, FrameTap | SampleTap]] = []
        if self._camera is not None:
            work.append((self._camera, FrameTap(self.recorder, self._camera)))
        if self._headset is not None:
            work.append((self._headset, SampleTap(self.recorder, self._headset)))
        self._left = len(work)
        threads = [threading.Thread(target=self._read, args=item, name="record-read", daemon=True) for item in work]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        finally:
            self._stop.set()
            for source, _ in work:
                source.close()
            for thread in threads:
                thread.join(timeout=5.0)
            for _, tap in work:
                tap.end()
            self.recorder.close()
        if self.recorder.failure is not None:
            self._failures.append(self.recorder.failure)
        if self._failures:
            raise self._failures[0]
        return self.report

    def _watch(self) -> None:
        """Until there is nothing left to do."""
        while not self._stop.is_set() and self.recorder.failure is None and not self._failures:
            if self._seconds is not None and self.recorder.seconds >= self._seconds:
                return
            with self._lock:
                if not self._left:
                    return
                self._lock.wait(_LOOK_S)
            if self._on_progress is not None:
                self._on_progress(self._progress())

    def _read(self, source: Iterable[Any], tap: Callable[[Any], object]) -> None:
        """One source to its end."""
        counted = source is self._camera or self._camera is None
        count = 0
        try:
            for item in source:
                if self._stop.is_set():
                    break
                tap(item)
                del item
                count += counted
                if counted and count == self._frames:
                    self._stop.set()
                    break
        except Exception as error:  # handed to the thread that waits
            if not self._stop.is_set() or not isinstance(error, BodystreamError):
                self._failures.append(error)
        finally:
            with self._lock:
                self._left -= 1
                self._lock.notify_all()

    def _progress(self) -> RecordProgress:
        recorder = self.recorder
        source = self._headset if self._camera is None else self._camera
        total = length_of(source)
        if self._frames is not None and (total is None or total > self._frames):
            total = self._frames
        return RecordProgress(
            recorder.frames,
            recorder.samples,
            recorder.dropped,
            total,
            recorder.seconds,
            recorder.written_bytes * 1e-6,
        )


def _section(source: RgbdSource | HeadsetSource | None) -> SourceSection | None:
    if source is None:
        return None
    counts = source.counts
    return SourceSection(source.name, counts.delivered, counts.lost, counts.reconnects, list(counts.warnings))
