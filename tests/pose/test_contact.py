"""Standing feet: detection with hysteresis, and legs bent to where an ankle shall be."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.contact import (
    ContactConfig,
    ContactDetector,
    leg_to,
)
from bodystream.pose.refine import PoseRefiner
from bodystream.timing import ClockGate
from helpers.refine_reference import case, rotvec

RATE_HZ = 90
FRAME_NS = round(1e9 / RATE_HZ)
ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
FEET = [j for j, name in enumerate(JOINTS) if name.split("_")[-1] in ("ankle", "foot")]
LEGS = [j for j, name in enumerate(JOINTS) if name.split("_")[-1] in ("hip", "knee", "ankle")]


class Detector(ContactDetector):
    """With the gate that the estimator has."""

    def __init__(self, skeleton) -> None:
        super().__init__(skeleton)
        self.gate = ClockGate()

    def at(self, t_ns: int, *args):
        return self.step(self.gate.step(t_ns), *args)


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


def detected(skeleton, positions, probabilities=None):
    detector = Detector(skeleton)
    given = [None] * len(positions) if probabilities is None else probabilities
    return np.stack([detector.at(i * FRAME_NS, p, q) for i, (p, q) in enumerate(zip(positions, given, strict=True))])


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

    def walker(i: int, lift_m: float = 0.0) -> np.ndarray:  # whose head goes on, so that it is no still one's
        out = standing + (0.0, lift_m, 0.0)
        out[HEAD, 2] -= i / RATE_HZ
        return out

    def seen(i: int, left: float) -> np.ndarray:
        return detector.at(i * FRAME_NS, walker(i), np.array([left, 0.9]))

    assert np.all([seen(i, 0.9) for i in range(60)][30:])
    assert np.all([seen(i, 0.42 + 0.03 * (-1) ** i) for i in range(60, 66)])  # it stood: so it stands
    assert not seen(66, 0.1)[0]
    assert not np.any([seen(i, 0.38 + 0.02 * (-1) ** i) for i in range(67, 70)], axis=0)[0]  # it left: so it is away
    up = detector.at(90 * FRAME_NS, walker(90, 0.3), np.array([0.9, 0.9]))
    assert not up.any()  # whatever the network says: in the air


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


def test_bad_input_is_refused():
    with pytest.raises(ConfigurationError, match="leave"):
        ContactConfig(height_m=(0.1, 0.05))
    with pytest.raises(ConfigurationError, match="fading_s"):
        ContactConfig(fading_s=0.0)


def test_who_runs_is_never_sure_of_and_one_foot_carries_the_weight(skeleton):
    """Probabilities that are low all the time still tell the feet apart."""
    rotations, roots, stands = walk()
    roots = roots * (1.0, 1.0, 2.5)  # the head of somebody who runs
    positions, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    found = detected(skeleton, positions, np.where(stands, 0.3, 0.05))
    assert (found == stands)[RATE_HZ:].mean() > 0.95


def test_a_still_head_keeps_standing_feet_on_the_floor(skeleton):
    standing = skeleton.rest_positions_m + (0.0, skeleton.pelvis_height_m, 0.0)
    detector = Detector(skeleton)
    assert all(detector.at(i * FRAME_NS, standing, np.array([0.9, 0.9])).all() for i in range(1, 20))
    for i in range(20, 60):  # the network doubts, and the head is where it was
        assert detector.at(i * FRAME_NS, standing, np.array([0.1, 0.9])).all()
    for i in range(60, 120):  # a head that goes at 1 m/s
        found = detector.at(i * FRAME_NS, standing - (0.0, 0.0, (i - 60) / RATE_HZ), np.array([0.1, 0.9]))
    assert not found[0]


@pytest.mark.parametrize(("head_m_s", "lands"), [(1.2, False), (3.0, True)])
def test_a_foot_of_who_runs_lands_while_the_pose_still_swings_it(skeleton, head_m_s: float, lands: bool):
    """The pose is late, so that its foot goes at 3.5 m/s when the network says that the true one stands."""
    standing = skeleton.rest_positions_m + (0.0, skeleton.pelvis_height_m, 0.0)
    detector = Detector(skeleton)
    for i in range(120):
        positions = standing - (0.0, 0.0, head_m_s * i / RATE_HZ)
        positions[FEET, 2] -= (3.5 - head_m_s) * i / RATE_HZ
        found = detector.at(i * FRAME_NS, positions, np.array([0.9 if i > 110 else 0.1, 0.1]))
    assert bool(found[0]) == lands
