"""A driving session: a headset read on its own thread, the driver, and the sinks that show and store its poses."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bodystream.avatar import Avatar
from bodystream.errors import BodystreamError, SourceError
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import Driver, DriveResult
from bodystream.pipelines.reader import Arrival, SourceReader, length_of
from bodystream.sinks import DriveReportBuilder
from bodystream.sinks.viewer import BodyViewer, BodyViewerState
from bodystream.sources.headset.base import HeadsetSource
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample, SkinnedMesh, Status

__all__ = ["DriveProgress", "DriveSession"]

STALL_S = 1.0
RATE_SAMPLES = 90


@dataclass(frozen=True, slots=True)
class DriveProgress:
    """For a status line.

    Attributes:
        processed, dropped: samples so far. rate_hz: over the last samples. latency_ms: of this sample.
        done, total: how far the session is, in samples; total is None where nobody knows its end.
    """

    processed: int
    dropped: int
    rate_hz: float
    latency_ms: float
    status: Status
    reason: str
    flags: tuple[str, ...]
    done: int = 0
    total: int | None = None


class DriveSession:
    """Drives until the source ends, `samples` were processed, or `stop` is called.

    Args:
        reader: of the source.
        report: is told of every pose.
        samples: stop after so many processed samples; None = at the end of the source.
        files: records poses and samples, or None.
        on_progress: called after each sample and when the source stalls.
        on_note: called with lines for a person, when what they tell happens.

    Attributes:
        processed: samples that were taken.
        failed: of these, how many could not be posed; the last pose was held for them.
    """

    def __init__(
        self,
        source: HeadsetSource,
        driver: Driver,
        report: DriveReportBuilder,
        *,
        reader: SourceReader[HeadsetSample],
        samples: int | None = None,
        files: DriveFiles | None = None,
        on_progress: Callable[[DriveProgress], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self._source, self._driver, self._report, self._reader = source, driver, report, reader
        self._samples, self._files = samples, files
        self._on_progress, self._on_note = on_progress, on_note
        self._viewer: BodyViewer | None = None
        self._shown_avatar: Avatar | None = None
        self._shown_skin: SkinnedMesh | None = None  # None = the one that the viewer was made with
        self._stop, self._paused, self._reset = threading.Event(), threading.Event(), threading.Event()
        self._save = threading.Event()
        self._done_ns: deque[int] = deque(maxlen=RATE_SAMPLES)
        self._latency_ns = 0
        self._heard = False
        self._warnings_told = 0
        self._first_failure: BodystreamError | None = None
        self.processed = 0
        self.failed = 0

    def show_on(self, viewer: BodyViewer) -> None:
        """Publish poses to a viewer, which has the driver's body and whose buttons call `resume`, `pause`, `reset`."""
        self._viewer = viewer
        self._shown_avatar = self._driver.avatar

    def stop(self) -> None:
        """End the session after the sample in work; may be called from any thread."""
        self._stop.set()

    def pause(self) -> None:
        """Leave samples aside until `resume`; a live source goes on and its samples count as dropped."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def reset(self) -> None:
        """Forget the past with the next sample."""
        self._reset.set()

    def save(self) -> str:
        """Write the files as they stand, soon and beside the driving; may be called from any thread.

        Returns:
            What to tell the person.
        """
        if self._files is None:
            return "there is no folder to save to: start with --out FOLDER"
        self._save.set()
        return f"saving to {self._files.folder}"

    def _save_if_asked(self) -> None:
        if self._save.is_set():
            self._save.clear()
            if self._files is not None:
                self._files.save(self._driver)

    def run(self) -> None:
        """Drive.

        Raises:
            BodystreamError: of the source, after everything that came before was processed; or what kept every
                single sample from being posed.
        """
        # What was made at start-up lives to the end: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._reader.start()
        heard_ns = now_ns()
        while not self._stop.is_set() and (self._samples is None or self.processed < self._samples):
            self._save_if_asked()
            if self._paused.is_set():
                heard_ns = now_ns()
                self._done_ns.clear()
                self._stop.wait(0.05)
                continue
            try:
                arrival = self._reader.take(STALL_S)
            except TimeoutError:
                self._stalled((now_ns() - heard_ns) * 1e-9)
                continue
            if arrival is None:
                break
            heard_ns, self._heard = now_ns(), True
            self._process(arrival)
        if self._first_failure is not None:
            if self.failed == self.processed:
                raise self._first_failure
            self._note(f"{self.failed} of {self.processed} samples could not be posed: {self._first_failure}")
        if self.processed == 0 and not self._stop.is_set():
            raise SourceError(f"{self._source.name} gave no usable sample")

    def _stalled(self, seconds: float) -> None:
        reason = f"{self._source.name} gave no sample for {seconds:.0f} s"
        if self._heard:  # before that, somebody has yet to put the headset on or to open its page
            self._source.counts.warn(f"{self._source.name} gave no sample for {STALL_S:.0f} s")
        if self._on_progress is not None:
            self._on_progress(self._progress(Status.LOST, reason, ()))

    def _process(self, arrival: Arrival[HeadsetSample]) -> None:
        driver = self._driver
        start_ns = now_ns()
        if self._reset.is_set():
            self._reset.clear()
            driver.restart()
        result = driver.step(arrival.frame)
        for warning in driver.checker.warnings[self._warnings_told :]:
            self._note(f"warning: {warning}")
        self._warnings_told = len(driver.checker.warnings)
        if result is None:
            if self._on_progress is not None:
                self._on_progress(self._progress(Status.LOST, "samples are dropped for their time", ()))
            return
        for note in result.notes:
            self._note(note)
        if result.failure is not None:
            self.failed += 1
            if self._first_failure is None:
                self._first_failure = result.failure
                self._note(f"a sample could not be posed: {result.failure}")
        end_ns = now_ns()
        # Times of a recording that is read ahead lie in the future: its age is counted from the work on it.
        began_ns = result.pose.t_ns if self._source.live else start_ns
        self._latency_ns = end_ns - began_ns
        self.processed += 1
        self._done_ns.append(end_ns)
        self._report.add_pose(
            replace(result.pose, t_ns=began_ns), vertices=driver.avatar.vertices.size, done_t_ns=end_ns
        )
        # The headset's clock may be ahead: browsers tell where the head will be when the frame is shown.
        self._report.add_data_age(max(0, self._latency_ns))
        if result.sample.head is not None and result.failure is None:
            self._report.add_quality(result.head_error_m, result.hand_errors_m, result.joint_error_m)
        if self._files is not None and not result.sample.lap:  # the files hold a recording once
            with driver.spans.measure("record"):
                self._files.person(driver.avatar.skeleton)
                self._files.add(result)
        if self._viewer is not None:
            with driver.spans.measure("publish"):
                self._publish(result)
        if self._on_progress is not None:
            self._on_progress(self._progress(result.pose.status, result.pose.reason, result.pose.flags))

    def _note(self, line: str) -> None:
        if self._on_note is not None:
            self._on_note(line)

    def _publish(self, result: DriveResult) -> None:
        viewer, driver = self._viewer, self._driver
        assert viewer is not None
        if not viewer.wants_state:
            return
        if driver.avatar is not self._shown_avatar:  # a calibration, or a better guess of the stature
            self._shown_avatar, self._shown_skin = driver.avatar, driver.skin
        shown_ns = now_ns() if self._source.live else result.pose.t_ns
        found = None if result.failure is not None else driver.estimator.hypotheses
        viewer.publish(
            BodyViewerState(
                t_ns=result.pose.t_ns,
                pose=result.pose,
                joints_m=result.joints_m.copy(),
                sample=result.sample,
                body=self._shown_skin,
                mesh=driver.posed_mesh() if driver.skin is None else None,
                hypotheses_m=None if found is None or len(found.joints_m) < 2 else found.joints_m.astype(np.float32),
                hud=driver.spans.summary(),
                rate_hz=self._rate_hz(),
                latency_ms=self._latency_ns * 1e-6,
                data_age_ms=(shown_ns - result.pose.t_ns) * 1e-6,
                warnings={**dict.fromkeys(driver.checker.warnings, 1), **self._source.counts.counted_warnings()},
            )
        )

    def _rate_hz(self) -> float:
        if len(self._done_ns) < 2:
            return 0.0
        return (len(self._done_ns) - 1) * 1e9 / max(1, self._done_ns[-1] - self._done_ns[0])

    def _progress(self, status: Status, reason: str, flags: tuple[str, ...]) -> DriveProgress:
        dropped = self._reader.dropped + self._source.counts.lost + self._driver.checker.dropped
        length = length_of(self._source)
        total = length if self._samples is None or (length is not None and length < self._samples) else self._samples
        return DriveProgress(
            self.processed,
            dropped,
            self._rate_hz(),
            self._latency_ns * 1e-6,
            status,
            reason,
            flags,
            self.processed + (dropped if total is length else 0),
            total,
        )
