"""The protocol of the papers: true poses of head and wrists in, a pose out, sample by sample, whole clips at 60 Hz.

An estimator sees only what lies behind it, knows the person's proportions, and is started anew for each clip. All
frames count, the first ones too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from bodystream.avatar.skin_heights import SkinHeights
from bodystream.errors import ConfigurationError, InputError
from bodystream.evaluation.pose.metrics import (
    FrameErrors,
    frame_errors,
    summarise,
    track_of_clip,
    track_of_poses,
)
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND, Skeleton
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, TrackedDevice

__all__ = [
    "MIN_DURATION_S",
    "BatchEstimator",
    "ClipResult",
    "Estimator",
    "EvaluationResult",
    "Progress",
    "SkippedClip",
    "auc",
    "evaluate",
    "invariance_cm",
    "run_estimator",
    "samples_of_clip",
]

MIN_DURATION_S = 1.0
"""Shorter clips say little about motion and are skipped."""

Progress = Callable[[str, int], None]
"""Called after each clip with its name and the number of frames so far."""


class Estimator(Protocol):
    """What is judged: poses from headset samples, without looking ahead."""

    @property
    def name(self) -> str:
        """In tables and as a JSON key."""
        ...

    def reset(self, skeleton: Skeleton) -> None:
        """A new clip begins, of a person of these proportions; nothing of the last one may remain."""
        ...

    def step(self, sample: HeadsetSample) -> BodyPose:
        """The pose at the time of the sample."""
        ...


@runtime_checkable
class BatchEstimator(Protocol):
    """An estimator that is faster with all samples of a clip at once; its poses must be those that `step` gives."""

    def run(self, samples: Sequence[HeadsetSample]) -> list[BodyPose]:
        """One pose per sample, after `reset`."""
        ...


@dataclass(frozen=True, slots=True)
class SkippedClip:
    """A clip that was not evaluated."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClipResult:
    """One clip's figures.

    Attributes:
        errors: by frame, for pooling and plots.
    """

    name: str
    subject: str
    errors: FrameErrors

    @property
    def frames(self) -> int:
        """Number of frames compared."""
        return self.errors.frames

    @property
    def metrics(self) -> dict[str, float | dict[str, float]]:
        """As `metrics.summarise` gives them."""
        return summarise([self.errors])


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """An estimator's figures.

    Attributes:
        estimator: its name.
        rate_hz: of the samples.
        clips: those evaluated, in their order.
        skipped: those not.
        seconds: time spent in the estimator.
    """

    estimator: str
    rate_hz: float
    clips: tuple[ClipResult, ...]
    skipped: tuple[SkippedClip, ...]
    seconds: float

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(clip.frames for clip in self.clips)

    @property
    def metrics(self) -> dict[str, float | dict[str, float]]:
        """Pooled over the frames of all clips; as `metrics.summarise` gives them."""
        return summarise([clip.errors for clip in self.clips])


def samples_of_clip(clip: MotionClip, noise: TrackerNoise | None = None, seed: int = 0) -> list[HeadsetSample]:
    """What a headset would know of a clip: head and wrists as `DeviceKind.JOINT`, from t = 0 at the clip's rate.

    The samples hold no truth, so that an estimator cannot look at it by accident.
    """
    positions, world = clip.joints()
    rng = np.random.default_rng(seed)
    devices = []
    for joint in (HEAD, LEFT_HAND, RIGHT_HAND):
        places, turns = positions[:, joint].copy(), world[:, joint]
        if noise is not None:
            offsets, vectors = noise.draw(len(clip), clip.rate_hz, rng)
            places += offsets
            turns = Rotation.from_rotvec(vectors).as_matrix() @ turns
        quaternions = quaternion_from_matrix(turns)
        devices.append([TrackedDevice(p, q, DeviceKind.JOINT) for p, q in zip(places, quaternions, strict=True)])
    return [
        HeadsetSample(index=k, t_ns=round(k * 1e9 / clip.rate_hz), head=head, left=left, right=right)
        for k, (head, left, right) in enumerate(zip(*devices, strict=True))
    ]


def run_estimator(estimator: Estimator, skeleton: Skeleton, samples: Sequence[HeadsetSample]) -> list[BodyPose]:
    """Poses of one clip, after a reset, in one batch where the estimator can.

    Raises:
        InputError: a batch does not give a pose for each sample.
    """
    estimator.reset(skeleton)
    if not isinstance(estimator, BatchEstimator):
        return [estimator.step(sample) for sample in samples]
    poses = estimator.run(samples)
    if len(poses) != len(samples):
        raise InputError(f"estimator {estimator.name} gave {len(poses)} poses for {len(samples)} samples")
    return poses


def evaluate(
    estimator: Estimator,
    clips: Iterable[MotionClip],
    rate_hz: float = 60.0,
    progress: Progress | None = None,
    noise: TrackerNoise | None = None,
    seed: int = 0,
) -> EvaluationResult:
    """Runs an estimator over clips and compares it with their truth.

    Args:
        clips: may be a generator that loads them one by one. Those shorter than `MIN_DURATION_S` are skipped.
        rate_hz: to which each clip is resampled.
        progress: called after each clip.
        noise: added to the samples, never to the truth; the same for every estimator with the same seed.

    Raises:
        InputError: no clip was long enough, or an estimate is not finite; the message names the clip.
    """
    if not rate_hz > 0:
        raise ConfigurationError(f"the evaluation's rate must be positive, got {rate_hz} Hz")
    done: list[ClipResult] = []
    skipped: list[SkippedClip] = []
    seconds, frames = 0.0, 0
    skins = _Skins()
    for number, clip in enumerate(clips):
        if clip.duration_s < MIN_DURATION_S - 1e-9:
            reason = f"{clip.duration_s:.2f} s long, shorter than {MIN_DURATION_S:g} s"
            skipped.append(SkippedClip(clip.name, reason))
            continue
        at_rate = clip.resampled(rate_hz)
        samples = samples_of_clip(at_rate, noise, seed + number)
        start = time.perf_counter()
        poses = run_estimator(estimator, at_rate.skeleton, samples)
        seconds += time.perf_counter() - start
        try:
            predicted = track_of_poses(poses, at_rate.skeleton, rate_hz)
        except InputError as error:
            raise InputError(f"estimator {estimator.name}, clip {clip.name}: {error}") from error
        errors = frame_errors(predicted, track_of_clip(at_rate), skins.of(at_rate.skeleton))
        done.append(ClipResult(clip.name, clip.subject, errors))
        frames += len(at_rate)
        if progress is not None:
            progress(clip.name, frames)
    if not done:
        names = ", ".join(clip.name for clip in skipped[:5])
        raise InputError(
            f"nothing to evaluate: {len(skipped)} clips, none of at least {MIN_DURATION_S:g} s"
            + (f" ({names}{', ...' if len(skipped) > 5 else ''})" if skipped else "; give other data")
        )
    return EvaluationResult(estimator.name, rate_hz, tuple(done), tuple(skipped), seconds)


class _Skins:
    """The skin of the person of the last clip: people follow one another in long rows of clips."""

    def __init__(self) -> None:
        self._offsets_m: Array | None = None
        self._skin: SkinHeights | None = None

    def of(self, skeleton: Skeleton) -> SkinHeights | None:
        """None for proportions that the shipped body cannot take on: such a motion has no figure for the floor."""
        if self._offsets_m is None or not np.array_equal(self._offsets_m, skeleton.offsets_m):
            self._offsets_m = skeleton.offsets_m
            try:
                self._skin = SkinHeights(skeleton)
            except InputError:
                self._skin = None
        return self._skin


def auc(positive_scores: Array, negative_scores: Array) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative; a tie counts half.

    By ranks (Mann and Whitney's U), so any monotonic change of the scores gives the same.

    Raises:
        InputError: either is empty or holds nan.
    """
    positive = np.asarray(positive_scores, np.float64).ravel()
    negative = np.asarray(negative_scores, np.float64).ravel()
    if not len(positive) or not len(negative):
        raise InputError(f"an AUC needs scores of both kinds, got {len(positive)} positive, {len(negative)} negative")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise InputError("an AUC needs scores that can be ordered, got nan")
    ranks = rankdata(np.concatenate([positive, negative]))
    u = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2.0
    return float(u / (len(positive) * len(negative)))


def invariance_cm(
    estimator: Estimator,
    clip: MotionClip,
    rate_hz: float = 60.0,
    offset_m: Sequence[float] = (3.0, 0.0, 4.0),
    turn_rad: float = np.pi,
) -> float:
    """How much the place changes the pose: mean distance of joints between two runs over the same motion [cm].

    The second run sees the samples turned about the vertical through the origin by `turn_rad`, then moved by
    `offset_m` (5 m by default); its poses are moved back before they are compared.
    """
    at_rate = clip.resampled(rate_hz)
    samples = samples_of_clip(at_rate)
    turn, offset = Rotation.from_euler("y", turn_rad), np.asarray(offset_m, np.float64)
    moved = [_moved_sample(sample, turn, offset) for sample in samples]
    here = track_of_poses(run_estimator(estimator, at_rate.skeleton, samples), at_rate.skeleton, rate_hz)
    there = track_of_poses(run_estimator(estimator, at_rate.skeleton, moved), at_rate.skeleton, rate_hz)
    back = (there.positions_m - offset) @ turn.as_matrix()
    return float(np.linalg.norm(back - here.positions_m, axis=-1).mean() * 100.0)


def _moved_sample(sample: HeadsetSample, turn: Rotation, offset_m: Array) -> HeadsetSample:
    def moved(device: TrackedDevice | None) -> TrackedDevice | None:
        if device is None:
            return None
        rotation = quaternion_from_matrix(turn.as_matrix() @ matrix_from_quaternion(device.rotation_xyzw))
        return TrackedDevice(turn.apply(device.position_m) + offset_m, rotation, device.kind)

    return HeadsetSample(sample.index, sample.t_ns, moved(sample.head), moved(sample.left), moved(sample.right))
