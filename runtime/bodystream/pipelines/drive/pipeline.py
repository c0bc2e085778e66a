"""A driven body: from a headset's samples to poses and a posed surface. Wiring only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import warp as wp

from bodystream.avatar import Avatar
from bodystream.avatar.base import FAR_FLAG
from bodystream.avatar.clothed.avatar import ClothedAvatar
from bodystream.avatar.clothed.node_skin import NodeSkin, make_node_skin
from bodystream.avatar.open import SHIPPED_AVATAR, AvatarChoice, avatar_label, avatar_maker
from bodystream.bundles import BundleChoice
from bodystream.device.transfers import download
from bodystream.engines import Engine
from bodystream.errors import BodystreamError, ConfigurationError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.calibration import Calibration, head_height_of
from bodystream.pose.chooser import Constraint
from bodystream.pose.easing import KnownPerson
from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
from bodystream.pose.floor import lowered
from bodystream.pose.measuring import CalibrationConfig
from bodystream.pose.observation import JointTargets, joints_of_sample
from bodystream.pose.person import Person
from bodystream.pose.prediction import PosePredictor, PredictionConfig
from bodystream.pose.sampler import PoseSampler
from bodystream.sources.headset.checks import HeadsetOptions, SampleChecker
from bodystream.timing import Spans
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, Mesh, SkinnedMesh, Status, TrackedDevice

__all__ = ["DriveConfig", "DriveResult", "Driver"]

_FIT_SAMPLES = 45
"""Of a recording, so many samples after a person was measured the surface that fits is taken up."""
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
        avatar: the body that is posed: a name of `avatar.open.AVATARS`, a `.vrm` file, the folder of a bundle, or a
            function that makes an avatar of a skeleton and a device.
        bundles: `pose` is the network, `person` the body where `avatar` is "default"; default: the shipped ones.
        calibration: of the person; None guesses the stature from how high the head was seen.
        skeleton: the person's, where the source knows it; poses are then compared with its truth.
        height_m: of the person, to the top of the head, where it is known and nothing was calibrated: 1.0 to 2.3 [m].
        floor_m: height of the floor above what the headset calls 0, where that is known to be wrong [m].
        calibrate_s: how long a calibration pose is held [s].
        measuring: what is accepted as a calibration pose.
        prediction: of `pose_at`.
        lossless: a surface for another person is waited for at a fixed sample, so that poses do not depend on how fast
            the machine is. For recordings of which no sample is dropped.
    """

    headset: HeadsetOptions = field(default_factory=HeadsetOptions)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    avatar: AvatarChoice = SHIPPED_AVATAR
    bundles: BundleChoice = BundleChoice()
    calibration: Calibration | None = None
    skeleton: Skeleton | None = None
    height_m: float | None = None
    floor_m: float = 0.0
    calibrate_s: float = 2.0
    measuring: CalibrationConfig = CalibrationConfig()
    prediction: PredictionConfig = PredictionConfig()
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.height_m is not None and not 1.0 <= self.height_m <= 2.3:
            raise ConfigurationError(f"a person's height must be 1.0 to 2.3 metres, got {self.height_m}")
        if not -3.0 <= self.floor_m <= 3.0:
            raise ConfigurationError(f"the floor must be within 3 m of where the headset has it, got {self.floor_m}")


@dataclass(frozen=True, slots=True)
class DriveResult:
    """What came of one sample; the surface is the avatar's.

    Attributes:
        sample: as checked and corrected, above the real floor.
        joints: head and hands of it, as joints of the skeleton.
        pose: with the flags of the checks.
        joints_m: (22, 3) in the world [m].
        head_error_m, hand_errors_m: distance of the posed joints from the tracked ones; empty where not tracked.
        joint_error_m: mean distance from the truth, nan where it is not known.
        failure: why no pose could be computed; the last one is held then, as LOST and with the flag `pose_failed`.
        notes: lines for a person, of a calibration that failed and what comes of it.
    """

    sample: HeadsetSample
    joints: JointTargets
    pose: BodyPose
    joints_m: Array
    head_error_m: float
    hand_errors_m: tuple[float, ...]
    joint_error_m: float
    failure: BodystreamError | None = None
    notes: tuple[str, ...] = ()


class Driver:
    """Turns samples into poses of its avatar.

    Args:
        device: of the avatar's kernels.
        constraint: penalises hypotheses, see `pose.chooser`.
        on_calibrated: told of each calibration, with lines for a person.

    Attributes:
        avatar: the body; another one when the person is known better, whose lengths poses come to within half a second
            (`skeleton`). `posed_mesh` brings it to the last pose; one without a skin is there after each step.
        skin: the avatar's, with a version that grows with each avatar; None of one that has posed vertices only.
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
        self.predictor = PosePredictor(self.config.prediction)
        self.restarts = 0
        self._far_warnings: list[str] = []
        self._device = device
        self._on_calibrated = on_calibrated
        self.person = Person(
            calibration=self.config.calibration,
            skeleton=self.config.skeleton,
            head_height_m=None if self.config.height_m is None else head_height_of(self.config.height_m),
            hold_s=self.config.calibrate_s,
            config=self.config.measuring,
        )
        self._floor_m = self.person.floor_m = self.config.floor_m
        self._last: BodyPose | None = None
        self._unposed: BodyPose | None = None  # what the avatar's surface was not brought to yet
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="avatar-fit")
        self._coming: Future[tuple[Avatar, KnownPerson]] | None = None
        self._coming_for = 0  # samples
        self._nodes: Future[NodeSkin] | None = None
        self._lap = 0
        skeleton = self.person.skeleton
        wanted = self.config.estimator
        bundles = self.config.bundles
        self._sampler = PoseSampler(
            bundles.open("pose"),
            hypotheses=wanted.hypotheses,
            provider=wanted.provider,
            threads=wanted.threads,
            seed=wanted.seed,
            device=device,
        )
        self.estimator = PoseEstimator(skeleton, wanted, sampler=self._sampler, constraint=constraint, spans=self.spans)
        chosen = self.config.avatar == SHIPPED_AVATAR and "person" in bundles.places
        self._avatar_choice: AvatarChoice = bundles.open("person") if chosen else self.config.avatar
        self._make_avatar = avatar_maker(self._avatar_choice)
        self._avatars = 0
        self._show(self._make_avatar(skeleton, device))

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
    def skeleton(self) -> Skeleton:
        """Of the person as posed last."""
        return self.estimator.skeleton

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._sampler.engine

    @property
    def bundle_label(self) -> str:
        """Name and version of the network."""
        manifest = self._sampler.bundle.manifest
        return f"{manifest.name} {manifest.version}"

    @property
    def warnings(self) -> list[str]:
        """Of samples and poses so far, each once."""
        return [*self.checker.warnings, *self._far_warnings]

    @property
    def avatar_label(self) -> str:
        """What to call the chosen avatar."""
        return avatar_label(self._avatar_choice)

    def posed_mesh(self) -> Mesh:
        """The surface in the last pose, on the host [m]: what is to be shown of an avatar without a skin.

        Of an avatar with a skin it is computed now: viewers and files pose that themselves, and few ask for this.
        """
        self._pose_avatar()
        avatar = self.avatar
        vertices, normals = download(avatar.vertices).copy(), download(avatar.normals).copy()
        return Mesh(vertices, avatar.faces, normals, avatar.colours)

    @property
    def is_bare(self) -> bool:
        """Whether the avatar has neither a skin nor a `node_skin`: who is sent bones can show no surface of it."""
        return self.skin is None and not isinstance(self.avatar, ClothedAvatar)

    def node_skin(self) -> NodeSkin | None:
        """Of a learned avatar, for who cannot be sent posed vertices; None until the worker has made it, and of others.

        All avatars of a person who is known better and better are of one body, and have one.
        """
        if not isinstance(self.avatar, ClothedAvatar):
            return None
        if self._nodes is None:
            self._nodes = self._worker.submit(make_node_skin, self.avatar.model)
        return self._nodes.result() if self.config.lossless or self._nodes.done() else None

    def _pose_avatar(self) -> None:
        pose, self._unposed = self._unposed, None
        if pose is not None:
            with self.spans.measure("avatar"):
                self.avatar.pose_on_device(pose.rotations_xyzw, self._root_m(pose))

    def _root_m(self, pose: BodyPose) -> Array:
        """(3,) the pelvis for the avatar [m], whose person is taller or shorter until poses have come to its lengths:
        hips are as much higher, and feet on the floor. A body of its own has its way over the floor in this scale, too.
        """
        avatar, skeleton = self.avatar, self.skeleton
        if avatar.skeleton is skeleton:
            return pose.root_position_m
        size = avatar.skeleton.pelvis_height_m / skeleton.pelvis_height_m
        return pose.root_position_m * ((1.0, size, 1.0) if avatar.retarget is None else size)

    def _show(self, avatar: Avatar) -> None:
        self.avatar = avatar
        skin = avatar.skin
        self.skin: SkinnedMesh | None = None if skin is None else replace(skin, version=self._avatars)
        self._avatars += 1

    def close(self) -> None:
        """Wait for the worker."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def restart(self) -> None:
        """Forget the past: what was before says nothing about what comes."""
        self.estimator.forget_past()
        self.predictor.reset()
        self.person.restart()
        self.restarts += 1

    def step(self, sample: HeadsetSample) -> DriveResult | None:
        """Pose the body at one sample; None where the sample cannot be used (its time is not after the last)."""
        with self.spans.measure("check"):
            checked = self.checker.check(sample)
        if checked.sample is None:
            return None
        sample = lowered(checked.sample, self._floor_m)
        self._take_avatar()
        if checked.reread:
            self.person.forget_heights()
        if checked.reread or sample.lap != self._lap or _RESTART_FLAGS.intersection(checked.flags):
            self._lap = sample.lap
            self.restart()
        joints, failure = JointTargets.nothing(sample.t_ns), None
        try:
            joints = joints_of_sample(sample)
            found = self.person.step(joints)
            if found is not None:
                self._fit(found)
            if self.person.floor_m != self._floor_m:
                self._floor_m = self.person.floor_m
                self.restart()  # everything jumps
                sample = lowered(checked.sample, self._floor_m)
                joints = joints_of_sample(sample)
            pose = self._last = self.estimator.pose(joints)
        except BodystreamError as error:  # of one sample: the next ones may do
            failure = error
            pose = self._held(sample.t_ns, error)
        self._unposed = pose
        flags = checked.flags
        if self.skin is None:  # it has no other surface, and one that is simulated goes through every pose
            self._pose_avatar()
            flags += self._far_flags()
        pose = _flagged(pose, flags)
        self.predictor.push(pose)
        return replace(self._result(sample, joints, pose), failure=failure, notes=self.person.notes())

    def _far_flags(self) -> tuple[str, ...]:
        """Of the avatar's last pose."""
        far = self.avatar.posing.far
        if far is None:
            return ()
        if not self._far_warnings:
            self._far_warnings.append(f"{far}; such poses have the flag {FAR_FLAG}")
        return (FAR_FLAG,)

    def _held(self, t_ns: int, error: BodystreamError) -> BodyPose:
        """The last pose, or standing where there was none, in the place of one that could not be computed."""
        last = self._last
        if last is None:
            rotations = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (len(JOINTS), 1))
            last = BodyPose(t_ns, rotations, self.estimator.joints_m[0].astype(np.float32))
        return replace(
            last, t_ns=t_ns, status=Status.LOST, flags=("pose_failed",), contacts=None, reason=f"no pose: {error}"
        )

    def _result(self, sample: HeadsetSample, seen: JointTargets, pose: BodyPose) -> DriveResult:
        joints = self.estimator.joints_m
        errors = np.linalg.norm(joints[[HEAD, LEFT_HAND, RIGHT_HAND]] - seen.positions_m, axis=1)
        truth = float("nan")
        if sample.truth is not None and self.config.skeleton is not None:
            true_joints, _ = forward_kinematics(
                self.config.skeleton.offsets_m,
                matrix_from_quaternion(sample.truth.rotations_xyzw.astype(np.float64)),
                sample.truth.root_position_m.astype(np.float64),
            )
            truth = float(np.linalg.norm(true_joints - joints, axis=1).mean())
        head_m = float(errors[0]) if seen.tracked[0] else float("nan")
        hands_m = tuple(float(error) for error in errors[1:][seen.tracked[1:]])
        return DriveResult(sample, seen, pose, joints, head_m, hands_m, truth)

    def _fit(self, calibration: Calibration) -> None:
        # Fitting the surface takes longer than a sample may: the old one is shown until it is there.
        skeleton = calibration.skeleton
        self._coming = self._worker.submit(self._known, skeleton)
        self._coming_for = 0
        if self._on_calibrated is not None:
            self._on_calibrated(calibration)

    def _known(self, skeleton: Skeleton) -> tuple[Avatar, KnownPerson]:
        avatar = self._make_avatar(skeleton, self._device)
        return avatar, self.estimator.known_person(avatar.skeleton)

    def _take_avatar(self) -> None:
        if self._coming is None:
            return
        self._coming_for += 1
        if self._coming_for >= _FIT_SAMPLES if self.config.lossless else self._coming.done():
            coming, self._coming = self._coming, None
            avatar, person = coming.result()
            self._show(avatar)
            self.estimator.ease_person(person)
            self.restarts += 1


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
