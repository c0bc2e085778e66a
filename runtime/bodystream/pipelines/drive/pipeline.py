"""A driven body: from a headset's samples to poses and a posed surface. Wiring only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import warp as wp

from bodystream.avatar import LbsAvatar
from bodystream.engines import Engine
from bodystream.errors import BodystreamError, InputError
from bodystream.geometry.mounting import joint_at_device
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.calibration import Calibration, StatureEstimator, calibrate, fitted_skeleton
from bodystream.pose.chooser import Constraint
from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
from bodystream.pose.prediction import PosePredictor
from bodystream.pose.sampler import PoseSampler
from bodystream.sinks.viewer import BodyMesh
from bodystream.sources.headset.checks import HeadsetOptions, SampleChecker
from bodystream.timing import Spans
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, Status, TrackedDevice

__all__ = ["DriveConfig", "DriveResult", "Driver"]

CalibrationPose = Literal["auto", "T", "I"]

_GUESS_EVERY = 90
"""Samples between two looks at the guessed stature."""
_GUESS_STEP_M = 0.02
_FIT_SAMPLES = 45
"""Of a recording, so many samples after a person was measured the surface that fits is taken up."""
_CALIBRATIONS = 4
"""A calibration that fails is tried again until so many failed."""
_RESTART_FLAGS = frozenset({"time_jump", "head_teleport"})
_DEGRADING_FLAGS = {
    "hands_swapped": "left and right hand seem to be exchanged",
    "left_handed_axes": "the axes seem to be left-handed",
    "axes_turned": "the head seems to look backwards",
    "wxyz_suspected": "quaternions seem to be wxyz",
    "head_tilted": "the head is tilted all the time",
    "axes_unknown": "the vertical axis is another one than y",
}
"""Of flags that make a pose doubtful, the reason that it gives; `sources.headset.checks` tells the remedies."""
_EMULATED_FLAGS = {
    "left_emulated": "the headset only guesses where the left hand is",
    "right_emulated": "the headset only guesses where the right hand is",
}
"""Of flags that say why a hand counts as not tracked, the reason that is told beside that."""


@dataclass(frozen=True, slots=True)
class DriveConfig:
    """How a body is driven.

    Attributes:
        headset: the headset's conventions.
        estimator: of the pose stage.
        calibration: of the person; None guesses the stature from how high the head was seen.
        skeleton: the person's, where the source knows it; poses are then compared with its truth.
        head_height_m: of the person's head joint when standing, where it is known and nothing was calibrated [m].
        calibrate_s: how long a calibration pose is held [s].
        lossless: a surface for another person is waited for at a fixed sample, so that poses do not depend on how fast
            the machine is. For recordings of which no sample is dropped.
    """

    headset: HeadsetOptions = field(default_factory=HeadsetOptions)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    calibration: Calibration | None = None
    skeleton: Skeleton | None = None
    head_height_m: float | None = None
    calibrate_s: float = 2.0
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class DriveResult:
    """What came of one sample; the surface is the avatar's.

    Attributes:
        sample: as checked and corrected.
        pose: with the flags of the checks.
        joints_m: (22, 3) in the world [m].
        head_error_m, hand_errors_m: distance of the posed joints from the tracked ones; empty where not tracked.
        joint_error_m: mean distance from the truth, nan where it is not known.
        failure: why no pose could be computed; the last one is held then, as LOST and with the flag `pose_failed`.
        notes: lines for a person, of a calibration that failed and what comes of it.
    """

    sample: HeadsetSample
    pose: BodyPose
    joints_m: Array
    head_error_m: float
    hand_errors_m: tuple[float, ...]
    joint_error_m: float
    failure: BodystreamError | None = None
    notes: tuple[str, ...] = ()


class Driver:
    """Turns samples into poses and poses its avatar with them.

    Args:
        device: of the avatar's kernels.
        constraint: penalises hypotheses, see `pose.chooser`.
        on_calibrated: told of each calibration, with lines for a person.

    Attributes:
        spans: how long each part took.
        predictor: answers `pose_at(t_ns)` from any thread.
        checker: what was amiss with the samples.
    """

    def __init__(
        self,
        device: wp.Device,
        config: DriveConfig | None = None,
        *,
        constraint: Constraint | None = None,
        on_calibrated: Callable[[Calibration], None] | None = None,
    ) -> None:
        self.config = DriveConfig() if config is None else config
        self.spans = Spans()
        self.checker = SampleChecker(self.config.headset)
        self.predictor = PosePredictor()
        self.restarts = 0
        self._device = device
        self._on_calibrated = on_calibrated
        self._stature = StatureEstimator()
        self._calibrating: list[HeadsetSample] | None = None
        self._calibrating_as: CalibrationPose = "auto"
        self._calibrations_failed = 0
        self._waits_from_ns: int | None = None  # of a calibration that cannot begin
        self._told_to_wait = False
        self._notes: list[str] = []
        self._last: BodyPose | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="avatar-fit")
        self._coming: Future[LbsAvatar] | None = None
        self._coming_for = 0  # samples
        self._lap = 0
        self.calibration = self.config.calibration
        if self.calibration is not None:
            skeleton = self.calibration.skeleton
        elif self.config.skeleton is not None:
            skeleton = self.config.skeleton
        else:
            height = self.config.head_height_m
            skeleton = fitted_skeleton(self._stature.head_height_m if height is None else height)
        known = (self.calibration, self.config.skeleton, self.config.head_height_m)
        self._guesses = all(value is None for value in known)
        self._guessed_m = self._stature.head_height_m
        self._guessed_from = 0
        wanted = self.config.estimator
        self._sampler = PoseSampler(
            hypotheses=wanted.hypotheses, provider=wanted.provider, threads=wanted.threads, seed=wanted.seed
        )
        self.estimator = PoseEstimator(skeleton, wanted, sampler=self._sampler, constraint=constraint, spans=self.spans)
        self.avatar = LbsAvatar(skeleton, device)

    def warm_up(self) -> None:
        """First inferences and launches, so that the first sample is as fast as the others."""
        at = np.array([0.0, self.estimator.skeleton.stature_m, 0.0])
        upright = np.array([0.0, 0.0, 0.0, 1.0])

        def joint(offset: tuple[float, float, float]) -> TrackedDevice:
            return TrackedDevice(at + offset, upright, DeviceKind.JOINT)

        for number in range(20):
            sample = HeadsetSample(
                number, number * 11_111_111, joint((0, 0, 0)), joint((-0.6, -0.2, 0)), joint((0.6, -0.2, 0))
            )
            pose = self.estimator.step(sample)
            self.avatar.pose_on_device(pose.rotations_xyzw, pose.root_position_m)
        self.estimator.reset(self.estimator.skeleton)
        self.spans.reset()

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._sampler.engine

    @property
    def bundle_label(self) -> str:
        """Name and version of the network."""
        manifest = self._sampler.bundle.manifest
        return f"{manifest.name} {manifest.version}"

    def body_mesh(self) -> BodyMesh:
        """The avatar at bind, for a viewer that skins it itself."""
        fitted = self.avatar.fitted
        rest = np.linalg.inv(fitted.bone_from_bind)
        body = fitted.body
        return BodyMesh(body.vertices, body.faces, rest[:, :3, 3], body.skin_joints, body.skin_weights, rest[:, :3, :3])

    def close(self) -> None:
        """Wait for the worker."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def restart(self) -> None:
        """Forget the past: what was before says nothing about what comes."""
        self.estimator.forget_past()
        self.predictor.reset()
        if self._calibrating is not None:
            self._begin_calibration()
        self.restarts += 1

    def start_calibration(self, pose: CalibrationPose = "auto") -> None:
        """Measure the person, in a T- or I-pose, from the seconds after head and both hands are tracked.

        Where that fails, it is tried again a few times; the notes of the results tell.
        """
        self._calibrating_as, self._calibrations_failed = pose, 0
        self._begin_calibration()

    @property
    def calibrating(self) -> bool:
        """Whether a calibration pose is being measured."""
        return self._calibrating is not None

    def step(self, sample: HeadsetSample) -> DriveResult | None:
        """Pose the body at one sample; None where the sample cannot be used (its time is not after the last)."""
        with self.spans.measure("check"):
            checked = self.checker.check(sample)
        if checked.sample is None:
            return None
        sample = checked.sample
        self._take_avatar()
        if checked.reread:  # heights seen until now were none
            self._stature = StatureEstimator()
        if checked.reread or sample.lap != self._lap or _RESTART_FLAGS.intersection(checked.flags):
            self._lap = sample.lap
            self.restart()
        self._measure_person(sample)
        failure = None
        try:
            pose = self._last = self.estimator.step(sample)
        except BodystreamError as error:  # of one sample: the next ones may do
            failure = error
            pose = self._held(sample.t_ns, error)
        with self.spans.measure("avatar"):
            self.avatar.pose_on_device(pose.rotations_xyzw, pose.root_position_m)
        pose = _flagged(pose, checked.flags)
        self.predictor.push(pose)
        notes, self._notes = tuple(self._notes), []
        return replace(self._result(sample, pose), failure=failure, notes=notes)

    def _held(self, t_ns: int, error: BodystreamError) -> BodyPose:
        """The last pose, or standing where there was none, in the place of one that could not be computed."""
        last = self._last
        if last is None:
            rotations = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (len(JOINTS), 1))
            last = BodyPose(t_ns, rotations, self.estimator.joints_m[0].astype(np.float32))
        return replace(
            last, t_ns=t_ns, status=Status.LOST, flags=("pose_failed",), contacts=None, reason=f"no pose: {error}"
        )

    def _result(self, sample: HeadsetSample, pose: BodyPose) -> DriveResult:
        joints = self.estimator.joints_m
        errors: list[float] = []
        devices = (sample.head, "head", HEAD), (sample.left, "left", LEFT_HAND), (sample.right, "right", RIGHT_HAND)
        for device, side, joint in devices:
            if device is None:
                errors.append(float("nan"))
            else:
                wanted, _ = joint_at_device(device, side)  # type: ignore[arg-type]
                errors.append(float(np.linalg.norm(joints[joint] - wanted)))
        truth = float("nan")
        if sample.truth is not None and self.config.skeleton is not None:
            true_joints, _ = forward_kinematics(
                self.config.skeleton.offsets_m,
                matrix_from_quaternion(sample.truth.rotations_xyzw.astype(np.float64)),
                sample.truth.root_position_m.astype(np.float64),
            )
            truth = float(np.linalg.norm(true_joints - joints, axis=1).mean())
        hands = tuple(error for error in errors[1:] if np.isfinite(error))
        return DriveResult(sample, pose, joints, errors[0], hands, truth)

    def _measure_person(self, sample: HeadsetSample) -> None:
        if self._calibrating is None and not self._guesses:
            return
        joints = _as_joints(sample)
        if self._calibrating is not None:
            if not self._calibrating and (joints.head is None or joints.left is None or joints.right is None):
                self._wait_to_calibrate(joints.t_ns)
                return
            self._calibrating.append(joints)
            seconds = (joints.t_ns - self._calibrating[0].t_ns) * 1e-9
            if seconds >= self.config.calibrate_s:
                samples, self._calibrating = self._calibrating, None
                self._calibrate(samples)
        elif self._guesses:
            self._stature.push(joints)
            self._guessed_from += 1  # not the sample's index: of a slow driver, newest wins, and it may be odd for ever
            if self._guessed_from % _GUESS_EVERY == 0:
                height = self._stature.head_height_m
                if abs(height - self._guessed_m) > _GUESS_STEP_M:
                    self._guessed_m = height
                    self._set_calibration(self._stature.calibration())

    def _begin_calibration(self) -> None:
        self._calibrating, self._waits_from_ns, self._told_to_wait = [], None, False

    def _wait_to_calibrate(self, t_ns: int) -> None:
        if self._waits_from_ns is None:
            self._waits_from_ns = t_ns
        elif not self._told_to_wait and (t_ns - self._waits_from_ns) * 1e-9 >= self.config.calibrate_s:
            self._told_to_wait = True
            self._notes.append("the calibration begins when head and both hands are tracked")

    def _calibrate(self, samples: list[HeadsetSample]) -> None:
        try:
            calibration = calibrate(samples, self._calibrating_as)
        except InputError as error:
            self._notes.append(f"not calibrated: {error}")
            self._calibrations_failed += 1
            if self._calibrations_failed < _CALIBRATIONS:
                self._begin_calibration()
                again = f"{self._calibrations_failed} of {_CALIBRATIONS - 1}"
                self._notes.append(f"calibrating again ({again}): {self.config.calibrate_s:g} seconds from now")
            else:
                self._notes.append("no calibration is tried again: driving goes on with what was known before")
            return
        self._set_calibration(calibration)
        self._guesses = False

    def _set_calibration(self, calibration: Calibration) -> None:
        self.calibration = calibration
        # Fitting the surface takes longer than a sample may: the old one is shown until it is there.
        skeleton = calibration.skeleton
        self._coming = self._worker.submit(lambda: LbsAvatar(skeleton, self._device))
        self._coming_for = 0
        if self._on_calibrated is not None:
            self._on_calibrated(calibration)

    def _take_avatar(self) -> None:
        if self._coming is None:
            return
        self._coming_for += 1
        if self._coming_for >= _FIT_SAMPLES if self.config.lossless else self._coming.done():
            coming, self._coming = self._coming, None
            self.avatar = coming.result()
            self.estimator.set_person(self.avatar.skeleton)
            self.restarts += 1


def _as_joints(sample: HeadsetSample) -> HeadsetSample:
    """The same sample with joints in the place of devices."""

    def joint(device: TrackedDevice | None, side: str) -> TrackedDevice | None:
        if device is None:
            return None
        position, rotation = joint_at_device(device, side)  # type: ignore[arg-type]
        return TrackedDevice(position, quaternion_from_matrix(rotation), DeviceKind.JOINT)

    return replace(
        sample, head=joint(sample.head, "head"), left=joint(sample.left, "left"), right=joint(sample.right, "right")
    )


def _flagged(pose: BodyPose, flags: tuple[str, ...]) -> BodyPose:
    if not flags:
        return pose
    status, reason = pose.status, pose.reason
    doubts = [doubt for flag, doubt in _DEGRADING_FLAGS.items() if flag in flags]
    if status is Status.TRACKED and doubts:
        status, reason = Status.DEGRADED, "; ".join(doubts)
    guesses = [why for flag, why in _EMULATED_FLAGS.items() if flag in flags]
    if guesses and status is not Status.TRACKED:
        reason = f"{reason} ({'; '.join(guesses)})" if reason else "; ".join(guesses)
    return replace(pose, flags=tuple(dict.fromkeys((*pose.flags, *flags))), status=status, reason=reason)
