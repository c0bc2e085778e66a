"""Runs live capture over an annotated sequence and scores it, segment by segment, as the DeepDeform benchmark does.

At the end of each segment of 100 frames the surface that was reconstructed so far is posed as it was in each annotated
frame so far. A model that was started anew has no surface in the frames before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import warp as wp

from bodystream.errors import InputError
from bodystream.evaluation.reconstruction.annotations import AnnotatedPair, AnnotatedSequence
from bodystream.evaluation.reconstruction.metrics import (
    MAX_ERROR_M,
    annotated_points,
    deformation_errors_m,
    geometry_errors_m,
    visible_points,
)
from bodystream.geometry.camera import nearest_pixels
from bodystream.geometry.skinning import graph_motion, posed
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.sinks.animation import Animation, AnimationRecorder
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts import deepdeform
from bodystream.sources.layouts.masks import read_mask
from bodystream.types import Array, BoneMotion, CameraIntrinsics, RgbdFrame, SkinnedMesh, Status

__all__ = ["SEGMENT_FRAMES", "SegmentScore", "SequenceScore", "frame_names", "run_sequence", "score_segment"]

SEGMENT_FRAMES = 100

MakeCapture = Callable[[CameraIntrinsics, wp.Device], Capture]


@dataclass(frozen=True, slots=True)
class SegmentScore:
    """All annotations up to the end of a segment; nan where there are none.

    Attributes:
        end: number of its last frame.
        deformation_m, geometry_m: mean errors, at most 0.3 m. no_motion_m: the deformation error of what stands still.
        matches, points: that were compared. missing: annotations (pairs and masks) of frames without a surface, each of
            which counts as one match or point that is 0.3 m off.
    """

    end: int
    deformation_m: float
    geometry_m: float
    no_motion_m: float
    matches: int
    points: int
    missing: int


@dataclass(slots=True)
class SequenceScore:
    """One sequence, as far as it went.

    Attributes:
        name: of the sequence. segments: in order.
        frames, lost_frames, restarts: that were captured; of them lost; how often the model was started anew.
        step_s: time that the capture took [s].
    """

    name: str
    segments: list[SegmentScore] = field(default_factory=list)
    frames: int = 0
    lost_frames: int = 0
    restarts: int = 0
    step_s: float = 0.0

    def mean_mm(self, figure: str) -> float | None:
        """Mean over the segments of `deformation_m`, `geometry_m` or `no_motion_m` [mm]; None where none has it."""
        values = [getattr(segment, figure) for segment in self.segments]
        known = [value for value in values if np.isfinite(value)]
        return 1e3 * float(np.mean(known)) if known else None


@dataclass(frozen=True, slots=True)
class _Observed:
    """What the camera measured in an annotated frame, and its annotated mask."""

    depth_m: Array
    mask: Array


def frame_names(sequence: AnnotatedSequence) -> list[str]:
    """Names of all frames of a sequence, in order.

    Raises:
        InputError: no such layout, or an annotated frame is not there.
    """
    records = deepdeform.read(sequence.folder).records
    names = [record.name for record in records]
    problems = {record.name: record.problem for record in records}
    missing = [name for name in sequence.frames if problems.get(name, "absent")]
    if missing:
        reason = problems.get(missing[0], "neither color nor depth is there")
        raise InputError(
            f"{sequence.folder}: {len(missing)} annotated frames are missing, the first is {missing[0]} ({reason}); "
            f"there are {len(names)} frames from {names[0]} to {names[-1]}"
        )
    return names


def run_sequence(
    sequence: AnnotatedSequence,
    make_capture: MakeCapture,
    device: wp.Device,
    *,
    segment_frames: int = SEGMENT_FRAMES,
    on_frame: Callable[[RgbdFrame], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> SequenceScore:
    """Capture a sequence and score its annotations; ends early when `stopped` says so, with the segments there are.

    Of the masks the capture sees the first one only, which says what is to be captured: all others are for judging.

    Raises:
        InputError: annotated frames that are missing or damaged, masks that are missing or of another size, annotated
            pixels outside of the image.
    """
    ends = _segment_ends(frame_names(sequence), segment_frames)
    masks = {name: _annotated_mask(sequence, name) for name in sequence.frames}
    score = SequenceScore(sequence.name)
    with FolderSource.open(sequence.folder, FolderConfig(layout="deepdeform")) as source:
        _check_annotations(sequence, masks, source.intrinsics)
        capture = make_capture(source.intrinsics, device)
        try:
            capture.warm_up()
            _Run(sequence, source.intrinsics, capture, score, masks, ends).play(source, on_frame, stopped)
        finally:
            capture.close()
    return score


class _Run:
    """The state of one sequence's capture."""

    def __init__(
        self,
        sequence: AnnotatedSequence,
        intrinsics: CameraIntrinsics,
        capture: Capture,
        score: SequenceScore,
        masks: dict[str, Array],
        ends: list[int],
    ) -> None:
        self._sequence, self._intrinsics, self._capture, self._score = sequence, intrinsics, capture, score
        self._masks, self._ends = masks, ends
        self._observed: dict[str, _Observed] = {}
        self._recorder = AnimationRecorder()
        self._times_ns: dict[str, int] = {}

    def play(
        self, source: FolderSource, on_frame: Callable[[RgbdFrame], None] | None, stopped: Callable[[], bool]
    ) -> None:
        given = False
        last: RgbdFrame | None = None
        for frame in source:
            if stopped():
                return
            number = int(frame.name)
            while last is not None and self._ends and number > self._ends[0]:
                self._finish_segment(last)  # its last frame itself could not be read
            last = frame
            self._step(replace(frame, mask=None) if given else frame)
            given = given or frame.mask is not None
            if self._ends and number == self._ends[0]:
                self._finish_segment(frame)
            if on_frame is not None:
                on_frame(frame)
        while last is not None and self._ends:
            self._finish_segment(last)

    def _step(self, frame: RgbdFrame) -> None:
        capture, score = self._capture, self._score
        began_s = time.perf_counter()
        result = capture.step(frame)
        capture.warp_surface()
        score.step_s += time.perf_counter() - began_s
        score.frames += 1
        score.lost_frames += result.status is Status.LOST
        if capture.restart_count != score.restarts:
            score.restarts = capture.restart_count
            self._recorder, self._times_ns = AnimationRecorder(), {}
        if frame.name in self._masks:
            self._observed[frame.name] = _Observed(frame.depth_m, self._masks[frame.name])
            self._remember(frame)

    def _remember(self, frame: RgbdFrame) -> None:
        """Keep the motion of this frame, where there is a model."""
        graph = self._capture.graph(frame.t_ns)
        if graph is None or frame.name in self._times_ns:
            return
        self._recorder.take_up(graph.positions)
        self._recorder.add(frame.t_ns, graph_motion(graph).rotations_xyzw, graph.translations)
        self._times_ns[frame.name] = frame.t_ns

    def _finish_segment(self, frame: RgbdFrame) -> None:
        """Score the segment, with the surface as it is after `frame`."""
        end = self._ends.pop(0)
        unread = [name for name in self._sequence.frames if int(name) <= end and name not in self._observed]
        if unread:
            raise InputError(f"{self._sequence.folder}: frame {unread[0]} is annotated and cannot be read")
        self._remember(frame)  # so that the newest nodes, too, have a motion
        surface = self._capture.surface
        vertices: Callable[[str], Array | None]
        if surface is None or not self._times_ns:
            vertices = _nothing
        else:
            vertices = _Posed(surface.skinned(self._capture.field), self._recorder.result(), self._times_ns)
        observed = {name: (seen.depth_m, seen.mask) for name, seen in self._observed.items()}
        self._score.segments.append(score_segment(self._sequence, end, observed, vertices, self._intrinsics))


def _nothing(_: str) -> Array | None:
    return None


class _Posed:
    """The vertices of one surface in the frames whose motion is known."""

    def __init__(self, skin: SkinnedMesh, animation: Animation, times_ns: dict[str, int]) -> None:
        self._skin, self._animation, self._times_ns = skin, animation, times_ns
        self._done: dict[str, Array] = {}

    def __call__(self, name: str) -> Array | None:
        if name not in self._times_ns:
            return None
        if name not in self._done:
            animation, t_ns = self._animation, self._times_ns[name]
            at = int(np.searchsorted(animation.t_ns, t_ns))
            motion = BoneMotion(t_ns, animation.rotations_xyzw[at], animation.positions_m[at])
            self._done[name] = posed(self._skin, motion).vertices
        return self._done[name]


def score_segment(
    sequence: AnnotatedSequence,
    end: int,
    observed: dict[str, tuple[Array, Array]],
    vertices: Callable[[str], Array | None],
    intrinsics: CameraIntrinsics,
) -> SegmentScore:
    """Score all annotations of frames up to `end`.

    Args:
        observed: by the name of a frame, its (H, W) depth [m] and annotated (H, W) mask.
        vertices: of the reconstruction in a frame, (V, 3) [m]; None where it has none.

    Raises:
        InputError: see `metrics`.
    """
    deformation, geometry, still = [], [], []
    lost_masks = lost_pairs = 0
    for name in sequence.masked:
        if int(name) > end:
            continue
        surface = vertices(name)
        if surface is None:
            lost_masks += 1
            geometry.append(np.array([MAX_ERROR_M]))
            continue
        geometry.append(geometry_errors_m(visible_points(*observed[name], intrinsics), surface))
    for pair in sequence.pairs:
        if max(int(pair.source), int(pair.target)) > end:
            continue
        points, targets = _points_of(pair, observed, intrinsics)
        still.append(np.linalg.norm(points - targets, axis=1))
        before, after = vertices(pair.source), vertices(pair.target)
        if before is None or after is None:
            lost_pairs += 1
            deformation.append(np.array([MAX_ERROR_M]))
            continue
        deformation.append(deformation_errors_m(points, targets, before, after))
    return SegmentScore(
        end=end,
        deformation_m=_capped_mean(deformation),
        geometry_m=_capped_mean(geometry),
        no_motion_m=_capped_mean(still),
        matches=sum(map(len, deformation)) - lost_pairs,
        points=sum(map(len, geometry)) - lost_masks,
        missing=lost_pairs + lost_masks,
    )


def _points_of(
    pair: AnnotatedPair, observed: dict[str, tuple[Array, Array]], intrinsics: CameraIntrinsics
) -> tuple[Array, Array]:
    """(M, 3) source and target points of the matches of a pair that count."""
    points, counts = annotated_points(pair.source_px, *observed[pair.source], intrinsics)
    targets, target_counts = annotated_points(pair.target_px, *observed[pair.target], intrinsics)
    both = counts & target_counts
    return points[both], targets[both]


def _capped_mean(errors: list[Array]) -> float:
    together = np.concatenate(errors) if errors else np.zeros(0)
    return min(float(together.mean()), MAX_ERROR_M) if len(together) else float("nan")


def _segment_ends(names: list[str], segment_frames: int) -> list[int]:
    """Numbers of the frames that segments end at: every so many, and the last."""
    last = int(names[-1])
    first = int(names[0])
    ends = [end for end in range(0, last, segment_frames) if end > first]
    return [*ends, last]


def _check_annotations(sequence: AnnotatedSequence, masks: dict[str, Array], intrinsics: CameraIntrinsics) -> None:
    """What is wrong with them is said before the work, and by the frame's name."""
    size = (intrinsics.height, intrinsics.width)
    for name, mask in masks.items():
        if mask.shape != size:
            raise InputError(
                f"{sequence.folder}: the mask of frame {name} is {mask.shape[1]}x{mask.shape[0]}, but the depth is "
                f"{size[1]}x{size[0]}: they must have the same pixels"
            )
    for pair in sequence.pairs:
        for name, pixels in ((pair.source, pair.source_px), (pair.target, pair.target_px)):
            outside = np.flatnonzero(~nearest_pixels(pixels, intrinsics)[1])
            if len(outside):
                u, v = pixels[outside[0]]
                raise InputError(
                    f"{sequence.folder}: pixel ({u:g}, {v:g}) of frame {name} is annotated (pair {pair.object_id} "
                    f"{pair.source} to {pair.target}), outside of the {size[1]}x{size[0]} image"
                )


def _annotated_mask(sequence: AnnotatedSequence, name: str) -> Array:
    """The mask of a frame; of several objects, all of them."""
    whole: Array | None = None
    for file in sequence.mask_files(name):
        mask = read_mask(file)
        if whole is not None and mask.shape != whole.shape:
            raise InputError(f"{file}: masks of one frame differ in size")
        whole = mask if whole is None else whole | mask
    assert whole is not None
    return whole
