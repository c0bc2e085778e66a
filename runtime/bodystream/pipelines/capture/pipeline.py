"""Live capture: foreground, correspondence, tracking, fusion, one frame at a time (NNRT sec. 4.5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator, DisCorrespondence
from bodystream.device import DeviceFrame, download
from bodystream.errors import SourceError
from bodystream.foreground import ForegroundSegmenter
from bodystream.fusion import Surface, TsdfVolume
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.pipelines.capture.frame_watch import FrameWatch
from bodystream.pipelines.capture.result import CaptureResult, LiveSurface
from bodystream.pipelines.warmup import ball_frames
from bodystream.timing import Spans
from bodystream.tracking import Expected, SolveSummary, Tracked, Tracker, Verdict
from bodystream.types import Array, CameraIntrinsics, FlowField, Foreground, GraphSnapshot, Mesh, RgbdFrame, Status

__all__ = ["Capture"]

_LEAST_SIGMA_M = 0.015  # nearer to each other, nodes follow the noise


class Capture:
    """The stages of live capture and the state between frames. Not thread-safe.

    Args:
        intrinsics: of every frame to come.
        device: where kernels run.
        estimator: correspondence, OpenCV DIS unless another is given; closed with the capture.
        spans: where the durations of the stages go.

    Attributes:
        field: the deformation graph with its motion. surface: what was fused; None before the first frame.
        restart_count: how often the model was started anew.
        on_forget: is called before the model is forgotten, while its surface is still there.
    """

    def __init__(
        self,
        intrinsics: CameraIntrinsics,
        device: wp.Device,
        config: CaptureConfig | None = None,
        estimator: CorrespondenceEstimator | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.config = c = CaptureConfig() if config is None else config
        self.intrinsics = intrinsics
        self.device = device
        self.spans = Spans() if spans is None else spans
        self.foreground = ForegroundSegmenter(c.foreground, intrinsics)
        self.estimator = DisCorrespondence(c.flow) if estimator is None else estimator
        self.tracker = Tracker(intrinsics, device, c.tracking, self.spans)
        self.field = self.tracker.field
        self.volume = TsdfVolume(c.fusion, device)
        self._image = DeviceFrame(intrinsics, device)
        self._watch = FrameWatch()
        self._last: tuple[Status, Array] | None = None  # of the last frame that was used: its status and foreground
        self.surface: Surface | None = None
        self.restart_count = 0
        self.on_forget: Callable[[], None] | None = None

    def step(self, frame: RgbdFrame) -> CaptureResult:
        """Track and fuse one frame. A frame that cannot be used gives a result with LOST, not an error.

        A frame that comes out of order is left out, too; one that is the last picture again changes nothing.

        Raises:
            SourceError: the frame has other intrinsics than those that the capture was made for.
        """
        if frame.intrinsics != self.intrinsics:
            raise SourceError(
                f"frame {frame.label}: the camera changed from {self.intrinsics} to {frame.intrinsics}: "
                "start again with one format"
            )
        wrong = self._watch.look(frame)
        if wrong is not None:
            result = self._unused(frame, *wrong)
        else:
            result = self._use(frame)
            self._last = result.status, result.foreground.mask
        if wrong is None or wrong[0] is not Status.LOST:
            self._watch.used(frame)
        return result

    def _use(self, frame: RgbdFrame) -> CaptureResult:
        with self.spans.measure("foreground"):
            foreground = self.foreground.step(frame)
            pixels = int(np.count_nonzero(foreground.mask))
        if foreground.status is Status.LOST or pixels < self._least_pixels:
            reason = foreground.reason or f"{pixels} foreground pixels with depth, too few to track"
            return self._result(frame, foreground, Status.LOST, reason)
        with self.spans.measure("upload"):
            self._image.upload(frame, foreground.mask)
        if self.surface is None:
            tracked = self._start()
        else:
            flows = self._flows(frame, foreground, self.tracker.expect(self._image, self.surface))
            tracked = self.tracker.track(self._image, flows)
            if tracked.verdict is Verdict.RESTART:
                tracked = self._start()
        if tracked.verdict is Verdict.FUSE:
            self._fuse(frame.t_ns, tracked.number)
        if tracked.give_up:
            self._forget_model()
        status, reason = tracked.status, tracked.reason
        if status is Status.TRACKED and foreground.status is Status.DEGRADED and tracked.solve is not None:
            status, reason = Status.DEGRADED, foreground.reason
        return self._result(frame, foreground, status, reason, tracked.solve)

    def _unused(self, frame: RgbdFrame, status: Status, reason: str) -> CaptureResult:
        """The result of a frame that is not looked at; where it is the last picture again, its foreground is that."""
        if self._last is None or Status.LOST in (status, self._last[0]):
            status, mask = Status.LOST, np.zeros(frame.depth_m.shape, bool)
        else:
            mask = self._last[1]
        return self._result(frame, Foreground(frame.t_ns, mask, status, reason), status, reason)

    def _start(self) -> Tracked:
        """Forget the model, if there is one: what was fused is in another canonical pose."""
        if self.field.count:
            self._forget_model()
        return self.tracker.start(self._image, self._node_distance())

    @property
    def _least_pixels(self) -> int:
        seeded = self.config.foreground.seed_px is not None
        return self.config.least_object_pixels if seeded else self.config.least_pixels

    def _node_distance(self) -> float:
        """Node coverage for what is in the frame: a small thing needs nodes closer to each other than a body [m]."""
        image, camera = self._image, self.intrinsics
        rows, columns = np.nonzero(image.foreground[::2, ::2])
        spans = [np.subtract(*np.quantile(2 * at, (0.95, 0.05))) for at in (rows, columns)]
        depth_m = float(np.median(image.frame.depth_m[::2, ::2][rows, columns]))
        extent_m = max(spans[0] / camera.fy, spans[1] / camera.fx) * depth_m
        return float(np.clip(extent_m / self.config.nodes_across, _LEAST_SIGMA_M, self.config.tracking.sigma_m))

    def _flows(self, frame: RgbdFrame, foreground: Foreground, expected: list[Expected]) -> list[FlowField]:
        """Correspondence to the frame from each that the tracker asks for: the last one, then keyframes."""

        def flow(past: Expected) -> FlowField:
            masks = {"source_mask": past.mask, "target_mask": foreground.mask}
            return self.estimator.step(past.frame, frame, **masks, initial_flow_px=past.flow_px)

        with self.spans.measure("flow"):
            flows = [flow(expected[0])]
        with self.spans.measure("keyframe"):
            return flows + [flow(past) for past in expected[1:]]

    def _fuse(self, t_ns: int, number: int) -> None:
        with self.spans.measure("integrate"):
            image = self._image
            owners = self.tracker.ownership.owners
            images = (image.scene_depth, image.colour, image.mask)
            self.volume.integrate(*images, self.intrinsics, self.field, t_ns, owners)
        config = self.config
        contradicted = self.tracker.through_share > config.through_share
        if self.surface is None or contradicted or number % config.extract_every == 0:
            with self.spans.measure("surface"):
                surface = self.volume.extract(self.field, lost_nodes=self.tracker.lost_nodes)
                self.surface = surface if surface.vertex_count else None

    def _result(
        self, frame: RgbdFrame, foreground: Foreground, status: Status, reason: str, solve: SolveSummary | None = None
    ) -> CaptureResult:
        vertices = 0 if self.surface is None else self.surface.vertex_count
        return CaptureResult(frame, foreground, status, reason, solve, self.surface, self.field.count, vertices)

    def reset(self) -> None:
        """Forget everything; the next frame starts anew."""
        self.foreground.reset()
        self._watch.reset()
        self._last = None
        self._forget_model()

    def _forget_model(self) -> None:
        """Forget model and motion, but not who is followed."""
        if self.on_forget is not None:
            self.on_forget()
        self.tracker.reset()
        self.volume.reset()
        self.surface = None
        self.restart_count += 1

    @property
    def frame_count(self) -> int:
        """Frames of this model that were tracked."""
        return self.tracker.frame_count

    @property
    def growth_count(self) -> int:
        """How often preallocated buffers were doubled."""
        return self.tracker.growth_count + self.volume.stats.growth_count

    def warp_surface(self) -> LiveSurface | None:
        """The surface as it is in the last frame; None before the first."""
        surface = self.surface
        if surface is None:
            return None
        vertices, normals = self.volume.warp_surface(surface, self.field)
        return LiveSurface(vertices, normals, surface.faces, surface.vertex_count, surface.face_count)

    def graph(self, t_ns: int) -> GraphSnapshot | None:
        """The deformation graph with its motion and the nodes that the last solve used; None before the first frame."""
        return self.tracker.snapshot(t_ns)

    def live_mesh(self) -> Mesh | None:
        """Host copy of the warped surface with its colours."""
        live = self.warp_surface()
        if live is None or self.surface is None:
            return None
        mesh = self.surface.download()
        vertices, normals = (download(a, live.vertex_count).copy() for a in (live.vertices, live.normals))
        return Mesh(vertices, mesh.faces, normals, mesh.colours)

    def warm_up(self, frames: int = 4) -> None:
        """Run the stages on a generated moving ball, so that the first real frame meets warm code and buffers."""
        for frame in ball_frames(self.intrinsics, frames):
            self.step(frame)
            self.warp_surface()
        self.reset()
        self.spans.reset()
        self.restart_count = 0

    def close(self) -> None:
        """Stop worker threads."""
        self.tracker.close()
        self.estimator.close()
