"""The pose stage as one object: head and hands are met, what is lost is told, and nothing is ever not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
from bodystream.pose.features import POSE_SIZE, FeatureConfig
from bodystream.pose.observation import joints_of_sample
from bodystream.pose.sampler import PoseSampler, Samples
from bodystream.sources.headset.checks import SampleChecker
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import Array, BodyPose, HeadsetSample, Status
from helpers.headset_motions import DOWN, make_clip, person, walking, working

MET_M = 0.005
SIDES = ("head", "left", "right")
HANDS = [LEFT_HAND, RIGHT_HAND]
BARE = EstimatorConfig(refine=False, foot_lock=False, smooth=False)


class Hanging:
    """Says that everybody stands upright and lets the arms hang, whatever is observed."""

    def __init__(self, hypotheses: int = 1, contacts: Array | None = None) -> None:
        self.features = FeatureConfig()
        self.people: list[Skeleton] = []
        self.observations: list[Array] = []
        vectors = np.zeros((hypotheses, len(JOINTS), 3), np.float32)
        vectors[:, JOINT_INDEX["left_shoulder"], 2] = 1.3
        vectors[:, JOINT_INDEX["right_shoulder"], 2] = -1.3
        for k in range(hypotheses):  # each bends its knees more than the one before
            vectors[k, [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]], 0] = -0.2 * k
        scores = -np.arange(hypotheses, dtype=np.float32)
        self._samples = Samples(
            vectors.reshape(hypotheses, POSE_SIZE), scores, np.ones(POSE_SIZE, np.float32), contacts
        )

    def set_person(self, skeleton: Skeleton) -> None:
        self.people.append(skeleton)

    def step(self, observation: Array) -> Samples:
        self.observations.append(observation.copy())
        return self._samples


def samples_of(clip: MotionClip, hands: str = "grip") -> list[HeadsetSample]:
    return list(MotionHeadset(clip, hands=hands))  # type: ignore[arg-type]


def estimator(config: EstimatorConfig = BARE, **options) -> PoseEstimator:
    return PoseEstimator(person(), config, sampler=options.pop("sampler", Hanging(config.hypotheses)), **options)


def check_pose(pose: BodyPose, sample: HeadsetSample) -> None:
    assert pose.t_ns == sample.t_ns
    assert pose.rotations_xyzw.dtype == np.float32 and pose.rotations_xyzw.shape == (len(JOINTS), 4)
    assert np.isfinite(pose.root_position_m).all()
    np.testing.assert_allclose(np.linalg.norm(pose.rotations_xyzw, axis=1), 1.0, atol=1e-5)
    assert (pose.reason == "") == (pose.status is Status.TRACKED)


def run(stage: PoseEstimator, samples: Iterable[HeadsetSample]) -> list[BodyPose]:
    poses = []
    for sample in samples:
        poses.append(stage.step(sample))
        check_pose(poses[-1], sample)
    return poses


def joints_of(skeleton: Skeleton, pose: BodyPose) -> Array:
    rotations = matrix_from_quaternion(pose.rotations_xyzw.astype(np.float64))
    return forward_kinematics(skeleton.offsets_m, rotations, pose.root_position_m.astype(np.float64))[0]


@pytest.mark.parametrize("hands", ["joint", "grip", "hand"])
def test_devices_are_taken_to_the_joints_that_carry_them(hands: str) -> None:
    clip = walking(0.2)
    positions, world = clip.joints()
    for k, sample in enumerate(samples_of(clip, hands)):
        targets = joints_of_sample(sample)
        np.testing.assert_allclose(targets.positions_m, positions[k, [HEAD, LEFT_HAND, RIGHT_HAND]], atol=1e-6)
        np.testing.assert_allclose(targets.rotations, world[k, [HEAD, LEFT_HAND, RIGHT_HAND]], atol=1e-6)
        assert targets.tracked.all() and targets.t_ns == sample.t_ns


@pytest.mark.parametrize("clip", [walking(1.5), working(1.5)], ids=lambda clip: clip.name)
@pytest.mark.parametrize("network", [True, False])
def test_head_and_hands_are_met(clip: MotionClip, network: bool) -> None:
    """With the shipped network, whatever it has learnt, and with one that looks at nothing."""
    sampler = PoseSampler(provider="cpu", threads=1) if network else Hanging()
    stage = PoseEstimator(clip.skeleton, sampler=sampler)
    errors = []
    for sample in samples_of(clip):
        pose = stage.step(sample)
        check_pose(pose, sample)
        wanted = joints_of_sample(sample).positions_m
        got = joints_of(clip.skeleton, pose)[[HEAD, LEFT_HAND, RIGHT_HAND]]
        errors.append(np.linalg.norm(got - wanted, axis=1))
        np.testing.assert_allclose(stage.joints_m, joints_of(clip.skeleton, pose), atol=1e-5)
    assert np.mean(errors[20:]) < MET_M  # the hands are taken up within the first quarter of a second
    assert pose.status is Status.TRACKED and pose.flags == ()


def test_without_refinement_the_head_alone_is_met() -> None:
    stage, clip = estimator(), walking(0.3)
    for sample in samples_of(clip):
        joints = joints_of(clip.skeleton, stage.step(sample))
        wanted = joints_of_sample(sample).positions_m
        np.testing.assert_allclose(joints[HEAD], wanted[0], atol=1e-5)
    assert np.linalg.norm(joints[LEFT_HAND] - wanted[1]) > 0.02


def test_the_same_motion_elsewhere_gives_the_same_pose_elsewhere() -> None:
    clip = walking(0.7)
    there = clip.moved(np.pi, np.array([5.0, 0.0, 0.0]))
    config = EstimatorConfig(provider="cpu", threads=1)
    first, second = (PoseEstimator(clip.skeleton, config) for _ in range(2))
    worst = 0.0
    for here, moved in zip(samples_of(clip), samples_of(there), strict=True):
        first.step(here)
        second.step(moved)
        expected = first.joints_m * (-1.0, 1.0, -1.0) + (5.0, 0.0, 0.0)
        worst = max(worst, float(np.linalg.norm(second.joints_m - expected, axis=1).max()))
    assert worst < 0.005  # single joints; float32 quaternions of the moved motion differ in their last bit


LOSSES = {
    "left": ({"left": None}, {"left_lost"}),
    "both hands": ({"left": None, "right": None}, {"left_lost", "right_lost"}),
    "head": ({"head": None}, {"head_lost"}),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_what_is_lost_is_told_bridged_and_taken_up_again(lost: str) -> None:
    clip = walking(2.5)
    samples = samples_of(clip)
    change, flags = LOSSES[lost]
    gone = range(60, 90)  # a third of a second
    samples = [replace(sample, **change) if k in gone else sample for k, sample in enumerate(samples)]
    stage = estimator(EstimatorConfig())
    poses = run(stage, samples)
    for k in gone:
        assert poses[k].status is Status.DEGRADED and set(poses[k].flags) >= flags
        assert "not tracked" in poses[k].reason
    assert poses[59].status is Status.TRACKED
    assert poses[-1].status is Status.TRACKED and poses[-1].flags == ()
    if "head" not in change:
        assert any("_eased" in flag for flag in poses[95].flags)
    # hands do not jump: 5 cm in a sample would be 4.5 m/s
    places = np.stack([joints_of(clip.skeleton, pose) for pose in poses[30:90]])
    assert np.linalg.norm(np.diff(places[:, [LEFT_HAND, RIGHT_HAND]], axis=0), axis=-1).max() < 0.05


@pytest.mark.parametrize("change", [{"left": None}, {"right": None}, {"left": None, "right": None}])
def test_one_hand_or_the_head_only_from_the_start(change: dict) -> None:
    """Degraded for ever, never lost; what is tracked is met."""
    clip = walking(1.0)
    stage = estimator(EstimatorConfig())
    for k, original in enumerate(samples_of(clip)):
        pose = stage.step(replace(original, **change))
        check_pose(pose, original)
        assert pose.status is Status.DEGRADED and set(pose.flags) >= {f"{side}_lost" for side in change}
        wanted = joints_of_sample(original).positions_m
        met = [HEAD] + [joint for joint, side in ((LEFT_HAND, "left"), (RIGHT_HAND, "right")) if side not in change]
        rows = [0] + [row for row, side in ((1, "left"), (2, "right")) if side not in change]
        if k > 30:
            assert np.linalg.norm(stage.joints_m[met] - wanted[rows], axis=1).max() < MET_M


def test_without_a_head_at_first_the_pose_is_lost_and_stands() -> None:
    stage, samples = estimator(EstimatorConfig()), samples_of(walking(0.5))
    for sample in samples[:10]:
        pose = stage.step(replace(sample, head=None))
        check_pose(pose, sample)
        assert pose.status is Status.LOST and "head_lost" in pose.flags and "headset" in pose.reason
        assert stage.hypotheses is None
        assert joints_of(person(), pose)[:, 1].min() == pytest.approx(0.0, abs=1e-6)
    poses = run(stage, samples[10:])
    assert all(pose.status is not Status.LOST for pose in poses) and poses[-1].status is Status.TRACKED


def test_a_head_that_stays_away_is_lost_and_comes_back() -> None:
    clip = walking(2.0)
    samples = samples_of(clip)
    stage = estimator(EstimatorConfig())
    poses = run(stage, [replace(s, head=None) if 60 <= k < 130 else s for k, s in enumerate(samples)])
    assert poses[60].status is Status.DEGRADED and poses[129].status is Status.LOST
    assert poses[130].status is not Status.LOST and poses[-1].status is Status.TRACKED
    # the body stayed where it was
    still = [pose.root_position_m for pose in poses[65:130]]
    assert np.ptp(still, axis=0).max() < 0.05


def standing(seconds: float) -> list[HeadsetSample]:
    forearm = (0.1, 0.0, -1.0)
    return samples_of(make_clip("standing", seconds, lambda t: (DOWN, forearm, DOWN, forearm)))


def elsewhere(sample: HeadsetSample, by_m: tuple[float, float, float], sides: Iterable[str]) -> HeadsetSample:
    moved = {side: replace(d, position_m=d.position_m + by_m) for side in sides if (d := getattr(sample, side))}
    return replace(sample, **moved)


def test_a_head_that_returns_elsewhere_takes_hands_and_body_along() -> None:
    """A second without a head, then everything is 3 m aside: noticed by the checks, and posed as if nothing was."""
    gone, aside = range(60, 150), (3.0, 0.0, 0.0)
    unmoved = standing(2.2)
    samples = [
        replace(sample, head=None) if k in gone else sample if k < 60 else elsewhere(sample, aside, SIDES)
        for k, sample in enumerate(unmoved)
    ]
    config = EstimatorConfig(provider="cpu", threads=1)
    stage, calm, checker = PoseEstimator(person(), config), PoseEstimator(person(), config), SampleChecker()
    for k, (sample, same) in enumerate(zip(samples, unmoved, strict=True)):
        checked = checker.check(sample)
        if "head_teleport" in checked.flags:
            assert k == gone.stop
            stage.forget_past()
        assert checked.sample is not None
        pose = stage.step(checked.sample)
        check_pose(pose, sample)
        calm.step(same)
        if k in gone:
            assert "head_lost" in pose.flags
        elif k > gone.stop:
            wanted = joints_of_sample(sample).positions_m
            assert np.linalg.norm(stage.joints_m[HANDS] - wanted[1:], axis=1).max() < 0.01
            assert np.linalg.norm(stage.joints_m - aside - calm.joints_m, axis=1).mean() < 0.02
    assert checker.counts["head_teleport"] == 1 and pose.status is Status.TRACKED


def test_a_head_that_is_held_is_not_seen() -> None:
    """The network is asked for nothing while there is no head, and its past holds no pause that nobody made."""
    sampler, samples = Hanging(), samples_of(walking(2.0))
    stage = estimator(sampler=sampler)
    run(stage, [replace(s, head=None) if 60 <= k < 80 else s for k, s in enumerate(samples[:100])])
    assert len(sampler.observations) == 80
    seen, whole = sampler.observations[60], Hanging()
    run(estimator(sampler=whole), samples[:81])
    # between the samples around the gap one goes by a straight line, which is near what was
    np.testing.assert_allclose(seen[0], whole.observations[80][0], atol=0.02)
    late = [replace(s, head=None) if k < 60 else s for k, s in enumerate(samples[100:])]
    run(stage, late)
    assert not changes(sampler.observations[80]).any()  # a longer gap begins anew


def test_a_controller_that_lies_far_away_is_let_go() -> None:
    stage, samples = estimator(EstimatorConfig()), standing(3.0)
    away = range(60, 180)
    samples = [elsewhere(s, (-3.0, 0.0, 0.0), ["left"]) if k in away else s for k, s in enumerate(samples)]
    poses = run(stage, samples[:180])
    for pose in poses[60:]:
        assert pose.flags == ("left_out_of_reach",) and pose.status is Status.DEGRADED
        assert pose.reason == "the left hand out of reach of the body"
    wanted = joints_of_sample(samples[179]).positions_m
    assert np.linalg.norm(stage.joints_m[[HEAD, RIGHT_HAND]] - wanted[[0, 2]], axis=1).max() < MET_M
    poses = run(stage, samples[180:])
    assert "left_eased" in poses[0].flags and poses[-1].flags == ()
    assert np.linalg.norm(stage.joints_m[LEFT_HAND] - joints_of_sample(samples[-1]).positions_m[1]) < MET_M


def changes(observation: Array) -> Array:
    return observation[:, 10:]


@pytest.mark.parametrize("seconds", [0.6, -3.0])
def test_a_jump_in_time_begins_the_history_anew(seconds: float) -> None:
    sampler, clip = Hanging(), walking(1.0)
    stage = estimator(sampler=sampler)
    samples = samples_of(clip)
    run(stage, samples[:60])
    assert np.abs(changes(sampler.observations[-1])).max() > 0.01
    jump = round(seconds * 1e9)
    run(stage, [replace(sample, t_ns=sample.t_ns + jump) for sample in samples[60:]])
    assert not changes(sampler.observations[60]).any()
    assert np.abs(changes(sampler.observations[-1])).max() > 0.01


def test_forget_past_begins_the_history_anew() -> None:
    sampler = Hanging()
    stage, samples = estimator(sampler=sampler), samples_of(walking(0.5))
    run(stage, samples[:30])
    stage.forget_past()
    stage.step(samples[30])
    assert not changes(sampler.observations[-1]).any()


def test_another_person_takes_over_without_a_break() -> None:
    sampler, clip = Hanging(), walking(1.0)
    stage = estimator(EstimatorConfig(), sampler=sampler)
    samples = samples_of(clip)
    run(stage, samples[:60])
    taller = person().scaled(1.05)
    stage.set_person(taller)
    assert sampler.people[-1] is taller and stage.skeleton is taller
    poses = run(stage, samples[60:])
    assert np.abs(changes(sampler.observations[60])).max() > 0.01  # what was seen stays known
    assert {pose.status for pose in poses} == {Status.TRACKED}  # and hands are not taken up anew
    wanted = joints_of_sample(samples[-1]).positions_m
    assert np.linalg.norm(joints_of(taller, poses[-1])[[HEAD, LEFT_HAND, RIGHT_HAND]] - wanted, axis=1).max() < MET_M


def test_reset_begins_with_another_person() -> None:
    stage, samples = estimator(EstimatorConfig()), samples_of(walking(0.3))
    before = run(stage, samples)
    stage.reset(person())
    assert stage.hypotheses is None
    again = run(stage, samples)
    for first, second in zip(before, again, strict=True):
        np.testing.assert_array_equal(first.rotations_xyzw, second.rotations_xyzw)
        assert first.flags == second.flags


def test_a_constraint_needs_something_to_choose_among() -> None:
    with pytest.raises(ConfigurationError, match="at least two"):
        estimator(constraint=lambda positions, world: np.zeros(len(positions)))


def test_a_constraint_chooses() -> None:
    config = replace(BARE, hypotheses=3)
    knees = [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]

    def bent_knees(positions: Array, world: Array) -> Array:
        hips = [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]
        ankles = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
        legs = np.linalg.norm(positions[:, hips] - positions[:, ankles], axis=-1).mean(axis=1)
        assert positions.shape == (3, len(JOINTS), 3) and world.shape == (3, len(JOINTS), 3, 3)
        return 1e4 * (legs - legs.min())

    samples = samples_of(walking(0.2))
    free, bound = estimator(config), estimator(config, constraint=bent_knees)
    run(free, samples)
    poses = run(bound, samples)
    assert free.hypotheses is not None and bound.hypotheses is not None
    assert (free.hypotheses.index, bound.hypotheses.index) == (0, 2)
    rotations = matrix_from_quaternion(poses[-1].rotations_xyzw.astype(np.float64))
    np.testing.assert_allclose(rotations[knees], bound.hypotheses.rotations[2][knees], atol=1e-5)


def test_several_hypotheses_give_an_uncertainty() -> None:
    samples = samples_of(walking(0.2))
    stage = estimator(replace(BARE, hypotheses=3))
    pose = run(stage, samples)[-1]
    assert pose.joint_std_m is not None and pose.joint_std_m.shape == (len(JOINTS),)
    assert pose.joint_std_m[HEAD] == pytest.approx(0.0, abs=1e-6)  # where it was seen
    assert pose.joint_std_m[JOINT_INDEX["left_ankle"]] > 0.005  # they differ in the knees
    assert run(estimator(), samples)[-1].joint_std_m is None
    found = stage.hypotheses
    assert found is not None and found.index == 0
    squares = ((found.joints_m[1:] - found.joints_m[0]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(pose.joint_std_m, np.sqrt(squares.mean(axis=0)), rtol=1e-5)


@pytest.mark.parametrize("change", [PoseEstimator.forget_past, lambda stage: stage.set_person(person())])
def test_an_uncertainty_is_not_kept_where_the_past_is_not(change: Callable[[PoseEstimator], None]) -> None:
    samples = samples_of(walking(0.2))
    stage = estimator(replace(BARE, hypotheses=3))
    run(stage, samples[:10])
    change(stage)
    assert stage.step(replace(samples[10], head=None)).joint_std_m is None
    assert stage.step(samples[11]).joint_std_m is not None


def test_every_part_is_timed() -> None:
    stage = estimator(EstimatorConfig())
    run(stage, samples_of(walking(0.1)))
    counts = {name: span.count for name, span in stage.spans.summary().items()}
    assert set(counts) >= {"ease", "features", "sample", "choose", "refine", "feet"} and set(counts.values()) == {9}


def test_contacts_come_with_the_pose() -> None:
    pose = run(estimator(EstimatorConfig()), samples_of(working(0.5)))[-1]
    assert pose.contacts is not None and pose.contacts.shape == (2,) and pose.contacts.dtype == bool
