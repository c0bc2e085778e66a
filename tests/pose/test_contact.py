"""Standing feet: detection with hysteresis, locking that removes skate and hardly changes the pose, the floor."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.contact import (
    ContactConfig,
    ContactDetector,
    FootLock,
    FootLockConfig,
    foot_skate_m,
    leg_to,
)
from bodystream.pose.refine import PoseRefiner
from bodystream.timing import ClockGate
from helpers.refine_reference import case, rotvec

RATE_HZ = 90
FRAME_NS = round(1e9 / RATE_HZ)
ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
LEGS = [j for j, name in enumerate(JOINTS) if name.split("_")[-1] in ("hip", "knee", "ankle")]


class Detector(ContactDetector):
    """With the gate that the estimator has."""

    def __init__(self, skeleton) -> None:
        super().__init__(skeleton)
        self.gate = ClockGate()

    def at(self, t_ns: int, *args):
        return self.step(self.gate.step(t_ns), *args)


class Lock(FootLock):
    """With the gate and the forward kinematics that the estimator has."""

    def __init__(self, skeleton, config: FootLockConfig | None = None) -> None:
        super().__init__(skeleton, config)
        self.gate, self.skeleton = ClockGate(), skeleton

    def at(self, t_ns: int, rotations, root, contacts):
        places = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        return self.step(self.gate.step(t_ns), rotations, *places, contacts)


@pytest.fixture(scope="module")
def skeleton():
    return fitted_skeleton(1.55)


@cache
def walk(seconds: float = 4.0):
    """Walking ahead: (T, 22, 3, 3), (T, 3), which feet stand (T, 2). A standing foot does not move at all."""
    skeleton = fitted_skeleton(1.55)
    frames = round(seconds * RATE_HZ)
    rest = skeleton.rest_positions_m + (0.0, skeleton.pelvis_height_m, 0.0)
    step_s, stride_m, lift_m = 0.6, 0.4, 0.12
    rotations = np.tile(np.eye(3), (frames, 22, 1, 1))
    roots, stands = np.zeros((frames, 3)), np.zeros((frames, 2), bool)
    for i in range(frames):
        t = i / RATE_HZ
        roots[i] = (0.0, skeleton.pelvis_height_m - 0.06, -stride_m * t / step_s)
        for side in range(2):
            cycle = t / (2.0 * step_s) + 0.5 * side
            part = cycle % 1.0
            stands[i, side] = part < 0.6
            along = np.floor(cycle) + (0.0 if part < 0.6 else _smooth((part - 0.6) / 0.4))
            ankle = rest[ANKLES[side]].copy()
            ankle[2] += -(along + 0.3 - 0.5 * side) * 2.0 * stride_m
            if part >= 0.6:
                ankle[1] += lift_m * np.sin(np.pi * (part - 0.6) / 0.4) ** 2
            rotations[i, JOINT_INDEX["left_knee" if side == 0 else "right_knee"]] = rotvec([[-0.3, 0, 0]])[0]
            leg_to(skeleton, rotations[i], roots[i], side, ankle, np.eye(3))
    return rotations, roots, stands


def _smooth(u: float) -> float:
    return u * u * (3.0 - 2.0 * u)


def noisy(rotations, roots, rng):
    """What an estimator makes of it: slow errors of a few centimetres at the feet."""
    frames = len(rotations)
    knots = rng.normal(0.0, 1.0, (frames // 15 + 4, 22, 3)) * 0.02
    at = np.linspace(0.0, len(knots) - 1.001, frames)
    low, share = at.astype(int), (at % 1.0)[:, None, None]
    share = share * share * (3.0 - 2.0 * share)
    vectors = (1.0 - share) * knots[low] + share * knots[low + 1]
    return rotvec(vectors) @ rotations, roots + 0.5 * vectors[:, 5]


def locked(skeleton, rotations, roots, contacts, config=None):
    lock = Lock(skeleton, config)
    return np.stack([lock.at(i * FRAME_NS, rotations[i], roots[i], contacts[i]) for i in range(len(rotations))])


def detected(skeleton, positions, probabilities=None):
    detector = Detector(skeleton)
    given = [None] * len(positions) if probabilities is None else probabilities
    return np.stack([detector.at(i * FRAME_NS, p, q) for i, (p, q) in enumerate(zip(positions, given, strict=True))])


@pytest.mark.parametrize("seed", range(4))
def test_skate_falls_and_the_pose_hardly_changes(skeleton, seed):
    truth, truth_roots, stands = walk()
    rotations, roots = noisy(truth, truth_roots, np.random.default_rng(seed))
    wanted, _ = forward_kinematics(skeleton.offsets_m, truth, truth_roots)
    before, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    contacts = detected(skeleton, before)
    out = locked(skeleton, rotations, roots, contacts)
    after, world = forward_kinematics(skeleton.offsets_m, out, roots)
    assert foot_skate_m(wanted[:, ANKLES], stands) < 1e-6  # the truth stands still
    skate = [foot_skate_m(p[:, ANKLES], stands) for p in (before, after)]
    assert skate[1] < 0.4 * skate[0], skate
    errors = [np.linalg.norm(p - wanted, axis=-1).mean() for p in (before, after)]
    assert errors[1] < errors[0] + 0.001, errors
    # No jump: the corrected ankles are never much faster than the walk's own.
    speed = np.linalg.norm(np.diff(after[:, ANKLES], axis=0), axis=-1).max() * RATE_HZ
    own = np.linalg.norm(np.diff(before[:, ANKLES], axis=0), axis=-1).max() * RATE_HZ
    assert speed < own + 0.8
    others = [j for j in range(22) if j not in LEGS]
    assert np.array_equal(out[:, others], rotations[:, others])
    _, free = forward_kinematics(skeleton.offsets_m, rotations, roots)
    np.testing.assert_allclose(world[:, ANKLES], free[:, ANKLES], atol=1e-6)  # feet keep their orientation


def test_detection_agrees_with_the_truth(skeleton):
    rotations, roots, stands = walk()
    positions, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    assert (detected(skeleton, positions) == stands)[1:].mean() > 0.93
    probabilities = np.where(stands, 0.9, 0.1)
    assert (detected(skeleton, positions, probabilities) == stands).mean() > 0.98


def test_detection_has_hysteresis(skeleton):
    standing = skeleton.rest_positions_m + (0.0, skeleton.pelvis_height_m, 0.0)
    detector = Detector(skeleton)
    assert not detector.at(0, standing).any()  # of one frame no speed is known
    assert detector.at(FRAME_NS, standing).all()
    for i in range(2, 40):  # a creep of 0.4 m/s is between the two speeds
        creeping = standing + (0.0, 0.0, -0.4 * (i - 1) / RATE_HZ)
        assert detector.at(i * FRAME_NS, creeping).all()
    detector.reset()
    for i in range(40):
        creeping = standing + (0.0, 0.0, -0.4 * i / RATE_HZ)
        assert not detector.at(i * FRAME_NS, creeping).any()
    detector.reset()
    flicker = [detector.at(i * FRAME_NS, standing, np.array([0.5 + 0.05 * (-1) ** i, 0.9])) for i in range(10)]
    assert not np.any(flicker, axis=0)[0] and np.all(flicker, axis=0)[1]
    up = detector.at(10 * FRAME_NS, standing + (0.0, 0.3, 0.0), np.array([0.9, 0.9]))
    assert not up.any()  # whatever the network says: in the air


def test_feet_do_not_sink_into_the_floor(skeleton):
    rotations, roots, stands = walk(2.0)
    roots = roots - (0.0, 0.08, 0.0)
    out = locked(skeleton, rotations, roots, np.zeros_like(stands))
    before, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    after, _ = forward_kinematics(skeleton.offsets_m, out, roots)
    feet = [JOINT_INDEX[f"{side}_foot"] for side in ("left", "right")]
    assert before[:, feet, 1].min() < -0.05
    assert after[:, feet, 1].min() > 0.009 and after[:, ANKLES, 1].min() > 0.034


def test_a_foot_that_is_dragged_far_is_let_go_smoothly(skeleton):
    """The contact is wrong: the body walks away, the foot follows without a jump."""
    standing = np.tile(np.eye(3), (90, 22, 1, 1))
    roots = np.zeros((90, 3)) + (0.0, skeleton.pelvis_height_m, 0.0)
    roots[:, 2] = -0.5 * np.arange(90) / RATE_HZ
    out = locked(skeleton, standing, roots, np.ones((90, 2), bool), FootLockConfig(settle_s=0.0))
    free, _ = forward_kinematics(skeleton.offsets_m, standing, roots)
    after, _ = forward_kinematics(skeleton.offsets_m, out, roots)
    pull = np.linalg.norm((after - free)[:, ANKLES], axis=-1)
    assert 0.08 < pull.max() < 0.125
    assert np.linalg.norm(np.diff(after[:, ANKLES], axis=0), axis=-1).max() * RATE_HZ < 2.0


def test_a_leg_reaches_what_it_can_and_points_at_the_rest(skeleton):
    rng = np.random.default_rng(0)
    root = np.array([0.2, 0.95, -0.4])
    for i in range(100):
        rotations = rotvec(rng.normal(0.0, 0.3, (22, 3)))
        side = i % 2
        before, world = forward_kinematics(skeleton.offsets_m, rotations, root)
        hip, knee, ankle = (JOINT_INDEX[f"{('left', 'right')[side]}_{part}"] for part in ("hip", "knee", "ankle"))
        goal = before[ankle] + rng.normal(0.0, 0.15 if i < 80 else 2.0, 3)
        out = rotations.copy()
        leg_to(skeleton, out, root, side, goal, world[ankle])
        after, turned = forward_kinematics(skeleton.offsets_m, out, root)
        length = np.linalg.norm(skeleton.offsets_m[[knee, ankle]], axis=1).sum()
        reach = np.linalg.norm(goal - before[hip])
        if 0.15 < reach < length - 1e-3:
            np.testing.assert_allclose(after[ankle], goal, atol=1e-6)
        elif reach >= length:
            direction = (goal - before[hip]) / reach
            np.testing.assert_allclose(after[ankle], before[hip] + direction * (length - 1e-4), atol=1e-6)
        np.testing.assert_allclose(turned[ankle], world[ankle], atol=1e-9)
        np.testing.assert_allclose(out @ out.transpose(0, 2, 1), np.tile(np.eye(3), (22, 1, 1)), atol=1e-9)


def test_the_refiner_bends_legs_in_the_same_way(skeleton):
    problem = case(2, skeleton)
    result = PoseRefiner(skeleton).refine(problem.sample, problem.root, problem.targets)
    positions, world = forward_kinematics(skeleton.offsets_m, problem.sample, problem.root)
    legs = problem.sample.copy()
    legs[0] = result.rotations[0, 0]
    for side, ankle in enumerate(ANKLES):
        root = result.root_positions_m[0].astype(np.float64)
        leg_to(skeleton, legs, root, side, positions[ankle], world[ankle])
    np.testing.assert_allclose(result.rotations[0][LEGS], legs[LEGS], atol=2e-3)


def test_another_movement_lets_go(skeleton):
    lock = Lock(skeleton)
    pose, root = np.tile(np.eye(3), (22, 1, 1)), np.array([0.0, skeleton.pelvis_height_m + 0.1, 0.0])
    for i in range(5):
        lock.at(i * FRAME_NS, pose, root - (0.0, 0.0, 0.005 * i), np.ones(2, bool))
    far = lock.at(10**10, pose, root + (5.0, 0.0, 0.0), np.ones(2, bool))
    assert np.array_equal(far, pose)


def test_bad_input_is_refused(skeleton):
    with pytest.raises(InputError, match="22, 3, 3"):
        Lock(skeleton).step(
            ClockGate().step(0), np.zeros((21, 3, 3)), np.zeros((22, 3)), np.zeros((22, 3, 3)), np.zeros(2, bool)
        )
    with pytest.raises(ConfigurationError, match="release_s"):
        FootLockConfig(release_s=-1.0)
    with pytest.raises(ConfigurationError, match="leave"):
        ContactConfig(height_m=(0.1, 0.05))
