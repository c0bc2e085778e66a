"""A capture with all that it needs: a camera or frames that are pushed, sinks, listeners, a report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, overload

import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator, DisCorrespondence
from bodystream.device import describe_device, select_device
from bodystream.errors import InputError, NotReadyError, SourceError
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.pipelines.capture.motion import MotionMemory
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.result import CaptureResult, LiveSurface
from bodystream.pipelines.capture.view import CaptureView
from bodystream.pipelines.intake import check_time
from bodystream.pipelines.ports import check_sink
from bodystream.pipelines.reader import Arrival
from bodystream.pipelines.run import STALL_S, Progress, Session
from bodystream.pipelines.stepping import check_count
from bodystream.pipelines.warmup import warm_up
from bodystream.sinks.base import Occasion, Sink
from bodystream.sinks.reports.capture import CaptureReport, ReportBuilder
from bodystream.sinks.reports.figures import SourceSection
from bodystream.sources.base import RgbdSource
from bodystream.timing import Spans, now_ns
from bodystream.types import Array, BoneMotion, CameraIntrinsics, GraphSnapshot, Mesh, RgbdFrame, Status

__all__ = ["CaptureSession", "SurfaceFigures", "SurfaceMeter"]

FIRST_FRAME_S = 15.0


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


class CaptureSession(Session[RgbdFrame, CaptureResult]):
    """Tracks and fuses what a camera sees: a source's frames, or those that are pushed.

    The pipeline is made for the intrinsics of the first frame, which all others must have, too; `push` raises
    `SourceError` for one that has others, and goes on with the next. Results are as of `Capture.step`; only `push`
    gives their `surface`, whose device arrays are valid until the next step, and their `mesh()`.

    Args:
        source: an opened camera or recording, which the session closes; or the intrinsics of a camera whose frames are
            pushed, for which the pipeline is made at once, so that the first push is as fast as the others; None =
            frames are pushed that bring their own.
        config: of the pipeline.
        device: where kernels run: `auto`, `cpu`, `cuda`, `cuda:N`, or a Warp device.
        estimator: correspondence, OpenCV DIS unless another is given, see `correspondence.base`; closed by the session.
        sinks: see `sinks.base`; more may be added by `add_sink`.
        frames: `run` stops after so many processed frames; None = at the end of the source.
        meter: makes what compares model and frame, such as `evaluation.surface.QualityMeter`, for the report.
        meter_every: it does so on every n-th frame.
        on_result: called with each result, in order; one that is slow misses some.
        on_progress: called with the newest `Progress`, some twenty times a second at most, and when the source stalls.
        on_note: called with lines for a person, when what they tell happens.
        on_kernel_build: called by this constructor before each module of kernels that has to be built, which takes
            seconds and happens once on a machine: its name, its number from 1, and how many have to be built.

    Listeners (all but the last one) are called on a thread of their own.

    Raises:
        ConfigurationError, DeviceError: an option that cannot be used; kernels that cannot be built.
    """

    def __init__(
        self,
        source: RgbdSource | CameraIntrinsics | None = None,
        config: CaptureConfig | None = None,
        *,
        device: str | wp.Device = "auto",
        estimator: CorrespondenceEstimator | None = None,
        sinks: Sequence[Sink[Any]] = (),
        frames: int | None = None,
        meter: Callable[[CameraIntrinsics, wp.Device], SurfaceMeter] | None = None,
        meter_every: int = 1,
        on_result: Callable[[CaptureResult], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_note: Callable[[str], object] | None = None,
        on_kernel_build: Callable[[str, int, int], None] | None = None,
    ) -> None:
        camera, source = (source, None) if isinstance(source, CameraIntrinsics) else (None, source)
        super().__init__(source, frames, on_result, on_progress, on_note)
        self._camera, self._numbers = camera, itertools.count()
        for sink in sinks:  # all of them, before threads are begun for any
            check_sink(sink)
        check_count("meter_every", meter_every)
        self.device = select_device(device) if isinstance(device, str) else device
        self.config = CaptureConfig() if config is None else config
        self._make_meter, self._meter_every = meter, meter_every
        self._meter: SurfaceMeter | None = None
        self._told_of_masks = False
        self._spans = Spans()
        self._capture: Capture | None = None
        self._motions = MotionMemory()
        self._motion: GraphSnapshot | None = None
        self._name = "pushed frames" if source is None else source.name
        warm_up(self.device, on_kernel_build)
        self._estimator = DisCorrespondence(self.config.flow) if estimator is None else estimator
        who = {"kernels": describe_device(self.device), "flow": self._estimator.label}
        self._figures = ReportBuilder(self._name, who)
        if camera is not None:
            self._make(camera)
        for sink in sinks:
            self.add_sink(sink)

    @property
    def spans(self) -> Spans:
        return self._spans

    @property
    def report(self) -> CaptureReport:
        counts, capture = self._intake.counts, self._capture
        return self._figures.build(
            spans=self._spans,
            frames_in=self._intake.received,
            frames_dropped=self._intake.left_out,
            source=SourceSection(self._name, counts.delivered, counts.lost, counts.reconnects, counts.warnings),
            restarts=0 if capture is None else capture.restart_count,
            buffer_growths=0 if capture is None else capture.growth_count,
            warnings=self._sink_warnings(),
        )

    def _open(self) -> None:
        # Of the first frame are the intrinsics that the pipeline is made for.
        with self._turn():
            if self._intake.reader is None or self._capture is not None:
                return
            self._intake.reader.start()
            first = self._take_first()
            if first is None:
                return
            self._make(first.frame.intrinsics)
            if self._intake.is_live:
                self._intake.reader.pass_over()  # what told the format is old by now
                first = self._take_first()
            self._first, self._heard = first, first is not None

    @overload
    def push(self, item: RgbdFrame) -> CaptureResult | None: ...

    @overload
    def push(self, item: Array, colour: Array | None = None, t_ns: int | None = None) -> CaptureResult | None: ...

    def push(
        self, item: RgbdFrame | Array, colour: Array | None = None, t_ns: int | None = None
    ) -> CaptureResult | None:
        """Process one frame on this thread.

        Args:
            item: depth (H, W) of the camera that the session was made for, float [m], 0 = no measurement; or a whole
                `RgbdFrame`.
            colour: (H, W, 3) uint8 RGB of the same pixels, or None.
            t_ns: when it was taken, on the clock of `now_ns`; None = now.

        Both images are copied; those of an `RgbdFrame` are not, and must not be written to any more.

        Raises:
            InputError: the depth is not in metres as floating point, has nan, or an image is of another size.
            SessionError, SourceError: as `Session.push`.
        """
        return super().push(self._frame(item, colour, t_ns))

    @overload
    def push_nowait(self, item: RgbdFrame) -> None: ...

    @overload
    def push_nowait(self, item: Array, colour: Array | None = None, t_ns: int | None = None) -> None: ...

    def push_nowait(self, item: RgbdFrame | Array, colour: Array | None = None, t_ns: int | None = None) -> None:
        """Hand over one frame, given as for `push`, and return at once; see `Session.push_nowait`."""
        super().push_nowait(self._frame(item, colour, t_ns))

    def _frame(self, item: RgbdFrame | Array, colour: Array | None, t_ns: int | None) -> RgbdFrame:
        if isinstance(item, np.ndarray) and self._camera is not None:
            number = next(self._numbers)
            if item.dtype.kind != "f":
                raise InputError(
                    f"frame {number}: depth must be metres as floating point, got {item.dtype}: multiply it by the "
                    "camera's unit, as depth * 0.001 for millimetres"
                )
            copy = colour.copy() if isinstance(colour, np.ndarray) else colour
            return RgbdFrame(number, now_ns() if t_ns is None else t_ns, item.astype(np.float32), self._camera, copy)
        if isinstance(item, np.ndarray):
            raise InputError("depth alone is of no camera: make the session as CaptureSession(intrinsics)")
        if colour is not None or t_ns is not None:
            raise InputError(f"a {type(item).__name__} has its colour and time with it: push it alone")
        return item

    def pose_at(self, t_ns: int) -> BoneMotion:
        """The nodes of the deformation graph at any time, from any thread and without waiting.

        Between frames it is interpolated; beyond the newest, velocities fade, and after 0.1 s the nodes stay. The
        motion's `t_ns` then is before the one asked for: see `MotionMemory.at`.

        Raises:
            NotReadyError: no frame was tracked yet.
        """
        return self._motions.at(t_ns)

    def live_mesh(self) -> Mesh:
        """The surface in the pose of the newest frame, in the camera's frame [m]; waits for a frame in work.

        Raises:
            NotReadyError: there is none yet.
        """
        return self._mesh(None)

    def _mesh(self, wanted: RgbdFrame | None) -> Mesh:
        """The live mesh, if `wanted` is the newest frame or None."""
        with self._turn():
            if wanted is not None and (self._result is None or self._result.frame is not wanted):
                raise NotReadyError(
                    f"frame {wanted.label} is not the newest any more: call mesh() before the next push, or "
                    "live_mesh() of the session for the newest"
                )
            mesh = None if self._capture is None else self._capture.live_mesh()
        if mesh is None:
            raise NotReadyError("no frame was tracked yet, so there is no surface: push one, or wait for the source")
        return mesh

    def _take_first(self) -> Arrival[RgbdFrame] | None:
        """None where the session is stopped or closed before there is one."""
        assert self._intake.reader is not None
        first, until_ns = None, now_ns() + round(FIRST_FRAME_S * 1e9)
        while True:
            try:
                first = self._intake.reader.take(min(STALL_S, FIRST_FRAME_S))
                break
            except TimeoutError as error:
                if self._stop.is_set():
                    break
                if now_ns() >= until_ns:
                    raise SourceError(
                        f"{self._name} gave no frame within {FIRST_FRAME_S:.0f} s: check the camera's cable and that "
                        "no other program uses it"
                    ) from error
        if first is None and not self._stop.is_set():
            raise SourceError(
                f"{self._name} has no usable frame" + "".join(f"; {w}" for w in self._intake.counts.warnings)
            )
        return first

    def _make(self, intrinsics: CameraIntrinsics) -> Capture:
        meter = None if self._make_meter is None else self._make_meter(intrinsics, self.device)
        capture = Capture(intrinsics, self.device, self.config, self._estimator, self._spans)
        capture.warm_up()
        capture.on_forget = self._model_ends
        self._capture, self._meter = capture, meter
        return capture

    def _model_ends(self) -> None:
        self._show(Occasion.FORGET, self._result)
        self._motions.forget()

    def _step(self, item: RgbdFrame, arrived_ns: int | None) -> CaptureResult:
        capture = self._capture or self._make(item.intrinsics)
        start_ns = now_ns()
        if self._reset.is_set():
            self._reset.clear()
            capture.reset()
        result = capture.step(item)
        self._tell_of_masks(capture)
        with self._spans.measure("warp"):
            live = capture.warp_surface()
        end_ns = now_ns()
        # Of a recording the age is counted from when work on the frame began: it waits for us, not we for it.
        began_ns = start_ns if arrived_ns is None else arrived_ns
        self._intake.count(end_ns - began_ns, end_ns)
        self._figures.add_frame(
            began_ns,
            result.status,
            result.reason,
            nodes=result.nodes,
            vertices=result.vertices,
            residuals=_residuals(result),
            done_t_ns=end_ns,
        )
        if self._meter is not None and live is not None and self.processed % self._meter_every == 0:
            with self._spans.measure("quality"):
                found = self._meter.measure(result.frame, result.foreground.mask, live)
            self._figures.add_quality(found.silhouette_iou, found.depth_residual_m, found.surface_error_m)
        self._motion = None
        if result.status is not Status.LOST and result.nodes:
            self._motion = capture.field.snapshot(item.t_ns)
            self._motions.add(self._motion)
        return replace(result, make_mesh=lambda: self._mesh(item))

    def _tell_of_masks(self, capture: Capture) -> None:
        """Say once that the source has stopped giving masks."""
        last = capture.foreground.masks_ended
        if last and not self._told_of_masks:
            self._told_of_masks = True
            line = (
                f"the masks end with frame {last}: the person is found from there on, or lost with --mask "
                "given; --mask find does so from the start"
            )
            self._warn(line)
            self._note(f"warning: {line}")

    def _view(self, occasion: Occasion, result: CaptureResult | None) -> CaptureView | None:
        if self._capture is None:
            return None
        return CaptureView(
            occasion,
            result,
            self._capture,
            self._motion,
            self._intake.rate_hz,
            self._intake.counts.counted_warnings(),
            self._intake.latency_ns * 1e-6,
        )

    def _shared(self, result: CaptureResult) -> CaptureResult:
        return replace(result, surface=None, make_mesh=None)

    def _status_of(self, result: CaptureResult) -> tuple[Status, str]:
        return result.status, result.reason

    def _progress(self, status: Status, reason: str, result: CaptureResult | None) -> Progress:
        told = self._intake.progress(status, reason, self._intake.left_out)
        last = self._result if result is None else result
        return told if last is None else replace(told, nodes=last.nodes, vertices=last.vertices)

    def _check_pushed(self, item: RgbdFrame) -> None:
        if not isinstance(item, RgbdFrame):
            raise InputError(f"a capture takes frames of bodystream.types.RgbdFrame, got {type(item).__name__}")
        check_time(f"frame {item.label}", item.t_ns)
        depth_m = item.depth_m
        with np.errstate(invalid="ignore"):
            low, high = depth_m.min(), depth_m.max()  # nan if any is
        if not (low >= 0.0 and high < np.inf):
            bad = int(np.count_nonzero(~(np.isfinite(depth_m) & (depth_m >= 0.0))))
            raise InputError(
                f"frame {item.label}: depth of {bad} of {depth_m.size} pixels is nan, infinite or negative: set pixels "
                "without a measurement to 0"
            )

    def _close_pipeline(self) -> None:
        if self._capture is not None:
            self._capture.close()
        self._estimator.close()


def _residuals(result: CaptureResult) -> dict[str, float]:
    """Root mean cost per match of each term at the end of the solve, in the solver's weighted units."""
    solve = result.solve
    if solve is None or not solve.matches:
        return {}
    names = ("flow", "depth", "icp", "regularisation")
    return {f"{name}_cost": float(cost) / solve.matches for name, cost in zip(names, solve.costs[-1], strict=True)}
