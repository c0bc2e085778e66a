"""Live capture: foreground, correspondence, tracking, fusion, one frame at a time (NNRT sec. 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator, DisConfig, DisCorrespondence
from bodystream.deformation import WarpField
from bodystream.errors import SourceError
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.fusion import FusionConfig, Surface, TsdfVolume
from bodystream.pipelines.capture.keyframes import Keyframes
from bodystream.timing import Spans
from bodystream.tracking.graph import build_graph, mesh_from_depth
from bodystream.tracking.growth import GraphGrower, GrowthConfig
from bodystream.tracking.matches import MatchConfig, MatchGatherer, Reference
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.prediction import FlowPredictor, MotionPredictor
from bodystream.tracking.solver import GaussNewton, SolverConfig, SolveSummary
from bodystream.types import Array, CameraIntrinsics, FlowField, Foreground, GraphSnapshot, Mesh, RgbdFrame, Status

__all__ = ["Capture", "CaptureConfig", "CaptureResult", "LiveSurface"]


FAR_M = 100.0
MISFIT_FRAMES = 15  # of the running mean of the share of the model that does not fit


@dataclass(frozen=True)
class CaptureConfig:
    """Options of live capture.

    Attributes:
        sigma_m: node coverage of the deformation graph.
        keyframe_every: a keyframe is kept every so many frames; 0 = none (NNRT: 50).
        keyframe_flow_every: flow from the newest keyframe is computed on every n-th frame.
        grow_every: the graph may grow on every n-th frame.
        extract_every: the fused surface is extracted again on every n-th frame; it changes little from one to the next.
        initial_stride: pixel stride of the first frame's graph.
        poor_fit: share of the facing model that does not fit the depth above which nothing is fused and no node added,
            so that a wrong motion does not spoil the model; lost_fit: above which the motion is taken back.
        stale_fit: running mean of that share above which the model is started anew from the frame: what was tracked
            wrongly stays in it, and would never leave.
        restart_after: frames in a row that were lost or fitted poorly after which the model is started anew.
        restart: whether the model may be started anew at all.
        max_points: surface vertices that are tracked; a denser surface is thinned evenly.
        least_pixels: foreground pixels with depth that a frame must have to be tracked.
    """

    sigma_m: float = 0.05
    keyframe_every: int = 50
    keyframe_flow_every: int = 8
    grow_every: int = 2
    extract_every: int = 2
    initial_stride: int = 3
    poor_fit: float = 0.35
    lost_fit: float = 0.6
    stale_fit: float = 0.24
    restart_after: int = 45
    restart: bool = True
    max_points: int = 12_000
    least_pixels: int = 800
    foreground: ForegroundConfig = ForegroundConfig()
    flow: DisConfig = DisConfig.live()
    matches: MatchConfig = MatchConfig()
    solver: SolverConfig = SolverConfig(
        lambda_reg=500.0,
        lambda_icp=20.0,
        rigid_iterations=2,
        iterations=3,
        damping=1e-3,
        flow_huber_px=2.0,
        icp_reach_m=0.03,
        stop_step_m=5e-4,
        linear="pcg",
        pcg_iterations=25,
        pcg_tolerance=0.05,
    )
    fusion: FusionConfig = FusionConfig(
        min_weight=0.05, edge_px=1, min_cosine=0.05, anchor_budget=16384, surface_tolerance_m=0.001
    )
    growth: GrowthConfig = GrowthConfig()


@dataclass(frozen=True, slots=True)
class LiveSurface:
    """The canonical surface moved to the camera's frame; device arrays, valid until the next step.

    Attributes:
        vertices, normals: vec3 [m]. faces: vec3i.
    """

    vertices: wp.array
    normals: wp.array
    faces: wp.array
    vertex_count: int
    face_count: int


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What one frame gave.

    Attributes:
        frame: the input, with its timestamp. foreground: its mask.
        status, reason: how tracking fared; on LOST the model keeps its last pose and nothing is fused.
        solve: summary of the solver, None on the first frame and where nothing could be matched.
        surface: the canonical surface, its device arrays valid until the next step; None before the first frame.
        nodes, vertices: sizes of graph and surface.
    """

    frame: RgbdFrame
    foreground: Foreground
    status: Status
    reason: str
    solve: SolveSummary | None
    surface: Surface | None
    nodes: int
    vertices: int


class Capture:
    """The stages of live capture and the state between frames. Not thread-safe.

    Args:
        intrinsics: of every frame to come.
        device: where kernels run.
        estimator: correspondence; OpenCV DIS unless another is given.
        spans: where the durations of the stages go.

    Attributes:
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
        self.field = WarpField(device, c.sigma_m)
        self.volume = TsdfVolume(c.fusion, device)
        self.solver = GaussNewton(self.field, intrinsics, c.solver)
        self.foreground = ForegroundSegmenter(c.foreground, intrinsics)
        self._estimator = DisCorrespondence(c.flow) if estimator is None else estimator
        self._gatherer = MatchGatherer(self.field, intrinsics, c.matches)
        self._grower = GraphGrower(self.field, intrinsics, c.growth)
        self._previous = Reference(self.field, intrinsics)
        self._points = ModelPoints(device, c.max_points)
        self._motion = MotionPredictor(self.field)
        self._expected = FlowPredictor(self.field, intrinsics)
        self._keyframes = Keyframes(self.field, intrinsics, self._estimator, c.keyframe_every, c.keyframe_flow_every)
        shape = (intrinsics.height, intrinsics.width)
        self._depth = wp.zeros(shape, dtype=float, device=device)
        self._mask = wp.zeros(shape, dtype=wp.uint8, device=device)
        self._colour = wp.zeros(shape, dtype=wp.vec3ub, device=device)
        self.restart_count = -1
        self.on_forget: Callable[[], None] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame starts anew."""
        self.foreground.reset()
        self._forget_model()

    def _forget_model(self) -> None:
        """Forget model and motion, but not who is followed."""
        if self.on_forget is not None:
            self.on_forget()
        self.field.clear()
        self.volume.reset()
        self._keyframes.reset()
        self._grower.forget()
        self._motion.reset()
        self._last: tuple[RgbdFrame, Array] | None = None
        self.surface: Surface | None = None
        self._lost_frames = 0
        self._misfit = 0.0
        self.frame_count = 0
        self.restart_count += 1

    @property
    def growth_count(self) -> int:
        """How often preallocated buffers were doubled."""
        return self.field.growth_count + self.solver.growth_count + self.volume.stats.growth_count

    def warp_surface(self) -> LiveSurface | None:
        """The surface as it is in the last frame; None before the first."""
        surface = self.surface
        if surface is None:
            return None
        vertices, normals = self.volume.warp_surface(surface, self.field)
        return LiveSurface(vertices, normals, surface.faces, surface.vertex_count, surface.face_count)

    def graph(self, t_ns: int) -> GraphSnapshot | None:
        """The deformation graph with its motion and the nodes that the last solve used; None before the first frame."""
        if self.field.count == 0:
            return None
        active = self.solver.active
        return self.field.snapshot(t_ns, active if len(active) == self.field.count else None)

    def live_mesh(self) -> Mesh | None:
        """Host copy of the warped surface with its colours."""
        live = self.warp_surface()
        if live is None or self.surface is None:
            return None
        mesh = self.surface.download()
        vertices = live.vertices.numpy()[: live.vertex_count].copy()
        return Mesh(vertices, mesh.faces, live.normals.numpy()[: live.vertex_count].copy(), mesh.colours)

    def close(self) -> None:
        """Stop worker threads."""
        self._grower.close()
        close = getattr(self._estimator, "close", None)
        if close is not None:
            close()

    def warm_up(self, frames: int = 4) -> None:
        """Run the stages on a generated moving ball, so that the first real frame meets warm code and buffers."""
        for index in range(frames):
            self.step(_ball_frame(self.intrinsics, index))
            self.warp_surface()
        self.reset()
        self.spans.reset()
        self.restart_count = 0

    def step(self, frame: RgbdFrame) -> CaptureResult:
        """Track and fuse one frame. A frame that cannot be used gives a result with LOST, not an error.

        Raises:
            SourceError: the frame has other intrinsics than those that the capture was made for.
        """
        if frame.intrinsics != self.intrinsics:
            raise SourceError(
                f"frame {frame.label}: the camera changed from {_describe(self.intrinsics)} to "
                f"{_describe(frame.intrinsics)}: start again with one format"
            )
        with self.spans.measure("foreground"):
            foreground = self.foreground.step(frame)
            depth_m = np.where(foreground.mask, frame.depth_m, np.float32(0))
            pixels = int(np.count_nonzero(depth_m))
        if foreground.status is Status.LOST or pixels < self.config.least_pixels:
            reason = foreground.reason or f"{pixels} foreground pixels with depth, too few to track"
            return self._lost(frame, foreground, reason, None)
        with self.spans.measure("upload"):
            self._depth.assign(depth_m)
            self._mask.assign(foreground.mask.view(np.uint8))
            if frame.colour is not None:
                self._colour.assign(frame.colour)
        if self.surface is None:
            return self._start(frame, foreground, depth_m)
        summary = self._track(frame, foreground)
        unexplained = summary.unexplained
        misfit = f"{unexplained:.0%} of the model does not fit the depth"
        if summary.status is Status.LOST or unexplained > self.config.lost_fit:
            self._previous.restore(self.field)
            return self._lost(frame, foreground, summary.reason or misfit, summary)
        self._misfit += (unexplained - self._misfit) / MISFIT_FRAMES
        if self.config.restart and self._misfit > self.config.stale_fit:
            self._forget_model()
            return self._start(frame, foreground, depth_m)
        poor = unexplained > self.config.poor_fit
        if not poor:
            self._lost_frames = 0
            self._fuse(frame)
        self._remember(frame, foreground, grow=not poor)
        self.frame_count += 1
        status, reason = summary.status, summary.reason
        if poor:
            status, reason = Status.DEGRADED, misfit
            self._count_lost()
        elif foreground.status is Status.DEGRADED and status is Status.TRACKED:
            status, reason = Status.DEGRADED, foreground.reason
        return self._result(frame, foreground, status, reason, summary)

    def _start(self, frame: RgbdFrame, foreground: Foreground, depth_m: Array) -> CaptureResult:
        """The first frame is the canonical pose: its depth gives the graph, and the first surface."""
        if self.field.count:  # an earlier start left no surface; what it fused is in another canonical pose
            self._forget_model()
        with self.spans.measure("start"):
            stride = self.config.initial_stride
            mesh = mesh_from_depth(depth_m, foreground.mask, self.intrinsics, stride=stride)
            piece = max(10, self.config.growth.least_piece // stride)
            graph = build_graph(mesh.points, mesh.edges, self.config.sigma_m, self.field.neighbours, piece)
            n = len(graph.positions)
            if n < 4:
                return self._lost(frame, foreground, "the foreground has no connected surface to start from", None)
            unit = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
            still = np.zeros((n, 3), np.float32)
            self.field.set_graph(graph.positions, graph.edges, unit, still, np.arange(n, dtype=np.int32))
        self._fuse(frame)
        self._remember(frame, foreground)
        self.frame_count += 1
        return self._result(frame, foreground, Status.TRACKED, "", None)

    def _track(self, frame: RgbdFrame, foreground: Foreground) -> SolveSummary:
        assert self._last is not None and self.surface is not None
        last_frame, last_mask = self._last
        surface, points = self.surface, self._points
        with self.spans.measure("graph"):
            self._apply_growth()
        with self.spans.measure("predict"):
            self._motion.predict(frame.t_ns)
            points.take(surface.vertices, surface.normals, surface.anchors, surface.weights, surface.vertex_count)
            model = (points.points, points.anchors, points.weights, points.count)
            guess = self._expected.flow(*model, self._previous)
        with self.spans.measure("flow"):
            masks = {"source_mask": last_mask, "target_mask": foreground.mask}
            flow = self._estimator.step(last_frame, frame, **masks, initial_flow_px=guess)
        references: list[tuple[Reference, FlowField]] = [(self._previous, flow)]
        with self.spans.measure("keyframe"):
            references += self._keyframes.follow(frame, foreground.mask, partial(self._expected.flow, *model))
        with self.spans.measure("match"):
            self.solver.set_points(*model, points.normals)
            self._gatherer.gather(*model, points.normals, references, self._depth, self.solver.flow_buffers)
            # A given mask says where the body is not; a found one only where depth was measured.
            scene_m = frame.depth_m if frame.mask is None else np.where(frame.mask, frame.depth_m, np.float32(FAR_M))
            silhouette = (scene_m, foreground.mask, self.solver.flow_buffers)
            self._gatherer.pull_inside(*model, *silhouette)
            self.solver.use_flow()
            self.solver.set_depth(self._depth)
        with self.spans.measure("solve"):
            return self.solver.solve()

    def _apply_growth(self) -> None:
        # Waiting for the plan at a fixed frame makes the result independent of the worker's speed.
        if self.frame_count % self.config.grow_every == 0 and self._grower.apply():
            # The new nodes have moved as their parents did; the last frame's motion is still the field's.
            self._previous.store_motion(self.field)

    def _fuse(self, frame: RgbdFrame) -> None:
        with self.spans.measure("integrate"):
            colour = None if frame.colour is None else self._colour
            self.volume.integrate(self._depth, colour, self._mask, self.intrinsics, self.field, frame.t_ns)
        if self.surface is None or self.frame_count % self.config.extract_every == 0:
            with self.spans.measure("surface"):
                surface = self.volume.extract(self.field)
                self.surface = surface if surface.vertex_count else None

    def _remember(self, frame: RgbdFrame, foreground: Foreground, grow: bool = True) -> None:
        with self.spans.measure("remember"):
            self._last = (frame, foreground.mask)
            self._previous.store(frame.t_ns, self._depth, self.field)
            self._motion.remember(frame.t_ns)
            self._keyframes.remember(frame, foreground.mask, self._depth)
            if grow and self.frame_count % self.config.grow_every == 0:
                self._grower.request(frame.depth_m, foreground.mask, frame.t_ns)

    def _lost(
        self, frame: RgbdFrame, foreground: Foreground, reason: str, summary: SolveSummary | None
    ) -> CaptureResult:
        if summary is not None:  # somebody is there, and the model does not fit; nobody there is no reason to forget it
            self._count_lost()
        return self._result(frame, foreground, Status.LOST, reason, summary)

    def _count_lost(self) -> None:
        """Give the model up when it has not been found for a while."""
        self._lost_frames += 1
        if self.config.restart and self._lost_frames >= self.config.restart_after:
            self._forget_model()

    def _result(
        self, frame: RgbdFrame, foreground: Foreground, status: Status, reason: str, summary: SolveSummary | None
    ) -> CaptureResult:
        vertices = 0 if self.surface is None else self.surface.vertex_count
        return CaptureResult(frame, foreground, status, reason, summary, self.surface, self.field.count, vertices)


def _ball_frame(k: CameraIntrinsics, index: int) -> RgbdFrame:
    """A textured ball of 25 cm radius, 1.2 m away, that moves 1 cm per frame."""
    v, u = np.indices((k.height, k.width), np.float32)
    x, y = (u - k.cx) / k.fx * 1.2 - 0.01 * index, (v - k.cy) / k.fy * 1.2
    inside = np.maximum(0.25**2 - x * x - y * y, 0.0)
    depth_m = np.where(inside > 0, 1.2 - np.sqrt(inside), 0.0).astype(np.float32)
    pattern = 128 + 60 * np.sin(90 * x) * np.cos(80 * y)
    colour = np.repeat(pattern.astype(np.uint8)[..., None], 3, axis=2)
    return RgbdFrame(index, index * 33_333_333, depth_m, k, colour, mask=depth_m > 0, name=f"warm-up {index}")


def _describe(k: CameraIntrinsics) -> str:
    return f"{k.width}x{k.height} pixels with fx={k.fx:.1f}, fy={k.fy:.1f}, cx={k.cx:.1f}, cy={k.cy:.1f}"
