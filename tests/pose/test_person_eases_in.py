"""A person who is known better: the body comes to the new lengths within half a second, and never jumps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.easing import KnownPerson, PersonEaser
from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
from bodystream.pose.ground import BodyGround
from bodystream.pose.observation import joints_of_sample
from helpers.drive_parts import ESTIMATOR, samples_of, t_pose

SHORT, TALL = fitted_skeleton(1.45), fitted_skeleton(1.7, arm_factor=1.1)


def still(seconds: float = 1.5):
    return samples_of(t_pose(seconds, head_m=1.6, arm_factor=1.0))


def test_lengths_go_there_evenly_and_end_there() -> None:
    ease = PersonEaser(KnownPerson(SHORT, None), KnownPerson(TALL, None), 0.5)
    statures = [ease.step(1.0 / 90.0).skeleton.stature_m for _ in range(45)]
    assert ease.step(1.0 / 90.0) is ease.end and ease.end.skeleton is TALL
    steps = np.diff([SHORT.stature_m, *statures])
    assert (steps > 0.0).all() and steps.max() < 1.6 * steps.mean()
    assert steps[0] < 0.2 * steps.max() and steps[-1] < 0.2 * steps.max()


def test_soles_are_those_of_somebody_on_the_way() -> None:
    first, last, between = BodyGround(SHORT), fitted_skeleton(1.7), fitted_skeleton(1.575)
    half = first.towards(BodyGround(last), 0.5)
    turns = np.tile(np.eye(3), (22, 1, 1))
    joints, world = forward_kinematics(between.offsets_m, turns, np.array([0.0, between.pelvis_height_m, 0.0]))
    rows = np.concatenate([world[:, 1, :], joints[:, 1:2]], axis=-1).reshape(-1)
    for part in ("seat", "left_foot", "right_foot", "left_leg"):
        assert half.lowest_m(part, rows) == pytest.approx(BodyGround(between).lowest_m(part, rows), abs=1e-3), part


@pytest.mark.parametrize(("start", "end"), [(SHORT, TALL), (TALL, SHORT)], ids=["taller", "shorter"])
def test_the_body_comes_to_the_new_lengths_without_a_jump(start: Skeleton, end: Skeleton) -> None:
    samples = still()
    stage = PoseEstimator(start, ESTIMATOR)
    statures, joints = [], []
    for number, sample in enumerate(samples):
        if number == 45:
            stage.ease_person(stage.known_person(end))
        stage.step(sample)
        statures.append(stage.skeleton.stature_m)
        joints.append(stage.joints_m.copy())
    assert statures[44] == start.stature_m and stage.skeleton is end
    came = statures.index(end.stature_m)
    assert came - 44 == pytest.approx(45, abs=1) and len(set(statures)) == came - 43, (
        "in each of half a second's samples"
    )
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)[20:]
    elbows = [JOINT_INDEX[f"{side}_elbow"] for side in ("left", "right")]
    assert np.delete(steps, elbows, axis=1).max() < 0.025 and steps.max() < 0.04, "arms are straight, elbows give way"
    wanted = joints_of_sample(samples[0]).positions_m
    met = np.linalg.norm(np.array(joints)[20:, [HEAD, LEFT_HAND, RIGHT_HAND]] - wanted, axis=-1)
    assert met[:, 0].max() < 0.01, "the head is met all the while, as far as short arms let it"
    at_once = PoseEstimator(start, replace(ESTIMATOR, person_s=0.0))
    jumped = []
    for number, sample in enumerate(samples[:60]):
        if number == 45:
            at_once.ease_person(at_once.known_person(end))
        at_once.step(sample)
        jumped.append(at_once.joints_m.copy())
    assert np.linalg.norm(np.diff(jumped, axis=0), axis=-1).max(axis=1)[44] > 0.1, "so that the other figures say much"


def test_after_a_jump_of_the_view_nothing_is_eased() -> None:
    stage, samples = PoseEstimator(SHORT, ESTIMATOR), still(0.3)
    stage.step(samples[0])
    stage.ease_person(stage.known_person(TALL))
    stage.forget_past()
    stage.step(samples[1])
    assert stage.skeleton is TALL


def test_without_a_head_lengths_wait_as_the_pose_does() -> None:
    stage, samples = PoseEstimator(SHORT, ESTIMATOR), still(0.5)
    for sample in samples[:5]:
        stage.step(sample)
    stage.ease_person(stage.known_person(TALL))
    held = [stage.step(replace(sample, head=None)) for sample in samples[5:15]]
    assert stage.skeleton is SHORT
    np.testing.assert_array_equal(held[0].root_position_m, held[-1].root_position_m)
    stage.step(samples[15])
    assert SHORT.stature_m < stage.skeleton.stature_m < TALL.stature_m


def test_somebody_whom_the_shipped_body_cannot_be_is_come_to_as_well() -> None:
    offsets = TALL.offsets_m.copy()
    offsets[[4, 5]] *= -1.0  # knees above the hips
    odd, samples = Skeleton(offsets), still(1.0)
    stage = PoseEstimator(SHORT, ESTIMATOR)
    stage.step(samples[0])
    person = stage.known_person(odd)
    assert person.ground is None
    stage.ease_person(person)
    for sample in samples[1:]:
        stage.step(sample)
    assert stage.skeleton is odd


@pytest.mark.parametrize("seconds", [-0.1, 11.0, float("nan")])
def test_a_time_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="within 0 to 10 s"):
        EstimatorConfig(person_s=seconds)
