"""Planted feet stay, steps are lifted, and the body's soles and knees stay above the floor."""

from __future__ import annotations

import numpy as np
import pytest
from test_contact import ANKLES, FRAME_NS, LEGS, RATE_HZ, walk

from bodystream.avatar.skin_heights import SkinHeights, rows_of
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.contact import foot_skate_m
from bodystream.pose.ground import BodyGround
from bodystream.pose.hinges import ARM_HINGES
from bodystream.pose.steps import Footwork, FootworkConfig
from bodystream.pose.swivel import SwivelLimiter
from bodystream.timing import ClockGate
from helpers.refine_reference import rotvec

TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
DEEP_M = 0.0055  # the sole may be half a centimetre deep, and the chosen points are not quite the lowest


@pytest.fixture(scope="module")
def skeleton():
    return fitted_skeleton(1.55)


@pytest.fixture(scope="module")
def ground(skeleton):
    return BodyGround(skeleton)


class Feet(Footwork):
    """With the gate and the forward kinematics that the estimator has."""

    def __init__(self, skeleton, ground, config: FootworkConfig | None = None) -> None:
        super().__init__(skeleton, ground, config)
        self.gate, self.skeleton = ClockGate(), skeleton

    def at(self, t_ns: int, rotations, root, contacts, still: bool = False, head_m_s: float = 0.0):
        places = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        return self.step(self.gate.step(t_ns), rotations, *places, contacts, still, head_m_s)


def stepped(skeleton, ground, rotations, roots, contacts, still: bool = False):
    """(T, 22, 3, 3) rotations and (T, 22, 3) joints."""
    feet = Feet(skeleton, ground)
    out = np.stack(
        [feet.at(i * FRAME_NS, *pose, still) for i, pose in enumerate(zip(rotations, roots, contacts, strict=True))]
    )
    return out, forward_kinematics(skeleton.offsets_m, out, roots)


def noisy(rotations, roots, rng):
    """What an estimator makes of it: slow errors of a few centimetres at the feet."""
    frames = len(rotations)
    knots = rng.normal(0.0, 1.0, (frames // 15 + 4, 22, 3)) * 0.02
    at = np.linspace(0.0, len(knots) - 1.001, frames)
    low, share = at.astype(int), (at % 1.0)[:, None, None]
    share = share * share * (3.0 - 2.0 * share)
    vectors = (1.0 - share) * knots[low] + share * knots[low + 1]
    return rotvec(vectors) @ rotations, roots + 0.5 * vectors[:, 5]


def standing(skeleton, frames: int, ahead_m_s: float = 0.0):
    rotations = np.tile(np.eye(3), (frames, 22, 1, 1))
    roots = np.zeros((frames, 3)) + (0.0, skeleton.pelvis_height_m, 0.0)
    roots[:, 2] = -ahead_m_s * np.arange(frames) / RATE_HZ
    return rotations, roots


@pytest.mark.parametrize("seed", range(2))
def test_skate_goes_and_the_pose_hardly_changes(skeleton, ground, seed):
    truth, truth_roots, stands = walk()
    rotations, roots = noisy(truth, truth_roots, np.random.default_rng(seed))
    before, free = forward_kinematics(skeleton.offsets_m, rotations, roots)
    out, (after, world) = stepped(skeleton, ground, rotations, roots, stands)
    skate = [foot_skate_m(p[:, TOES], stands) for p in (before, after)]
    assert skate[1] < 0.25 * skate[0], skate
    wanted, _ = forward_kinematics(skeleton.offsets_m, truth, truth_roots)
    errors = [np.linalg.norm(p - wanted, axis=-1).mean() for p in (before, after)]
    assert errors[1] < errors[0] + 0.006, errors
    others = [j for j in range(22) if j not in LEGS]
    assert np.array_equal(out[:, others], rotations[:, others])
    np.testing.assert_allclose(world[:, ANKLES], free[:, ANKLES], atol=1e-6)  # feet keep their orientation


def test_a_planted_foot_stays_until_it_has_to_step_and_a_step_is_lifted(skeleton, ground):
    """The network says that both stand, while the body goes on: one foot after the other is lifted and put down."""
    rotations, roots = standing(skeleton, 270, ahead_m_s=0.5)
    _, (after, _) = stepped(skeleton, ground, rotations, roots, np.ones((270, 2), bool))
    speed = np.linalg.norm(np.diff(after[:, TOES], axis=0)[..., [0, 2]], axis=-1) * RATE_HZ
    assert (speed < 0.02).mean() > 0.4
    assert (speed > 0.3).all(axis=1).mean() < 0.05  # one after the other
    lift = after[1:, TOES, 1] - after[:, TOES, 1].min(axis=0)
    for side in range(2):
        fast = np.flatnonzero(speed[:, side] > 1.0)
        assert len(fast) and np.median(lift[fast, side]) > 0.02
        assert lift[:, side].max() > 0.04
    assert np.linalg.norm(np.diff(after[:, TOES], axis=0), axis=-1).max() < 0.04


def swung(skeleton, frames: int, ahead_m, side: str = "left"):
    """Somebody who stands, and of whom the pose has one foot so far ahead [m], (frames,), by its straight leg."""
    rotations, roots = standing(skeleton, frames)
    leg_m = np.linalg.norm(
        skeleton.offsets_m[[JOINT_INDEX[f"{side}_{part}"] for part in ("knee", "ankle")]], axis=1
    ).sum()
    angles = np.arcsin(np.asarray(ahead_m) / leg_m)
    rotations[:, JOINT_INDEX[f"{side}_hip"]] = rotvec(np.stack([angles, 0 * angles, 0 * angles], axis=1))
    return rotations, roots


def way_of_toes(skeleton, ground, rotations, roots, contacts, head_m_s: float):
    """(T - 1, 2) how far toes go along the floor from sample to sample [m], and (T, 2, 3) where they are shown."""
    feet = Feet(skeleton, ground)
    out = [
        feet.at(i * FRAME_NS, *pose, False, head_m_s)
        for i, pose in enumerate(zip(rotations, roots, contacts, strict=True))
    ]
    toes = forward_kinematics(skeleton.offsets_m, np.stack(out), roots)[0][:, TOES]
    return np.linalg.norm(np.diff(toes, axis=0)[..., [0, 2]], axis=-1), toes


def test_a_guess_of_contact_that_wavers_moves_no_foot(skeleton, ground):
    """The network says for a moment that a foot swings, while the pose has it 6 cm from where it was planted."""
    rotations, roots = swung(skeleton, 90, 0.06 * np.sin(np.linspace(0.0, np.pi, 90)))
    contacts = np.ones((90, 2), bool)
    contacts[30:60, 0] = False
    way, _ = way_of_toes(skeleton, ground, rotations, roots, contacts, head_m_s=1.2)
    assert way[10:].sum(axis=0).max() < 0.005


@pytest.mark.parametrize(("head_m_s", "stays"), [(0.4, True), (1.6, False)])
def test_one_foot_of_who_walks_slowly_stands(skeleton, ground, head_m_s: float, stays: bool):
    """The right foot is in the air when the network says that the left one leaves, too."""
    ahead_m = 0.2 * np.clip(np.linspace(-1.0, 1.5, 90), 0.0, 1.0)
    rotations, roots = swung(skeleton, 90, ahead_m)
    knee = JOINT_INDEX["right_knee"]
    rotations[:, knee] = rotvec([[-1.2, 0.0, 0.0]])[0]
    contacts = np.zeros((90, 2), bool)
    contacts[:30, 0] = True
    way, _ = way_of_toes(skeleton, ground, rotations, roots, contacts, head_m_s)
    assert (way[10:, 0].sum() < 0.01) == stays


def test_a_foot_in_the_air_is_led_and_stops_within_two_samples(skeleton, ground):
    """The pose is late by its smoothing; a foot that stops at once would be a jerk of the whole leg."""
    speed_m_s = 2.0
    ahead_m = np.clip(speed_m_s * (np.arange(60) - 20) / RATE_HZ, 0.0, None)[:40]
    rotations, roots = swung(skeleton, 40, ahead_m - 0.2)
    rotations[:, JOINT_INDEX["left_knee"]] = rotvec([[-0.6, 0.0, 0.0]])[0]
    contacts = np.zeros((40, 2), bool)
    contacts[:, 1], contacts[36:, 0] = True, True
    way, toes = way_of_toes(skeleton, ground, rotations, roots, contacts, head_m_s=1.6)
    free = forward_kinematics(skeleton.offsets_m, rotations, roots)[0][:, TOES]
    led = free[:, 0, 2] - toes[:, 0, 2]
    assert abs(led[15]) < 1e-6 and 0.01 < led[35] < 0.03
    assert way[34, 0] > 0.015 and way[36, 0] < 0.002
    assert way[35, 0] == pytest.approx(0.5 * way[34, 0], rel=0.2)


def test_a_guess_that_sways_moves_no_foot_of_a_still_head(skeleton, ground):
    rotations, roots = standing(skeleton, 180)
    sway = 0.15 * np.sin(np.arange(180) / 15.0)
    for hip in ("left_hip", "right_hip"):
        rotations[:, JOINT_INDEX[hip]] = rotvec(np.stack([sway, 0 * sway, 0 * sway], axis=1))
    _, (after, _) = stepped(skeleton, ground, rotations, roots - (0, 0.1, 0), np.ones((180, 2), bool), still=True)
    before, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    assert np.ptp(before[:, TOES, 2], axis=0).min() > 0.15
    assert np.ptp(after[90:, TOES, 2], axis=0).max() < 0.02


@pytest.mark.parametrize("lower_m", [0.08, 0.3])
def test_soles_knees_and_thighs_stay_above_the_floor(skeleton, ground, lower_m: float):
    rotations, roots, stands = walk(2.0)
    roots = roots - (0.0, lower_m, 0.0)
    _, (after, world) = stepped(skeleton, ground, rotations, roots, np.zeros_like(stands))
    for part in ("left_foot", "right_foot", "left_leg", "right_leg"):
        low = [ground.lowest_m(part, rows) for rows in rows_of(after, world)]
        assert min(low) > -DEEP_M, part


def test_a_person_known_better_stands_where_the_one_before_stood(skeleton, ground):
    rotations, roots = standing(skeleton, 60)
    feet = Feet(skeleton, ground)
    for i in range(60):
        last = feet.at(i * FRAME_NS, rotations[i], roots[i] - (0.0, 0.02, 0.0), np.ones(2, bool))
    before, _ = forward_kinematics(skeleton.offsets_m, last, roots[0] - (0.0, 0.02, 0.0))
    taller = fitted_skeleton(1.62)
    feet.skeleton = taller
    feet.set_person(taller, BodyGround(taller))
    root = roots[0] - (0.03, 0.0, 0.0)
    after, _ = forward_kinematics(taller.offsets_m, feet.at(60 * FRAME_NS, rotations[0], root, np.ones(2, bool)), root)
    assert np.linalg.norm((after - before)[TOES][:, [0, 2]], axis=1).max() < 0.01


def test_another_movement_lets_go(skeleton, ground):
    feet = Feet(skeleton, ground)
    pose, root = np.tile(np.eye(3), (22, 1, 1)), np.array([0.0, skeleton.pelvis_height_m + 0.1, 0.0])
    for i in range(5):
        feet.at(i * FRAME_NS, pose, root - (0.0, 0.0, 0.005 * i), np.ones(2, bool))
    far = feet.at(10**10, pose, root + (5.0, 0.0, 0.0), np.zeros(2, bool))
    moved = forward_kinematics(skeleton.offsets_m, far, root)[0] - forward_kinematics(skeleton.offsets_m, pose, root)[0]
    assert np.abs(moved[TOES]).max() < 1e-3


def test_the_chosen_points_of_the_skin_are_its_lowest(skeleton, ground):
    rotations, roots, _ = walk(1.0)
    positions, world = forward_kinematics(skeleton.offsets_m, rotations, roots)
    exact = SkinHeights(skeleton).lowest_m(positions, world)
    parts = ("left_foot", "right_foot", "left_leg", "right_leg", "seat")
    found = [min(ground.lowest_m(part, rows) for part in parts) for rows in rows_of(positions, world)]
    np.testing.assert_allclose(found, exact, atol=0.004)


@pytest.mark.parametrize("head_m", [0.95, 1.9])
def test_they_are_also_of_people_of_other_sizes(head_m):
    """They are chosen once, of the body in its own proportions."""
    other = fitted_skeleton(head_m)
    rotations, roots, _ = walk(1.0)
    roots = roots * (other.pelvis_height_m / roots[0, 1])
    positions, world = forward_kinematics(other.offsets_m, rotations, roots)
    exact, ground = SkinHeights(other).lowest_m(positions, world), BodyGround(other)
    parts = ("left_foot", "right_foot", "left_leg", "right_leg", "seat")
    found = [min(ground.lowest_m(part, rows) for part in parts) for rows in rows_of(positions, world)]
    np.testing.assert_allclose(found, exact, atol=0.004)


def test_an_elbow_does_not_jump_about_the_line_from_shoulder_to_wrist(skeleton):
    """The arm is bent, and from one pose to the next turned by half a turn about that line."""
    rotations = np.tile(np.eye(3), (2, 22, 1, 1))
    elbow, shoulder, wrist = (JOINT_INDEX[f"right_{part}"] for part in ("elbow", "shoulder", "wrist"))
    rotations[:, elbow] = rotvec([[0.0, 1.2, 0.0]])[0]
    before, world = forward_kinematics(skeleton.offsets_m, rotations[0], np.zeros(3))
    line = before[wrist] - before[shoulder]
    rotations[1, shoulder] = rotvec([2.5 * line / np.linalg.norm(line)])[0]
    jumped = forward_kinematics(skeleton.offsets_m, rotations[1], np.zeros(3))
    limiter = SwivelLimiter(ARM_HINGES)
    first = rotations[0]
    assert limiter.step(first, before, world, 0.02) is first
    out = limiter.step(rotations[1], *jumped, 0.02)
    after, turned = forward_kinematics(skeleton.offsets_m, out, np.zeros(3))
    assert np.linalg.norm(jumped[0][elbow] - before[elbow]) > 0.2
    assert 0.015 < np.linalg.norm(after[elbow] - before[elbow]) < 0.021
    np.testing.assert_allclose(after[wrist], before[wrist], atol=1e-9)
    np.testing.assert_allclose(turned[wrist], jumped[1][wrist], atol=1e-9)


def test_bad_input_is_refused(skeleton, ground):
    tick = ClockGate().step(0)
    with pytest.raises(InputError, match="22, 3, 3"):
        Footwork(skeleton, ground).step(
            tick, np.zeros((21, 3, 3)), np.zeros((22, 3)), np.zeros((22, 3, 3)), np.zeros(2, bool)
        )
    with pytest.raises(ConfigurationError, match="release_s"):
        FootworkConfig(release_s=-1.0)
