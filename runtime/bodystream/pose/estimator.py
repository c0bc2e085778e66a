"""From samples of a headset to poses of a body: the pose stage as one object.

One step: devices to joints, hands that were lost eased, features of the recent past, the network's hypotheses, the
choice among them, smoothing, refinement so that head and hands are met, feet that stand held in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bodystream.engines import ProviderName
from bodystream.errors import ConfigurationError
from bodystream.geometry.mounting import joint_at_device
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.chooser import Constraint, HypothesisChooser
from bodystream.pose.contact import ContactDetector, FootLock
from bodystream.pose.features import decode_poses, place_by_head
from bodystream.pose.hands import EasedTargets, HandEaser, ReachGate
from bodystream.pose.observation import History, JointTargets
from bodystream.pose.refine import PoseRefiner
from bodystream.pose.sampler import PoseSampler, Sampler, Samples
from bodystream.pose.smoothing import PoseSmoother
from bodystream.timing import Spans
from bodystream.types import Array, BodyPose, HeadsetSample, Status

__all__ = ["EstimatorConfig", "Hypotheses", "PoseEstimator", "joints_of_sample"]

_TIME_JUMP_S = 0.5


@dataclass(frozen=True, slots=True)
class EstimatorConfig:
    """What the pose stage does.

    Attributes:
        hypotheses: poses that the network is asked for per sample; more than one gives uncertainty and a choice.
        refine: whether head and hands are met exactly.
        foot_lock: whether standing feet are held.
        smooth: whether the network's answer is smoothed over time.
        provider: of the network.
        threads: of the network on a processor.
        seed: of the hypotheses.
    """

    hypotheses: int = 1
    refine: bool = True
    foot_lock: bool = True
    smooth: bool = True
    provider: ProviderName = "auto"
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """What the network said about one sample, before refinement.

    Attributes:
        rotations: (K, 22, 3, 3) in the parents' frames, the pelvis' in the world.
        root_positions_m: (K, 3) [m].
        joints_m: (K, 22, 3) in the world [m].
        log_likelihood: (K,) [nats].
        contacts: (2,) probabilities, or None.
        index: of the one that was taken.
    """

    rotations: Array
    root_positions_m: Array
    joints_m: Array
    log_likelihood: Array
    contacts: Array | None
    index: int


@dataclass
class _Last:
    """What the step before left behind."""

    rotations: Array = field(default_factory=lambda: np.tile(np.eye(3), (len(JOINTS), 1, 1)))
    root: Array = field(default_factory=lambda: np.zeros(3))
    shown: tuple[Array, Array] | None = None
    std: Array | None = None
    t_ns: int | None = None
    head_ns: int | None = None
    contacts: Array | None = None


def joints_of_sample(sample: HeadsetSample) -> JointTargets:
    """Head and wrists as joints of the skeleton, whatever devices they were measured by."""
    positions, rotations, tracked = np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)), np.zeros(3, bool)
    for i, (device, side) in enumerate(((sample.head, "head"), (sample.left, "left"), (sample.right, "right"))):
        if device is not None:
            positions[i], rotations[i] = joint_at_device(device, side)  # type: ignore[arg-type]
            tracked[i] = True
    return JointTargets(sample.t_ns, positions, rotations, tracked)


class PoseEstimator:
    """Estimates one person's pose, sample by sample. Not thread-safe.

    Args:
        skeleton: the person's proportions.
        sampler: default: the network of the shipped bundle.
        name: for tables.
        constraint: penalises hypotheses, see `pose.chooser`.

    Attributes:
        spans: how long each part took.
        hypotheses: of the last sample with a head, or None.
        joints_m: (22, 3) joints of the last pose in the world [m].
        name: for tables.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        config: EstimatorConfig | None = None,
        *,
        sampler: Sampler | None = None,
        name: str = "bodystream",
        constraint: Constraint | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.config = EstimatorConfig() if config is None else config
        if constraint is not None and self.config.hypotheses < 2:
            raise ConfigurationError("a constraint chooses among hypotheses: ask for at least two of them")
        self.name = name
        self.sampler: Sampler = (
            sampler
            if sampler is not None
            else PoseSampler(
                hypotheses=self.config.hypotheses,
                provider=self.config.provider,
                threads=self.config.threads,
                seed=self.config.seed,
            )
        )
        self.spans = Spans() if spans is None else spans
        self._constraint = constraint
        self._easer = HandEaser()
        self._reach = ReachGate(skeleton)
        self._history = History(self.sampler.features)
        self._smoother = PoseSmoother() if self.config.smooth else None
        self.reset(skeleton)

    def reset(self, skeleton: Skeleton) -> None:
        """Begin anew with a person."""
        self._last = _Last()
        self.set_person(skeleton)
        self.forget_past()
        self._last.root = np.array([0.0, skeleton.pelvis_height_m, 0.0])
        self.hypotheses: Hypotheses | None = None
        self.joints_m, _ = forward_kinematics(skeleton.offsets_m, self._last.rotations, self._last.root)

    def set_person(self, skeleton: Skeleton) -> None:
        """The person's proportions, as after a calibration. What was seen of head and hands stays known."""
        self.skeleton = skeleton
        self.sampler.set_person(skeleton)
        self._reach.set_person(skeleton)
        self._last.std = None
        self._refiner = PoseRefiner(skeleton) if self.config.refine else None
        self._contacts = ContactDetector(skeleton)
        self._feet = FootLock(skeleton) if self.config.foot_lock else None
        self._chooser = HypothesisChooser(skeleton)

    def forget_past(self) -> None:
        """What was seen says nothing about what comes: the view was recentred, or the stream was interrupted."""
        self._history.clear()
        self._easer.reset()
        self._reach.reset()
        # Where hands were shown is a place in the world, from which nothing may be eased after a jump.
        self._last.shown = self._last.std = self._last.head_ns = None
        if self._smoother is not None:
            self._smoother.reset()
        self._contacts.reset()
        if self._feet is not None:
            self._feet.reset()
        self._chooser.reset()

    def step(self, sample: HeadsetSample) -> BodyPose:
        """The pose at one sample. Time must ascend; a jump begins the history anew."""
        last = self._last
        if last.t_ns is not None and not 0 <= sample.t_ns - last.t_ns <= _TIME_JUMP_S * 1e9:
            self.forget_past()
        last.t_ns = sample.t_ns
        with self.spans.measure("ease"):
            joints = joints_of_sample(sample)
            if joints.tracked[0]:
                if last.head_ns is not None and sample.t_ns - last.head_ns > _TIME_JUMP_S * 1e9:
                    # What lies before so long a gap is no motion that leads here, and hands come along with the head.
                    self._history.clear()
                    last.shown = None
                last.head_ns = sample.t_ns
            eased = self._easer.step(joints, last.shown, self._reach.step(joints))
        if eased.targets is None or not joints.tracked[0]:
            return self._pose(sample.t_ns, eased)  # nothing new was seen: the last pose is held
        targets = eased.targets
        with self.spans.measure("features"):
            seen = targets.weights > 0.5
            self._history.add(JointTargets(sample.t_ns, targets.positions_m, targets.rotations, seen))
            observation, heading = self._history.features(self.skeleton.stature_m)
        with self.spans.measure("sample"):
            samples = self.sampler.step(observation)
        with self.spans.measure("choose"):
            self.hypotheses = found = self._choose(sample.t_ns, samples, heading, targets.positions_m[0])
        rotations, root = found.rotations[found.index], found.root_positions_m[found.index]
        if self._smoother is not None:
            with self.spans.measure("smooth"):
                rotations = self._smoother.step(sample.t_ns, rotations)
                root = place_by_head(self.skeleton.offsets_m, rotations, targets.positions_m[0])
        if self._refiner is not None:
            with self.spans.measure("refine"):
                refined = self._refiner.refine(rotations, root, targets)
                rotations = refined.rotations[0].astype(np.float64)
                root = refined.root_positions_m[0].astype(np.float64)
            if self._smoother is not None:
                self._smoother.correct(rotations)
        with self.spans.measure("feet"):
            positions, world = forward_kinematics(self.skeleton.offsets_m, rotations, root)
            contacts = self._contacts.step(sample.t_ns, positions, found.contacts)
            if self._feet is not None:
                rotations = self._feet.step(sample.t_ns, rotations, root, contacts)
                positions, _ = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        hands = [LEFT_HAND, RIGHT_HAND]
        last.shown = (positions[hands], world[hands])
        last.rotations, last.root, self.joints_m = rotations, root, positions
        if len(found.rotations) > 1:
            squares = ((found.joints_m - found.joints_m[found.index]) ** 2).sum(axis=-1)
            last.std = np.sqrt(squares.sum(axis=0) / (len(squares) - 1))  # of the others: its own distance is zero
        last.contacts = contacts
        return self._pose(sample.t_ns, eased)

    def _choose(self, t_ns: int, samples: Samples, heading: Array, head_m: Array) -> Hypotheses:
        rotations = decode_poses(samples.vectors.astype(np.float64), heading)
        relative, _ = forward_kinematics(self.skeleton.offsets_m, rotations, np.zeros((len(rotations), 3)))
        roots = head_m - relative[:, HEAD]
        index = 0
        if len(rotations) > 1:
            scores = samples.log_likelihood
            index = self._chooser.choose(t_ns, rotations, roots, scores, self._constraint).index
        joints = relative + roots[:, None]
        return Hypotheses(
            rotations,
            roots,
            joints,
            samples.log_likelihood.copy(),
            None if samples.contacts is None else samples.contacts.copy(),
            index,
        )

    def _pose(self, t_ns: int, eased: EasedTargets) -> BodyPose:
        last = self._last
        status = eased.status if eased.targets is not None else Status.LOST
        return BodyPose(
            t_ns=t_ns,
            rotations_xyzw=quaternion_from_matrix(last.rotations).astype(np.float32),
            root_position_m=last.root.astype(np.float32),
            status=status,
            flags=eased.flags,
            joint_std_m=None if last.std is None else last.std.astype(np.float32),
            contacts=last.contacts if eased.targets is not None else None,
            reason=eased.reason,
        )
