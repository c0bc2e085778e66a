"""Non-rigid tracking as a stage: the motion of a deformation graph, frame by frame (NNRT sec. 4.5)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import OwnedFrame, Ownership
from bodystream.device import DeviceFrame
from bodystream.errors import InputError
from bodystream.timing import Spans
from bodystream.tracking.graph import build_graph, mesh_from_depth
from bodystream.tracking.growth import GraphGrower
from bodystream.tracking.judging import Judgement, judged, seen_through
from bodystream.tracking.keyframes import Keyframes
from bodystream.tracking.matches import MatchGatherer, Reference
from bodystream.tracking.model import ModelPoints, PointSampler, SkinnedSurface
from bodystream.tracking.placement import Placement, share_on
from bodystream.tracking.prediction import FlowPredictor, MotionPredictor
from bodystream.tracking.sight import Sight, found_again, seen_nodes
from bodystream.tracking.solver import GaussNewton, SolveSummary
from bodystream.tracking.tracker_config import TrackerConfig
from bodystream.types import Array, CameraIntrinsics, FlowField, GraphSnapshot, RgbdFrame, Status

__all__ = ["Expected", "Tracked", "Tracker", "Verdict"]

LEAST_NODES = 4
PREDICTED_SHARE = 0.7  # of the model must fall onto the foreground for a predicted motion to be believed
PLACED_REACHES_M = (0.15, 0.08)  # of ICP, one solve each, before the last one of a model that was placed anew
MISFIT_FRAMES = 15  # of the running mean of the share of the model that does not fit


class Verdict(enum.StrEnum):
    """How well a motion explains its frame, and so what may be done with both."""

    FUSE = "fuse"
    """The motion fits: the frame may be fused."""
    LOST = "lost"
    """The motion was taken back: the graph is in the pose of the frame before."""
    RESTART = "restart"
    """The model has not fitted for long, and what is wrong in it stays: `reset`, and `start` with this frame."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A past frame from which flow to the next frame is wanted.

    Attributes:
        reference: the past frame with its motion. frame, mask: it and its (H, W) bool foreground.
        flow_px: float32, the flow that the predicted motion causes, for each square of pixels: a guess for the search,
            see `FlowPredictor.flow`.
    """

    reference: Reference
    frame: RgbdFrame
    mask: Array
    flow_px: Array


@dataclass(frozen=True, slots=True)
class Tracked:
    """What became of one frame.

    Attributes:
        verdict: what may be done with it.
        status, reason: as a result tells them.
        solve: summary of the solver; None for the frame that a model was started from.
        number: frames of this model before this one that were kept.
        give_up: the model was not found for so long that it is to be forgotten; the next frame then starts one.
    """

    verdict: Verdict
    status: Status
    reason: str
    solve: SolveSummary | None
    number: int
    give_up: bool = False


class Tracker:
    """Follows a person by a deformation graph. Not thread-safe.

    Use: `start` with the first frame; for each later one `expect`, flow from each frame that it names, then `track`.
    What fusion makes of the frames is handed to `expect`. After `Verdict.RESTART` or `Tracked.give_up`, `reset`.

    Args:
        intrinsics: of every frame to come.
        device: where kernels run.
        spans: where the durations of the parts go: `start`, `graph`, `predict`, `match`, `solve`, `remember`.

    Attributes:
        field: the graph with its motion, through which fusion integrates.
        ownership: which part of the model explains which part of the last frame.
        lost_nodes: (N,) bool, nodes that nobody can tell the place of: their surface is to be forgotten.
        judgement: how much of the model is in doubt, as of the last frame on which the graph could grow.
        through_share: how much of it is in doubt because the camera sees through it, in the last frame that was kept.
        frame_count: frames of this model that were kept.
    """

    def __init__(
        self,
        intrinsics: CameraIntrinsics,
        device: wp.Device,
        config: TrackerConfig | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.config = c = TrackerConfig() if config is None else config
        self.intrinsics = intrinsics
        self.spans = Spans() if spans is None else spans
        self.field = field = WarpField(device, c.sigma_m)
        self._solver = GaussNewton(field, intrinsics, c.solver)
        self._gatherer = MatchGatherer(field, intrinsics, c.matches)
        self._grower = GraphGrower(field, intrinsics, c.growth)
        self._previous = Reference(field, intrinsics)
        self._keyframes = Keyframes(field, intrinsics, c.keyframes, c.keyframe_flow_every)
        self.ownership = Ownership(field, intrinsics)
        self._sight = Sight()
        self._sampler = PointSampler(device, c.max_points)
        self._motion = MotionPredictor(field)
        self._flow = FlowPredictor(field, intrinsics)
        self._placement = Placement(field, intrinsics)
        self.reset()

    def reset(self) -> None:
        """Forget model and motion; the next frame is one to `start` with."""
        self.field.clear()
        self._keyframes.reset()
        self._grower.forget()
        self._motion.reset()
        self._previous.forget()
        self._expected: tuple[int, ModelPoints, list[Expected]] | None = None
        self._sight.forget()
        self.lost_nodes = np.zeros(0, bool)
        self.judgement = Judgement()
        self.through_share = 0.0
        self._placed = False
        self._placement.found()
        self._misses = 0
        self._misfit = 0.0
        self.frame_count = 0

    @property
    def growth_count(self) -> int:
        """How often preallocated buffers were doubled."""
        return self.field.growth_count + self._solver.growth_count

    def snapshot(self, t_ns: int) -> GraphSnapshot | None:
        """The graph with its motion and the nodes that the last solve used; None before the first frame."""
        if self.field.count == 0:
            return None
        active = self._solver.active
        return self.field.snapshot(t_ns, active if len(active) == self.field.count else None)

    def close(self) -> None:
        """Stop the worker thread; may be called twice."""
        self._grower.close()

    def start(self, image: DeviceFrame, sigma_m: float | None = None) -> Tracked:
        """Begin a model: the frame's foreground gives the graph, and its pose the canonical space.

        Args:
            sigma_m: node coverage of this model, where it is to be finer than the configured one.

        Returns:
            FUSE, or LOST where the foreground has no connected surface; then nothing is kept.

        Raises:
            InputError: the frame is of another camera.
        """
        self._check_camera(image)
        if self.field.count:
            self.reset()
        with self.spans.measure("start"):
            stride = self.config.initial_stride
            mesh = mesh_from_depth(image.frame.depth_m, image.foreground, self.intrinsics, stride=stride)
            piece = max(10, self.config.growth.least_piece // stride)
            self.field.set_scale(self.config.sigma_m if sigma_m is None else sigma_m)
            graph = build_graph(mesh.points, mesh.edges, self.field.sigma_m, self.field.neighbours, piece)
            if len(graph.positions) < LEAST_NODES:
                reason = "the foreground has no connected surface to start from"
                return Tracked(Verdict.LOST, Status.LOST, reason, None, 0)
            self.field.set_graph(graph.positions, graph.edges)
        self.ownership.clear()
        self._remember(image)
        return Tracked(Verdict.FUSE, Status.TRACKED, "", None, 0)

    def expect(self, image: DeviceFrame, surface: SkinnedSurface) -> list[Expected]:
        """Move the graph on to a new frame as it moved last, and say from which frames flow is wanted.

        Where its foreground is elsewhere, the model is placed anew on it.

        Args:
            image: the new frame with its foreground. surface: the model as it is now.

        Returns:
            The frame before; every few frames also a keyframe that shows the model as it is seen now.

        Raises:
            InputError: there is no model yet.
        """
        if self._previous.frame is None:
            raise InputError("the tracker has no model to follow: call start with the first frame")
        if self._expected is not None:  # the frame that was expected never came
            self._previous.restore(self.field)
            self._placement.missed()
        with self.spans.measure("graph"):
            # Waiting for the plan at a fixed frame makes the result independent of the worker's speed.
            if self.frame_count % self.config.grow_every == 0 and self._grower.apply():
                # The new nodes have moved as their parents did; the last frame's motion is still the field's.
                self._previous.store_motion(self.field)
        with self.spans.measure("predict"):
            t_ns = image.frame.t_ns
            self._motion.predict(t_ns)
            model = self._sampler.take(surface)
            expected = [self._expect_from(self._previous, model)]
            self._placed = self._is_elsewhere(image) and self._placement.place(model, image)
            if self._placed:
                expected = [self._expect_from(self._previous, model)]
            keyframe = self._keyframes.due()
            if keyframe is not None:
                expected.append(self._expect_from(keyframe, model))
        self._expected = (t_ns, model, expected)
        return expected

    def _is_elsewhere(self, image: DeviceFrame) -> bool:
        """Whether the last motion does not lead to the foreground, and the model is to be placed anew."""
        return self._placement.is_due() and share_on(image, self._flow.ends_px) < PREDICTED_SHARE

    def _expect_from(self, reference: Reference, model: ModelPoints) -> Expected:
        assert reference.frame is not None and reference.mask is not None
        return Expected(reference, reference.frame, reference.mask, self._flow.flow(model, reference))

    def track(self, image: DeviceFrame, flows: Sequence[FlowField]) -> Tracked:
        """Solve the motion to the frame that was expected, and judge how well it fits.

        Args:
            image: the frame with its foreground.
            flows: one to this frame from each that `expect` named, in that order.

        Raises:
            InputError: the frame is of another camera or time than expected, a flow is of another size, or leads from
                or to another frame. The expectation stays, so that it can be tried again.
        """
        self._check_camera(image)
        model, references = self._references(image.frame, flows)
        self._expected = None
        with self.spans.measure("match"):
            self._match(image, model, references)
        with self.spans.measure("solve"):
            summary = self._solve(self._placed)
            if not self._placed and self._is_lost(summary) and self._placement.is_due():
                summary = self._solve_placed(image, model, summary)
        with self.spans.measure("own"):
            self.ownership.update(model.packed, model.count, image.depth)
            self.ownership.tally(model.packed, model.count, image.depth, image.scene_depth)
        return self._judge(image, summary)

    def _match(self, image: DeviceFrame, model: ModelPoints, references: list[tuple[Reference, FlowField]]) -> None:
        solver = self._solver
        solver.set_points(model)
        points = solver.points
        self._gatherer.gather(points, references, image, solver.flow_buffers)
        self._gatherer.pull_inside(points, image, solver.flow_buffers)
        solver.use_flow()
        solver.set_depth(image.depth)

    def _solve(self, placed: bool) -> SolveSummary:
        """Solve; a model that was placed rigidly still has to bend, and its ICP reaches far at first."""
        for reach_m in PLACED_REACHES_M if placed else ():
            self._solver.solve(reach_m)
        return self._solver.solve()

    def _is_lost(self, summary: SolveSummary) -> bool:
        """Whether a motion is taken back; one that began at a placement, or after lost frames, has to fit well."""
        limit = self.config.poor_fit if self._placed or self._misses else self.config.lost_fit
        return summary.status is Status.LOST or summary.unexplained > limit

    def _solve_placed(self, image: DeviceFrame, model: ModelPoints, summary: SolveSummary) -> SolveSummary:
        """Solve again from a placement, without flow, which led to the poor motion; the better motion of both stays."""
        found = self.field.motion()
        self._previous.restore(self.field)
        if self._placement.place(model, image):
            self._match(image, model, [])
            again = self._solve(placed=True)
            self._placed = True
            if not self._is_lost(again):
                return again
            self._placed = False
        self.field.set_motion(*found)
        return summary

    def _judge(self, image: DeviceFrame, summary: SolveSummary) -> Tracked:
        config, number, unexplained = self.config, self.frame_count, summary.unexplained
        misfit = f"{unexplained:.0%} of the model does not fit the depth"
        if self._is_lost(summary):
            self._placement.missed()
            self._previous.restore(self.field)
            reason = summary.reason or misfit
            return Tracked(Verdict.LOST, Status.LOST, reason, summary, number, self._missed())
        self._misfit += (unexplained - self._misfit) / MISFIT_FRAMES
        if config.restart and self._misfit > config.stale_fit:
            return Tracked(Verdict.RESTART, Status.DEGRADED, misfit, summary, number)
        self._misses = 0
        self._placement.found()
        self._remember(image)
        if unexplained > config.poor_fit:
            return Tracked(Verdict.FUSE, Status.DEGRADED, misfit, summary, number)
        if self.judgement.wrong:
            return Tracked(Verdict.FUSE, Status.DEGRADED, self.judgement.reason, summary, number)
        return Tracked(Verdict.FUSE, summary.status, summary.reason, summary, number)

    def _missed(self) -> bool:
        """Count a frame on which the model was not found; whether it is to be given up."""
        self._misses += 1
        return self.config.restart and self._misses >= self.config.restart_after

    def _remember(self, image: DeviceFrame) -> None:
        frame = image.frame
        with self.spans.measure("remember"):
            self._previous.store(image, self.field)
            self._motion.remember(frame.t_ns)
            owned = self.ownership.read()
            self.through_share = seen_through(owned.points, owned.through)
            if self._looks:
                self._look_at_parts(image, owned)
        self.frame_count += 1

    @property
    def _looks(self) -> bool:
        """Whether the parts are looked at in this frame."""
        return self.frame_count % self.config.grow_every == 0

    def _look_at_parts(self, image: DeviceFrame, owned: OwnedFrame) -> None:
        """Find what is lost from sight, judge the rest, and have growth planned."""
        t_ns, field, sight = image.frame.t_ns, self.field, self._sight
        live = field.host_positions + field.motion()[1]
        # Nobody owns anything yet in a first frame, whose surface the graph was made of.
        seen = seen_nodes(owned.nodes, field.count) | (self.frame_count == 0)
        seen |= found_again(self.lost_nodes, live, image.frame.depth_m, image.foreground, self.intrinsics)
        self.lost_nodes = lost = sight.look(t_ns, seen, field.host_positions, field.host_edges, live)
        self.judgement = judged(owned.points, owned.through, sight.far_m, sight.drift_m, lost, live)
        self._keyframes.remember(image, seen)
        self._grower.request(image, owned.nodes, t_ns)

    def _check_camera(self, image: DeviceFrame) -> None:
        """Raise InputError unless the frame is of the camera that the tracker was made for."""
        if image.intrinsics != self.intrinsics:
            raise InputError(
                f"frame {image.frame.label}: the tracker was made for a camera of {self.intrinsics}, "
                f"got one of {image.intrinsics}: make another tracker for it"
            )

    def _references(
        self, frame: RgbdFrame, flows: Sequence[FlowField]
    ) -> tuple[ModelPoints, list[tuple[Reference, FlowField]]]:
        """The model, and the references with their flow; a keyframe of which too little is seen is left out.

        Raises:
            InputError: the frame or a flow is not what `expect` asked for.
        """
        if self._expected is None:
            raise InputError(f"frame {frame.label} was not expected: call expect with its time first")
        t_ns, model, expected = self._expected
        if frame.t_ns != t_ns:
            raise InputError(f"frame {frame.label} is of {frame.t_ns} ns, expected was one of {t_ns} ns")
        if len(flows) != len(expected):
            raise InputError(
                f"frame {frame.label}: got {len(flows)} flows for {len(expected)} references: give one from each"
            )
        for flow, asked in zip(flows, expected, strict=True):
            _check_flow(flow, asked, frame)
        used = [(asked.reference, flow) for asked, flow in zip(expected, flows, strict=True)]
        return model, used[:1] + [pair for pair in used[1:] if self._keyframes.shows_enough(pair[1])]


def _check_flow(flow: FlowField, asked: Expected, frame: RgbdFrame) -> None:
    """Raise InputError unless the flow leads from the frame that was named to this one and has their size."""
    if flow.cell_px < 1:
        raise InputError(f"frame {frame.label}: a flow must be for squares of at least 1 px, got {flow.cell_px}")
    size = tuple(-(-n // flow.cell_px) for n in frame.depth_m.shape)
    flow_size = size if isinstance(flow.flow_px, wp.array) else (*size, 2)
    if flow.flow_px.shape != flow_size or flow.weight.shape != size:
        raise InputError(
            f"frame {frame.label}: a flow for squares of {flow.cell_px} px must have shape {flow_size}, "
            f"its weight {size}, got {flow.flow_px.shape} and {flow.weight.shape}"
        )
    if (flow.source_t_ns, flow.target_t_ns) != (asked.frame.t_ns, frame.t_ns):
        raise InputError(
            f"frame {frame.label}: flow was asked for from {asked.frame.t_ns} to {frame.t_ns} ns, "
            f"got one from {flow.source_t_ns} to {flow.target_t_ns} ns"
        )
