"""From samples of a headset to poses of a body: the pose stage as one object.

One step: devices to joints, hands that were lost eased, features of the recent past, the network's hypotheses, the
choice among them, smoothing, refinement so that head and hands are met, feet that stand held in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bodystream.engines import ProviderName
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.chooser import ChooserConfig, Constraint, HypothesisChooser
from bodystream.pose.contact import ContactConfig, ContactDetector
from bodystream.pose.easing import KnownPerson, PersonEaser
from bodystream.pose.features import decode_poses, place_by_head
from bodystream.pose.ground import BodyGround
from bodystream.pose.hands import EasedTargets, HandEaser, HandEaserConfig, ReachGate
from bodystream.pose.hinges import ARM_HINGES, LEG_HINGES, bend_as_hinges
from bodystream.pose.observation import History, JointTargets, joints_of_sample
from bodystream.pose.refine import PoseRefiner, PoseTargets, RefineConfig
from bodystream.pose.sampler import PoseSampler, Sampler, Samples
from bodystream.pose.seat import lean_out_of_floor
from bodystream.pose.smoothing import PoseSmoother, SmoothingConfig
from bodystream.pose.steps import Footwork, FootworkConfig
from bodystream.pose.swivel import SwivelLimiter
from bodystream.timing import ClockGate, Spans, Tick
from bodystream.types import Array, BodyPose, HeadsetSample, Status

__all__ = ["EstimatorConfig", "Hypotheses", "PoseEstimator"]


_HANDS = np.array([LEFT_HAND, RIGHT_HAND])
_ELBOW_M_S = 1.8
"""How fast an elbow may go about the line from shoulder to wrist while head and hands are slower than that."""
_HURRY = 4.0
"""How much faster it may be, times what they are too fast."""


@dataclass(frozen=True, slots=True)
class EstimatorConfig:
    """What the pose stage does.

    Attributes:
        hypotheses: poses that the network is asked for per sample; more than one gives uncertainty and a choice.
        refine: whether head and hands are met exactly.
        foot_lock: whether standing feet are held.
        smooth: whether the network's answer is smoothed over time.
        provider: of the network.
        threads: of the network on a processor; None takes what its bundle says.
        seed: of the hypotheses.
        person_s: how long the body takes to come to the lengths of a person who is known better [s].
        easing, choice, smoothing, refinement, contact, holding: of the six stages, in the order in which they work.
    """

    hypotheses: int = 1
    refine: bool = True
    foot_lock: bool = True
    smooth: bool = True
    provider: ProviderName = "auto"
    threads: int | None = None
    seed: int = 0
    person_s: float = 0.5
    easing: HandEaserConfig = HandEaserConfig()
    choice: ChooserConfig = ChooserConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    refinement: RefineConfig = RefineConfig()
    contact: ContactConfig = ContactConfig()
    holding: FootworkConfig = FootworkConfig()

    def __post_init__(self) -> None:
        if not 0.0 <= self.person_s <= 10.0:
            raise ConfigurationError(f"a body comes to a person's lengths within 0 to 10 s, got {self.person_s}")


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
    contacts: Array | None = None


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
        self._easer = HandEaser(self.config.easing)
        self._reach = ReachGate(skeleton)
        self._history = History(self.sampler.features)
        self._smoother = PoseSmoother(self.config.smoothing) if self.config.smooth else None
        self._contacts = ContactDetector(skeleton, self.config.contact)
        self._ground: BodyGround | None = None
        self._coming: PersonEaser | None = None
        self._feet = Footwork(skeleton, None, self.config.holding) if self.config.foot_lock else None
        self._swivels = SwivelLimiter(ARM_HINGES)
        self._targets_m: Array | None = None
        self._samples, self._posed = ClockGate(), ClockGate()
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
        """The person's proportions from now on. What was seen of head and hands stays known."""
        self._last.std = None
        self._refiner = PoseRefiner(skeleton, self.config.refinement) if self.config.refine else None
        self._chooser = HypothesisChooser(skeleton, self.config.choice)
        self._coming = None
        self._become(self.known_person(skeleton))

    def known_person(self, skeleton: Skeleton) -> KnownPerson:
        """What `ease_person` takes of a person; it takes longer than a sample may, and any thread may do it."""
        if self._feet is None:
            return KnownPerson(skeleton, None)
        try:
            return KnownPerson(skeleton, BodyGround(skeleton))
        except InputError:  # somebody whom the shipped body cannot be has joints to stand on, and no soles
            return KnownPerson(skeleton, None)

    def ease_person(self, person: KnownPerson) -> None:
        """The person is known better: the next poses go to those proportions, within `EstimatorConfig.person_s`."""
        self._coming = PersonEaser(KnownPerson(self.skeleton, self._ground), person, self.config.person_s)

    def _become(self, person: KnownPerson) -> None:
        skeleton = self.skeleton = person.skeleton
        self._stature_m, self._ground = skeleton.stature_m, person.ground
        self.sampler.set_person(skeleton)
        self._reach.set_person(skeleton)
        self._contacts.set_person(skeleton)
        self._chooser.set_person(skeleton)
        if self._refiner is not None:
            self._refiner.set_person(skeleton)
        if self._feet is not None:
            self._feet.set_person(skeleton, self._ground)

    def _ease(self, tick: Tick) -> None:
        """Go on to the person who is known by now: at once where no pose came before this one."""
        if self._coming is None:
            return
        person = self._coming.end if tick.fresh else self._coming.step(tick.seconds)
        if person is self._coming.end:
            self._coming = None
        self._become(person)

    def forget_past(self) -> None:
        """What was seen says nothing about what comes: the view was recentred, or the stream was interrupted."""
        self._history.clear()
        self._easer.reset()
        self._reach.reset()
        # Where hands were shown is a place in the world, from which nothing may be eased after a jump.
        self._last.shown = self._last.std = None
        self._samples.reset()
        self._posed.reset()
        if self._smoother is not None:
            self._smoother.reset()
        self._contacts.reset()
        if self._feet is not None:
            self._feet.reset()
        self._chooser.reset()
        self._swivels.reset()
        self._targets_m = None

    def step(self, sample: HeadsetSample) -> BodyPose:
        """The pose at one sample. Time must ascend; a jump begins the history anew."""
        return self.pose(joints_of_sample(sample))

    def pose(self, joints: JointTargets) -> BodyPose:
        """The same of a sample whose devices are joints already."""
        last = self._last
        tick = self._samples.ask(joints.t_ns)
        if tick.fresh:
            self.forget_past()
        self._samples.accept(tick)
        with self.spans.measure("ease"):
            if joints.tracked[0] and self._posed.ask(joints.t_ns).fresh:
                # What lies before so long a gap is no motion that leads here, and hands come along with the head.
                self._history.clear()
                last.shown = None
            eased = self._easer.step(tick, joints, last.shown, self._reach.step(joints))
        if eased.targets is None or not joints.tracked[0]:
            return self._pose(joints.t_ns, eased)  # nothing new was seen: the last pose is held
        targets = eased.targets
        tick = self._posed.ask(joints.t_ns)  # from here on what counts is when a pose was last computed
        self._ease(tick)
        with self.spans.measure("features"):
            seen = targets.weights > 0.5
            self._history.add(JointTargets(tick.t_ns, targets.positions_m, targets.rotations, seen))
            observation, heading = self._history.features(self._stature_m)
        with self.spans.measure("sample"):
            samples = self.sampler.step(observation)
        with self.spans.measure("choose"):
            self.hypotheses = found = self._choose(tick, samples, heading, targets.positions_m[0])
        rotations, root = found.rotations[found.index], found.root_positions_m[found.index]
        if self._smoother is not None:
            with self.spans.measure("smooth"):
                rotations = self._smoother.step(tick, rotations)
                root = place_by_head(self.skeleton.offsets_m, rotations, targets.positions_m[0])
        if self._feet is not None and self._ground is not None:
            with self.spans.measure("seat"):
                rotations, root = lean_out_of_floor(self.skeleton, self._ground, rotations, root)
        if self._refiner is not None:
            with self.spans.measure("refine"):
                refined = self._refiner.refine(rotations, root, targets)
                rotations = refined.rotations[0].astype(np.float64)
                root = refined.root_positions_m[0].astype(np.float64)
                rotations = bend_as_hinges(rotations)
        positions, world = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        if self._refiner is not None:
            with self.spans.measure("swivel"):
                turned = self._swivels.step(rotations, positions, world, self._elbows_may_m(tick, targets))
                if turned is not rotations:
                    rotations = bend_as_hinges(turned, ARM_HINGES)
                    positions, world = forward_kinematics(self.skeleton.offsets_m, rotations, root)
            if self._smoother is not None:
                self._smoother.correct(rotations)
        with self.spans.measure("feet"):
            contacts = self._contacts.step(tick, positions, found.contacts)
            if self._feet is not None:
                gait = self._contacts.still, self._contacts.head_m_s
                bent = self._feet.step(tick, rotations, positions, world, contacts, *gait)
                if bent is not rotations:
                    rotations = bend_as_hinges(bent, LEG_HINGES)
                    positions, world = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        last.shown = (positions[_HANDS], world[_HANDS])
        last.rotations, last.root, self.joints_m = rotations, root, positions
        if len(found.rotations) > 1:
            squares = ((found.joints_m - found.joints_m[found.index]) ** 2).sum(axis=-1)
            last.std = np.sqrt(squares.sum(axis=0) / (len(squares) - 1))  # of the others: its own distance is zero
        last.contacts = contacts
        self._posed.accept(tick)
        return self._pose(tick.t_ns, eased)

    def _elbows_may_m(self, tick: Tick, targets: PoseTargets) -> float:
        """How far elbows may go about the lines from shoulders to wrists: the farther, the more head and hands move."""
        last, self._targets_m = self._targets_m, targets.positions_m.copy()
        if tick.fresh or last is None:
            self._swivels.reset()
            return 0.0
        moved = float(np.sqrt(((self._targets_m - last) ** 2).sum(axis=1)).max())
        slow = _ELBOW_M_S * tick.seconds
        return slow + _HURRY * max(moved - slow, 0.0)

    def _choose(self, tick: Tick, samples: Samples, heading: Array, head_m: Array) -> Hypotheses:
        rotations = decode_poses(samples.vectors.astype(np.float64), heading)
        relative, _ = forward_kinematics(self.skeleton.offsets_m, rotations, np.zeros((len(rotations), 3)))
        roots = head_m - relative[:, HEAD]
        index = 0
        if len(rotations) > 1:
            scores = samples.log_likelihood
            index = self._chooser.choose(tick, rotations, roots, scores, self._constraint).index
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
