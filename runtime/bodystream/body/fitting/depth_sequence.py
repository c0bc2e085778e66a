"""One person in one or more sequences of depth frames: who it is from a few of them, and how they stand in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.depth import DepthLoss, DepthView
from bodystream.body.fitting.jointed import JointedBodies
from bodystream.body.fitting.scan import ScanPoints
from bodystream.body.fitting.sequence import FollowedFrame, FrameLoss, PoseFollower, Steadiness, shared_shape
from bodystream.body.fitting.start import Start, StartPoses, neutral_start
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["DepthClip", "DepthFrame", "fit_depth_clips", "fit_depth_sequence"]

_KEYS, _ALL_KEYS, _LEAST_KEYS, _KEY_EVALUATIONS = 6, 12, 2, 30
"""Frames by which a shape is found: of one clip, of all clips together, of each at least."""
_STAGES = ((0.3, 5e4, 8), (0.15, 2e5, 10), (0.08, 1e6, 12))
"""Of a frame from a start: distance beyond which points count less [m], weight [1/m^2], bodies that are made."""
_ROUGH, _FINE = (0.08, 1e6, 8), (0.05, 4e6, 12)
_TRIED = 3
_DOUBTED_M, _LOST_M, _WORST_M = 0.013, 0.016, 0.04
_LIMB_LOST_M = 0.03
_BETTER = 0.9
_EYE = np.zeros(3)
_FOLLOWED_M = (0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.08, 0.06, 0.05)
_TO_CAMERA = np.array([0.0, 0.0, 1.0])
_SPACING_M = 0.02


@dataclass(frozen=True)
class DepthFrame:
    """A body in one frame.

    Attributes:
        t_s: when. body: codes, placement and vertices, in the axes of `DepthView`.
        distances_m: (N,) of the frame's points from its surface.
    """

    t_s: float
    body: FollowedFrame
    distances_m: Array

    @property
    def mean_m(self) -> float:
        """Their mean [m]."""
        return float(self.distances_m.mean())


@dataclass(frozen=True, slots=True)
class DepthClip:
    """Depth frames one after another, in the first of which somebody faces the camera.

    Attributes:
        views: of the frames, in the order of their times t_s. where: what to call them in messages.
    """

    views: Sequence[DepthView]
    t_s: Sequence[float]
    where: str = "the frames"


def fit_depth_sequence(
    decoder: BodyDecoder, views: Sequence[DepthView], t_s: Sequence[float], shape: Array | None = None, *,
    steadiness: Steadiness | None = None, progress: Callable[[str], object] = lambda _: None, where: str = "the frames",
) -> list[DepthFrame]:  # fmt: skip
    """`fit_depth_clips` of one clip."""
    clip = DepthClip(views, t_s, where)
    return fit_depth_clips(decoder, [clip], shape, steadiness=steadiness, progress=progress)[0]


def fit_depth_clips(
    decoder: BodyDecoder, clips: Sequence[DepthClip], shape: Array | None = None, *,
    steadiness: Steadiness | None = None, progress: Callable[[str], object] = lambda _: None,
) -> list[list[DepthFrame]]:  # fmt: skip
    """The bodies of one person in clips: one shape for all of them, and pose and placement of each frame.

    Args:
        shape: (S,) who it is, where that is known; else it is found on some frames of all clips together.
        steadiness: what changes cost. progress: told what is done.

    Raises:
        InputError: there are no frames, or nobody is found in those of a clip, which is named.
        BundleError: the bundle has no derivatives.
    """
    for clip in clips:
        if not clip.views or len(clip.views) != len(clip.t_s):
            raise InputError(
                f"{clip.where}: a sequence has one or more frames with a time each, got {len(clip.views)}, "
                f"{len(clip.t_s)}"
            )
    poses, neutral = StartPoses(decoder), decoder.vertices(np.zeros(decoder.facts.shape))
    fits = [_Fit(decoder, clip, poses, neutral, steadiness) for clip in clips]
    of = [f"clip {number} of {len(clips)}: " if len(clips) > 1 else "" for number in range(1, len(clips) + 1)]
    if shape is None:
        each = min(_KEYS, max(_LEAST_KEYS, _ALL_KEYS // max(1, len(clips))))
        losses, starts, begins = [], [], []
        for fit, said in zip(fits, of, strict=True):
            progress(f"{said}finding the person in the first frame")
            rough = fit.follow(None, _ROUGH, fit.first(None), lambda _: None)
            begins.append(len(losses))
            for key in np.unique(np.linspace(0, len(rough) - 1, each).round().astype(int)):
                losses.append(fit.loss(key, rough[key].vertices, _FINE))
                starts.append((rough[key].codes, rough[key].placement))
        progress(f"finding who it is, in {len(losses)} frames together")
        found = shared_shape(decoder, losses, starts, _KEY_EVALUATIONS)
        shape, firsts = found[0].codes.shape, [found[begin] for begin in begins]
    else:
        firsts = []
        for fit, said in zip(fits, of, strict=True):
            progress(f"{said}finding the person in the first frame")
            firsts.append(fit.first(np.asarray(shape, np.float64)))
    return [fit.frames(shape, first, said, progress) for fit, first, said in zip(fits, firsts, of, strict=True)]


class _Fit:
    def __init__(
        self, decoder: BodyDecoder, clip: DepthClip, poses: StartPoses, neutral: Array, steadiness: Steadiness | None
    ) -> None:
        self.decoder, self.views, self.t_s, self.where = decoder, clip.views, clip.t_s, clip.where
        self._steadiness = Steadiness() if steadiness is None else steadiness
        self._poses = poses
        self.losses = [DepthLoss(view, neutral, decoder.space.faces) for view in clip.views]

    def loss(self, number: int, vertices: Array, stage: tuple[float, float, int]) -> FrameLoss:
        """What a frame says, about a body that is roughly there."""
        terms, (scale_m, weight, _) = self.losses[number], stage
        terms.weigh(vertices)

        def of(placed: Array) -> tuple[float, Array]:
            value, bar = terms(placed, scale_m)
            return weight * value, weight * bar

        return of

    def first(self, shape: Array | None, number: int = 0) -> FollowedFrame:
        """The body of a frame out of the usual poses, looking at the camera."""
        view = self.views[number]
        scan = ScanPoints(view.points, np.zeros((0, 3), np.int32), view.chosen, None, _SPACING_M, ())
        usual = self._poses.best(scan, facing=_TO_CAMERA)
        starts = [neutral_start(self.decoder, view.points), *usual][:_TRIED]
        best: tuple[float, FollowedFrame] | None = None
        for start in starts:
            found = self._staged(number, start, shape)
            score = self.losses[number](found.vertices, _STAGES[-1][0])[0]
            if best is None or score < best[0]:
                best = score, found
        assert best is not None
        return best[1]

    def _staged(self, number: int, start: Start, shape: Array | None) -> FollowedFrame:
        codes = start.codes if shape is None else BodyCodes(shape.astype(np.float32), start.codes.pose)
        place = start.placement
        for stage in _STAGES:
            placed = place.applied(self.decoder.vertices(codes.shape, codes.pose))
            loss = self.loss(number, placed, stage)
            if shape is None:
                found = shared_shape(self.decoder, [loss], [(codes, place)], stage[2])[0]
            else:
                follower = PoseFollower(self.decoder, shape, self._steadiness)
                found = follower.tried(0.0, loss, (codes, place), stage[2])
            codes, place = found.codes, found.placement
        return found

    def follow(
        self, shape: Array | None, stage: tuple[float, float, int], first: FollowedFrame, tell: Callable[[int], object]
    ) -> list[FollowedFrame]:  # fmt: skip
        """Bodies of all frames, each sought from the one before; a shape of None is that of the first body."""
        shape = first.codes.shape if shape is None else shape
        follower = PoseFollower(self.decoder, shape, self._steadiness, stage[2])
        follower.begin(self.t_s[0], first.codes, first.placement)
        bodies, last = [], first
        jointed = None if self.decoder.skin is None else JointedBodies(self.decoder, shape)
        for number, now_s in enumerate(self.t_s):
            found = follower.tried(now_s, self.loss(number, last.vertices, stage))
            mean_m = self._mean_m(number, found)
            for better_m, again in (
                (_DOUBTED_M, partial(self._by_joints, number, shape, last, jointed, follower, stage)),
                (_LOST_M, partial(self.first, shape, number)),  # out of the usual poses
            ):
                if mean_m > better_m:
                    other = again()
                    other_m = np.inf if other is None else self._mean_m(number, other)
                    if other is not None and other_m < _BETTER * mean_m:
                        found, mean_m = other, other_m
            follower.begin(now_s, found.codes, found.placement)
            bodies.append(found)
            last = found
            tell(number)
        return bodies

    def frames(
        self, shape: Array, first: FollowedFrame, said: str, progress: Callable[[str], object]
    ) -> list[DepthFrame]:
        """Bodies of a known shape in all frames, with the distances of their points.

        Raises:
            InputError: as `_check`.
        """

        def tell(number: int) -> None:
            if number % 10 == 0:
                progress(f"{said}frame {number + 1} of {len(self.views)}")

        frames = []
        for number, body in enumerate(self.follow(shape, _FINE, first, tell)):
            surface = self.losses[number].surface
            surface.move(body.vertices)
            frames.append(DepthFrame(self.t_s[number], body, surface.distances(self.views[number].points)))
        self._check(frames)
        return frames

    def _by_joints(
        self, number: int, shape: Array, last: FollowedFrame, jointed: JointedBodies | None, follower: PoseFollower,
        stage: tuple[float, float, int],
    ) -> FollowedFrame | None:  # fmt: skip
        """The body out of the last one's joints: these carry an arm farther than codes do."""
        if jointed is None:
            return None
        begun, points = jointed.state_of(last.vertices), self.views[number].chosen[::2]
        laid = jointed.laid(begun, points, eye=_EYE, reaches_m=_FOLLOWED_M)
        if laid.score_m > _LIMB_LOST_M:
            others = [
                jointed.laid(state, points, eye=_EYE, reaches_m=_FOLLOWED_M[3:])
                for state in jointed.with_other_arms(laid.state)
            ]
            laid = min((laid, *others), key=lambda found: found.score_m)
        codes, placement = jointed.codes(laid.state)
        codes = BodyCodes(shape.astype(np.float32), codes.pose)
        placed = placement.applied(self.decoder.vertices(codes.shape, codes.pose))
        return follower.tried(self.t_s[number], self.loss(number, placed, stage), (codes, placement), stage[2])

    def _mean_m(self, number: int, body: FollowedFrame) -> float:
        surface = self.losses[number].surface
        surface.move(body.vertices)
        return float(surface.distances(self.views[number].chosen).mean())

    def _check(self, frames: list[DepthFrame]) -> None:
        """Refuse what no body lies on.

        Raises:
            InputError: says how far the nearest bodies are off.
        """
        mean = float(np.mean([frame.mean_m for frame in frames]))
        if mean > _WORST_M:
            raise InputError(
                f"{self.where} seem to show no person: the bodies that were found are {1e3 * mean:.0f} mm from the "
                f"points on average, at most {1e3 * _WORST_M:.0f} are taken; in the first frame somebody must face the "
                "camera"
            )
