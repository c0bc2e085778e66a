"""Prediction: closed-form motions, damping, gaps, clocks that jump, bad input."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError
from bodystream.pose.prediction import PosePredictor, PredictionConfig
from bodystream.types import BodyPose, Status

MS = 1_000_000
AXES = np.random.default_rng(3).normal(0.0, 1.5, (22, 3))  # [rad/s]
START = Rotation.from_rotvec(np.random.default_rng(4).normal(0.0, 1.0, (22, 3)))


def turning(t_s: float, **kwargs) -> BodyPose:
    """Every joint turns at a constant rate in its own frame, the root moves at constant velocity."""
    rotations = (START * Rotation.from_rotvec(AXES * t_s)).as_quat(canonical=True)
    root = np.array([1.0, 0.9, -2.0]) + np.array([0.5, 0.1, -1.2]) * t_s
    return BodyPose(round(t_s * 1e9), rotations.astype(np.float32), root.astype(np.float32), **kwargs)


def apart_rad(a: BodyPose, b: BodyPose) -> float:
    between = Rotation.from_quat(a.rotations_xyzw).inv() * Rotation.from_quat(b.rotations_xyzw)
    return float(between.magnitude().max())


def filled(config: PredictionConfig | None = None, last: int = 20) -> PosePredictor:
    predictor = PosePredictor(config)
    for i in range(last + 1):
        predictor.push(turning(i / 90))
    return predictor


def test_interpolation_of_constant_velocity_is_exact():
    predictor = filled()
    for t_s in np.linspace(6 / 90, 20 / 90, 37):
        pose = predictor.pose_at(round(t_s * 1e9))
        assert apart_rad(pose, turning(t_s)) < 1e-5
        np.testing.assert_allclose(pose.root_position_m, turning(t_s).root_position_m, atol=1e-6)


def test_undamped_extrapolation_of_constant_velocity_is_exact():
    predictor = filled(PredictionConfig(damping_s=np.inf))
    for ahead_s in (0.001, 0.011, 0.05, 0.0999):
        pose = predictor.pose_at(round((20 / 90 + ahead_s) * 1e9))
        truth = turning(20 / 90 + ahead_s)
        assert apart_rad(pose, truth) < 2e-5
        np.testing.assert_allclose(pose.root_position_m, truth.root_position_m, atol=3e-6)
        assert pose.t_ns == turning(20 / 90).t_ns  # what it was computed from


def test_damping_follows_the_closed_form_and_stops_at_the_longest_time():
    config = PredictionConfig(damping_s=0.05)
    predictor = filled(config)
    newest = turning(20 / 90)
    speed = np.array([0.5, 0.1, -1.2])
    for ahead_s in (0.02, 0.1, 0.5, 1000.0):
        pose = predictor.pose_at(newest.t_ns + round(ahead_s * 1e9))
        faded_s = 0.05 * (1.0 - np.exp(-min(ahead_s, 0.1) / 0.05))
        np.testing.assert_allclose(pose.root_position_m - newest.root_position_m, speed * faded_s, atol=2e-6)
        assert apart_rad(pose, turning(20 / 90 + faded_s)) < 2e-5
    assert predictor.data_age_s(newest.t_ns + 250 * MS) == pytest.approx(0.25)
    assert predictor.data_age_s(newest.t_ns - 250 * MS) == 0.0


def test_prediction_is_nearer_than_holding_on_a_swing():
    """A hip that swings as in walking, 20 ms ahead."""
    predictor = PosePredictor()
    held, predicted = [], []
    for i in range(180):
        predictor.push(swing(i / 90))
        if i > 5:
            truth = swing(i / 90 + 0.02)
            held.append(apart_rad(swing(i / 90), truth))
            predicted.append(apart_rad(predictor.pose_at(truth.t_ns), truth))
    assert np.mean(predicted) < 0.5 * np.mean(held)


def swing(t_s: float) -> BodyPose:
    vectors = np.zeros((22, 3))
    vectors[1, 0] = 0.5 * np.sin(2.0 * np.pi * t_s)
    q = Rotation.from_rotvec(vectors).as_quat(canonical=True).astype(np.float32)
    return BodyPose(round(t_s * 1e9), q, np.zeros(3, np.float32))


def test_quaternions_of_either_sign_are_the_same_rotation():
    flipped = turning(1 / 90)
    predictor = PosePredictor(PredictionConfig(damping_s=np.inf, baseline_s=0.001))
    predictor.push(turning(0.0))
    predictor.push(BodyPose(flipped.t_ns, -flipped.rotations_xyzw, flipped.root_position_m))
    assert apart_rad(predictor.pose_at(round(1e9 * 2 / 90)), turning(2 / 90)) < 1e-4
    assert apart_rad(predictor.pose_at(round(1e9 * 0.5 / 90)), turning(0.5 / 90)) < 1e-5


def test_no_velocity_is_taken_across_a_gap_or_from_a_held_pose():
    predictor = filled()
    predictor.push(turning(1.0))  # 0.78 s later
    assert predictor.pose_at(round(1.05e9)) is predictor.pose_at(round(1.0e9))
    predictor = filled()
    predictor.push(turning(21 / 90, status=Status.LOST))
    assert apart_rad(predictor.pose_at(round(0.3e9)), turning(21 / 90)) < 1e-6


def test_time_that_goes_back_is_late_or_a_new_start():
    predictor = filled()
    predictor.push(turning(19.5 / 90))
    predictor.push(turning(20 / 90))
    assert predictor.late == 2 and predictor.data_age_s(turning(20 / 90).t_ns) == 0.0
    later = PosePredictor()
    later.push(turning(100.0))
    later.push(turning(3.0))
    assert later.data_age_s(round(3.1e9)) == pytest.approx(0.1)
    assert later.pose_at(round(2e9)).t_ns == round(3e9)  # before all that is known: the oldest


def test_flags_and_status_are_kept():
    predictor = PosePredictor()
    predictor.push(turning(0.0))
    predictor.push(turning(0.1, status=Status.DEGRADED, flags=("left_lost",), reason="the left hand not tracked"))
    assert predictor.pose_at(round(0.11e9)).flags == ("left_lost",)
    assert predictor.pose_at(round(0.09e9)).status is Status.DEGRADED
    assert predictor.pose_at(round(0.01e9)).status is Status.TRACKED


def test_one_thread_may_ask_while_another_pushes():
    predictor = filled()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for i in range(2000):
                pose = predictor.pose_at(turning(20 / 90).t_ns + i * MS)
                assert np.isfinite(pose.rotations_xyzw).all()
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=ask)
    reader.start()
    for i in range(21, 200):
        predictor.push(turning(i / 90))
    reader.join()
    assert not failures


def test_beginning_anew_answers_from_what_was_until_the_next_pose():
    predictor = PosePredictor()
    predictor.reset()
    with pytest.raises(InputError, match="no pose is known"):
        predictor.pose_at(0)
    for i in range(3):
        predictor.push(turning(i / 90))
    newest = turning(2 / 90).t_ns
    predictor.reset()
    assert predictor.pose_at(newest).t_ns == newest and predictor.data_age_s(newest + 1_000_000_000) == 1.0
    predictor.push(turning(1 / 90))  # not even that is late, nor is it held against the ones before
    assert predictor.late == 0 and predictor.pose_at(newest).t_ns == turning(1 / 90).t_ns
    assert predictor.pose_at(0).t_ns == turning(1 / 90).t_ns


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no pose is known"):
        PosePredictor().pose_at(0)
    with pytest.raises(InputError, match="not finite"):
        PosePredictor().push(BodyPose(0, np.full((22, 4), np.nan, np.float32), np.zeros(3, np.float32)))
    with pytest.raises(InputError, match="shapes"):
        PosePredictor().push(BodyPose(0, np.zeros((21, 4), np.float32), np.zeros(3, np.float32)))
    with pytest.raises(ConfigurationError, match="damping_s"):
        PredictionConfig(damping_s=0.0)
    with pytest.raises(ConfigurationError, match="capacity"):
        PredictionConfig(capacity=1)
