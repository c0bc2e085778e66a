"""The smoother against closed forms: a step, a steady turn, noise, and pauses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError
from bodystream.pose.smoothing import PoseSmoother, SmoothingConfig
from bodystream.timing import ClockGate
from bodystream.types import Array

STEP_NS = 10_000_000


class Smoother(PoseSmoother):
    """With the gate that the estimator has."""

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        super().__init__(config)
        self.gate = ClockGate()

    def at(self, t_ns: int, rotations: Array) -> Array:
        return self.step(self.gate.step(t_ns), rotations)


def test_a_step_is_approached_as_a_first_order_low_pass_does() -> None:
    smoother = Smoother(SmoothingConfig(rest_hz=2.0, opening=0.0))
    smoother.at(0, np.eye(3)[None])
    target = Rotation.from_euler("z", 0.5).as_matrix()[None]
    for k in range(1, 21):
        got = smoother.at(k * STEP_NS, target)
    left = 0.5 - Rotation.from_matrix(got[0]).as_rotvec()[2]
    assert left == pytest.approx(0.5 * np.exp(-2 * np.pi * 2.0 * 0.2), rel=1e-6)


def test_a_steady_turn_through_half_a_circle_has_a_bounded_lag_and_no_flip() -> None:
    smoother, lags = Smoother(), []
    for k in range(200):
        angle = 2.0 * k * 0.01
        got = smoother.at(k * STEP_NS, Rotation.from_euler("y", angle).as_matrix()[None])
        lags.append(np.linalg.norm((Rotation.from_matrix(got[0]).inv() * Rotation.from_euler("y", angle)).as_rotvec()))
    # at 2 rad/s the cutoff is 2 + 0.5 * 2 = 3 Hz, whose lag is speed / (2 pi cutoff)
    assert lags[-1] == pytest.approx(2.0 / (2 * np.pi * 3.0), rel=0.15)
    assert max(lags) < 0.2


def test_noise_is_damped_and_the_mean_kept() -> None:
    rng, smoother = np.random.default_rng(0), Smoother()
    raw, smooth = [], []
    for k in range(600):
        vector = np.array([0.3, -0.2, 0.1]) + rng.normal(0, 0.02, 3)
        raw.append(vector)
        got = smoother.at(k * STEP_NS, Rotation.from_rotvec(vector).as_matrix()[None])
        smooth.append(Rotation.from_matrix(got[0]).as_rotvec())
    raw, smooth = np.array(raw[100:]), np.array(smooth[100:])
    assert np.diff(smooth, axis=0).std() < 0.25 * np.diff(raw, axis=0).std()
    np.testing.assert_allclose(smooth.mean(0), raw.mean(0), atol=2e-3)


@pytest.mark.parametrize("t_ns", [-1, 0, 600_000_000])
def test_time_that_does_not_go_on_begins_anew(t_ns: int) -> None:
    smoother = Smoother()
    smoother.at(0, np.eye(3)[None])
    turned = Rotation.from_euler("x", 1.0).as_matrix()[None]
    np.testing.assert_allclose(smoother.at(t_ns, turned), turned)


def test_results_are_rotations_and_not_shared() -> None:
    smoother = Smoother()
    rotations = Rotation.random(22, random_state=1).as_matrix()
    first = smoother.at(0, rotations)
    first[:] = 0.0
    second = smoother.at(STEP_NS, rotations)
    np.testing.assert_allclose(second @ np.swapaxes(second, 1, 2), np.tile(np.eye(3), (22, 1, 1)), atol=1e-12)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rest_hz"):
        SmoothingConfig(rest_hz=float("nan"))
