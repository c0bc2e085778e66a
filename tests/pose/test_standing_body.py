"""What users do with a headset on: the body stands, crouches, sits, kneels, lies and climbs without going through the
floor, sliding its feet or losing head and hands. The network is one that says that everybody stands upright."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.skin_heights import SkinHeights
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.estimator import PoseEstimator
from bodystream.pose.features import POSE_SIZE, FeatureConfig
from bodystream.pose.limits import violations
from bodystream.pose.observation import JointTargets
from bodystream.pose.sampler import Samples

RATE_HZ = 90
DEEPEST_M = -0.01
LARGEST_STEP_M = 0.04
MET_M, MET_RAD = 0.005, np.radians(2.0)
TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
SEEN = [HEAD, LEFT_HAND, RIGHT_HAND]
HINGES = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "knee")]


class Upright:
    """Says that everybody stands with hanging arms, sure of the feet; `wander_m` lets the legs sway as guesses do."""

    def __init__(self, wander_rad: float = 0.0) -> None:
        self.features = FeatureConfig()
        self._wander = wander_rad
        self._count = 0

    def set_person(self, skeleton: Skeleton) -> None:
        pass

    def step(self, observation: np.ndarray) -> Samples:
        self._count += 1
        vectors = np.zeros((1, len(JOINTS), 3), np.float32)
        vectors[:, JOINT_INDEX["left_shoulder"], 2] = 1.3
        vectors[:, JOINT_INDEX["right_shoulder"], 2] = -1.3
        sway = self._wander * np.sin(2.0 * np.pi * self._count / (2.5 * RATE_HZ))
        vectors[:, JOINT_INDEX["left_hip"]] = (sway, 0.0, 0.5 * sway)
        vectors[:, JOINT_INDEX["right_hip"]] = (-sway, 0.0, 0.5 * sway)
        score, spread = np.zeros(1, np.float32), np.ones(POSE_SIZE, np.float32)
        return Samples(vectors.reshape(1, POSE_SIZE), score, spread, np.array([0.9, 0.9], np.float32))


@cache
def skin(head_m: float) -> SkinHeights:
    return SkinHeights(fitted_skeleton(head_m))


def ramp(start: float, end: float, seconds: float) -> np.ndarray:
    """From one value to another as somebody moves: softly."""
    along = np.linspace(0.0, 1.0, round(seconds * RATE_HZ))
    return start + (end - start) * along * along * (3.0 - 2.0 * along)


class Driven:
    """The poses of a head that goes along heights, with hands beside it."""

    def __init__(
        self,
        heights_m: np.ndarray,
        person_m: float = 1.55,
        pitch_rad: np.ndarray | float = 0.0,
        ahead_m: np.ndarray | float = 0.0,
        hands_below_m: float = 0.4,
        wander_rad: float = 0.0,
    ) -> None:
        skeleton = fitted_skeleton(person_m)
        stage = PoseEstimator(skeleton, sampler=Upright(wander_rad))
        count = len(heights_m)
        pitches, ahead = np.broadcast_to(pitch_rad, count), np.broadcast_to(ahead_m, count)
        poses, roots, seen, turns = [], [], [], []
        for k in range(count):
            head = np.array([0.0, heights_m[k], -ahead[k]])
            turn = Rotation.from_euler("x", pitches[k]).as_matrix()
            low = max(heights_m[k] - hands_below_m, 0.22)  # the fingers hang
            hands = [head * (1, 0, 1) + (side * 0.25, low, -0.2) for side in (-1.0, 1.0)]
            hang = [Rotation.from_euler("z", -side * 1.3).as_matrix() for side in (-1.0, 1.0)]
            targets = JointTargets(
                round(k * 1e9 / RATE_HZ), np.array([head, *hands]), np.array([turn, *hang]), np.ones(3, bool)
            )
            stage.pose(targets)
            poses.append(stage._last.rotations)
            roots.append(stage._last.root)
            seen.append(targets.positions_m)
            turns.append(targets.rotations)
        self.rotations = np.array(poses)
        self.joints, self.world = forward_kinematics(skeleton.offsets_m, self.rotations, np.array(roots))
        self.lowest_m = skin(person_m).lowest_m(self.joints, self.world)
        self.missed_m = np.linalg.norm(self.joints[:, SEEN] - np.array(seen), axis=-1)
        chord = np.linalg.norm(self.world[:, SEEN] - np.array(turns), axis=(-2, -1))
        self.missed_rad = 2.0 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0))

    @property
    def steps_m(self) -> np.ndarray:
        return np.linalg.norm(np.diff(self.joints, axis=0), axis=-1).max(axis=1)

    def paths_m_per_minute(self) -> np.ndarray:
        step = np.diff(self.joints[:, TOES], axis=0)
        return np.hypot(step[..., 0], step[..., 2]).sum(axis=0) * 60.0 * RATE_HZ / len(step)


CASES = {
    "crouches": dict(heights_m=np.concatenate([ramp(1.55, 0.5, 2.8), ramp(0.5, 1.55, 2.8)])),
    "sits on the floor": dict(heights_m=np.concatenate([ramp(1.55, 0.78, 2.0), np.full(45, 0.78)])),
    "kneels": dict(heights_m=np.concatenate([ramp(1.55, 1.05, 1.5), np.full(45, 1.05)])),
    "lies": dict(heights_m=ramp(1.55, 0.28, 4.0), pitch_rad=ramp(0.0, 1.5, 4.0), ahead_m=ramp(0.0, -0.8, 4.0)),
    "climbs a step": dict(heights_m=ramp(1.55, 1.75, 1.5), ahead_m=ramp(0.0, 0.4, 1.5)),
    "a child": dict(heights_m=ramp(0.95, 0.7, 1.5), person_m=0.95),
    "a floor 10 cm too high": dict(heights_m=1.45 + 0.01 * np.sin(np.arange(180) / 30.0)),
    "a floor 10 cm too low": dict(heights_m=1.65 + 0.01 * np.sin(np.arange(180) / 30.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_skin_stays_above_the_floor_and_head_and_hands_are_met(name: str):
    driven = Driven(**CASES[name])
    assert np.percentile(driven.lowest_m, 1.0) >= DEEPEST_M
    # Hands may be out of reach of who lies down or leans far: the head never is.
    assert driven.missed_m[:, 0].max() <= MET_M and driven.missed_rad[:, 0].max() <= MET_RAD
    assert np.degrees(violations(driven.rotations)[:, HINGES]).max() <= 5.0


@pytest.mark.parametrize("name", ["kneels", "a child", "a floor 10 cm too high", "a floor 10 cm too low"])
def test_hands_are_met_while_the_body_stands_or_bends(name: str):
    driven = Driven(**CASES[name])
    assert driven.missed_m.max() <= MET_M and driven.missed_rad.max() <= MET_RAD


@pytest.mark.parametrize("name", CASES)
def test_no_joint_jumps_where_head_and_hands_move_little(name: str):
    driven = Driven(**CASES[name])
    still = np.linalg.norm(np.diff(driven.joints[:, SEEN], axis=0), axis=-1).max(axis=1) < 0.02
    assert driven.steps_m[still].max() <= LARGEST_STEP_M


def test_feet_of_a_still_head_stay_where_they_are_however_the_guess_sways():
    driven = Driven(1.55 + 0.002 * np.sin(np.arange(600) / 7.0), wander_rad=0.12)
    assert driven.paths_m_per_minute().max() <= 0.2


def test_a_head_that_is_upside_down_for_a_moment_leaves_a_body():
    pitch = np.zeros(120)
    pitch[60:65] = np.pi
    driven = Driven(np.full(120, 1.55), pitch_rad=pitch)
    assert np.isfinite(driven.joints).all()
    assert driven.lowest_m[-20:].min() >= DEEPEST_M and driven.lowest_m[:55].min() >= DEEPEST_M
    np.testing.assert_allclose(driven.joints[-1, HEAD], driven.joints[50, HEAD], atol=MET_M)
