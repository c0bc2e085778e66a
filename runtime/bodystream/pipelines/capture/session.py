"""A live session: a source read on its own thread, capture, and the sinks that show and store what came of it."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bodystream.pipelines.capture.files import CaptureFiles
from bodystream.pipelines.capture.pipeline import Capture, CaptureResult, LiveSurface
from bodystream.pipelines.reader import Arrival, SourceReader, length_of
from bodystream.sinks import ReportBuilder
from bodystream.sinks.viewer import CaptureViewer, ViewerState
from bodystream.sources.base import RgbdSource
from bodystream.timing import now_ns
from bodystream.types import Array, RgbdFrame, Status

__all__ = ["LiveSession", "Progress"]

# A source that gives nothing for this long is reported as stalled.
STALL_S = 1.0
FPS_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Progress:
    """For a status line.

    Attributes:
        processed, dropped: frames so far. fps: over the last frames. latency_ms: of this frame.
        done, total: how far the session is, in frames; total is None where nobody knows its end.
    """

    processed: int
    dropped: int
    fps: float
    latency_ms: float
    status: Status
    reason: str
    nodes: int
    vertices: int
    done: int = 0
    total: int | None = None


class SurfaceFigures(Protocol):
    """How well the model explains a frame; nan where it cannot be told, see `evaluation.surface`."""

    @property
    def silhouette_iou(self) -> float: ...

    @property
    def depth_residual_m(self) -> float: ...

    @property
    def surface_error_m(self) -> float: ...


class SurfaceMeter(Protocol):
    """Compares the warped model with a frame; judging is above the pipelines, so who runs a session brings it."""

    def measure(self, frame: RgbdFrame, mask: Array, live: LiveSurface) -> SurfaceFigures: ...


class LiveSession:
    """Runs capture on a source until it ends, `frames` were processed, or `stop` is called.

    Args:
        first: the frame that the capture was made for; it is the first to be processed.
        reader: of the source; its frames follow.
        report: is told of every frame.
        frames: stop after so many processed frames; None = at the end of the source.
        quality: compares model and frame on every `quality_every`-th frame, or None.
        files: records the motion, or None.
        on_progress: called after each frame and when the source stalls.
    """

    def __init__(
        self,
        source: RgbdSource,
        capture: Capture,
        report: ReportBuilder,
        *,
        first: Arrival[RgbdFrame],
        reader: SourceReader[RgbdFrame],
        frames: int | None = None,
        quality: SurfaceMeter | None = None,
        quality_every: int = 1,
        files: CaptureFiles | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._source = source
        self._capture = capture
        self._report = report
        self._first: Arrival[RgbdFrame] | None = first
        self._reader = reader
        self._frames = frames
        self._quality = quality
        self._quality_every = quality_every
        self._files = files
        self._viewer: CaptureViewer | None = None
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._reset = threading.Event()
        self._paused = threading.Event()
        self._save = threading.Event()
        self._processed = 0
        self._done_ns: deque[int] = deque(maxlen=FPS_FRAMES)
        self._started_ns = 0
        self._latency_ns = 0

    def show_on(self, viewer: CaptureViewer) -> None:
        """Publish every frame to a viewer, whose buttons call `resume`, `pause` and `reset`."""
        self._viewer = viewer

    def stop(self) -> None:
        """End the session after the frame in work; may be called from any thread."""
        self._stop.set()

    def pause(self) -> None:
        """Leave frames aside until `resume`; a live source goes on and its frames count as dropped."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def reset(self) -> None:
        """Start the model anew with the next frame."""
        self._reset.set()

    def save(self) -> str:
        """Write the files as they stand, soon and beside the capture; may be called from any thread.

        Returns:
            What to tell the person.
        """
        if self._files is None:
            return "there is no folder to save to: start with --out FOLDER"
        self._save.set()
        return f"saving to {self._files.folder}"

    def run(self) -> None:
        """Process frames. Errors of the source are raised after everything that came before was processed."""
        # What was made at start-up lives to the end: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._started_ns = now_ns()
        while not self._stop.is_set() and (self._frames is None or self._processed < self._frames):
            self._save_if_asked()
            if self._paused.is_set():
                self._done_ns.clear()
                self._stop.wait(0.05)
                continue
            try:
                arrival = self._next()
            except TimeoutError:
                self._stalled()
                continue
            if arrival is None:
                return
            self._process(arrival)

    def _save_if_asked(self) -> None:
        if self._save.is_set():
            self._save.clear()
            if self._files is not None:
                self._files.save(self._capture)

    def _next(self) -> Arrival[RgbdFrame] | None:
        if self._first is not None:
            arrival, self._first = self._first, None
            return arrival
        return self._reader.take(STALL_S)

    def _stalled(self) -> None:
        reason = f"{self._source.name} gave no frame for {STALL_S:.0f} s"
        self._source.counts.warn(reason)
        if self._on_progress is not None:
            self._on_progress(self._progress(Status.LOST, reason))

    def _process(self, arrival: Arrival[RgbdFrame]) -> None:
        capture, spans = self._capture, self._capture.spans
        start_ns = now_ns()
        if self._reset.is_set():
            self._reset.clear()
            capture.reset()
        result = capture.step(arrival.frame)
        with spans.measure("warp"):
            live = capture.warp_surface()
        end_ns = now_ns()
        # Of a recording the age is counted from when work on the frame began: it waits for us, not we for it.
        began_ns = arrival.arrived_ns if self._source.live else start_ns
        self._latency_ns = end_ns - began_ns
        self._processed += 1
        self._done_ns.append(end_ns)
        self._report.add_frame(
            began_ns,
            result.status,
            result.reason,
            nodes=result.nodes,
            vertices=result.vertices,
            residuals=_residuals(result),
            done_t_ns=end_ns,
        )
        if self._quality is not None and live is not None and self._processed % self._quality_every == 0:
            with spans.measure("quality"):
                found = self._quality.measure(result.frame, result.foreground.mask, live)
            self._report.add_quality(found.silhouette_iou, found.depth_residual_m, found.surface_error_m)
        if self._files is not None:
            self._files.add(result, capture)
        if self._viewer is not None:
            with spans.measure("publish"):
                self._publish(result)
        if self._on_progress is not None:
            self._on_progress(self._progress(result.status, result.reason))

    def _publish(self, result: CaptureResult) -> None:
        viewer, capture = self._viewer, self._capture
        assert viewer is not None
        if not viewer.wants_state:
            return
        viewer.publish(
            ViewerState(
                t_ns=result.frame.t_ns,
                frame=result.frame,
                live_mesh=capture.live_mesh(),
                canonical_mesh=None if capture.surface is None else capture.surface.download(),
                graph=capture.graph(result.frame.t_ns),
                hud=capture.spans.summary(),
                fps=self._fps(),
                status=result.status,
                reason=result.reason,
                details={"nodes": str(result.nodes), "vertices": str(result.vertices)},
                warnings=self._source.counts.counted_warnings(),
            )
        )

    def _fps(self) -> float:
        """Frames per second over the last frames, so that it follows what a person sees."""
        if len(self._done_ns) < 2:
            return 0.0
        return (len(self._done_ns) - 1) * 1e9 / max(1, self._done_ns[-1] - self._done_ns[0])

    def _progress(self, status: Status, reason: str) -> Progress:
        dropped = self._reader.dropped + self._source.counts.lost
        capture = self._capture
        length = length_of(self._source)
        total = length if self._frames is None or (length is not None and length < self._frames) else self._frames
        return Progress(
            processed=self._processed,
            dropped=dropped,
            fps=self._fps(),
            latency_ms=self._latency_ns * 1e-6,
            status=status,
            reason=reason,
            nodes=capture.field.count,
            vertices=0 if capture.surface is None else capture.surface.vertex_count,
            done=self._processed + (dropped if total is length else 0),
            total=total,
        )


def _residuals(result: CaptureResult) -> dict[str, float]:
    """Root mean cost per match of each term at the end of the solve, in the solver's weighted units."""
    solve = result.solve
    if solve is None or not solve.matches:
        return {}
    names = ("flow", "depth", "icp", "regularisation")
    return {f"{name}_cost": float(cost) / solve.matches for name, cost in zip(names, solve.costs[-1], strict=True)}
