"""The past of head and hands: what it says of a motion that is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.pose.features import FeatureConfig, heading_rotation
from bodystream.pose.observation import History, JointTargets
from bodystream.types import Array

STATURE_M = 1.5
CONFIG = FeatureConfig()
VELOCITY = np.array([[0.3, 0.1, -0.9], [0.5, -0.4, -0.2], [-0.7, 0.2, -1.1]])  # of head, left and right wrist [m/s]
START = np.array([[0.1, 1.5, 0.2], [-0.3, 1.1, -0.2], [0.4, 1.0, -0.3]])
EXACT = 1e-9  # statures: times are whole nanoseconds


def at(seconds: float, tracked: tuple[bool, bool, bool] = (True, True, True), yaw: float = 0.4) -> JointTargets:
    """Constant velocities, and a head that keeps looking the same way."""
    turn = Rotation.from_euler("YX", (yaw, 0.2)).as_matrix()
    return JointTargets(round(seconds * 1e9), START + VELOCITY * seconds, np.tile(turn, (3, 1, 1)), np.array(tracked))


def changes(x: Array) -> Array:
    """(3, A - 1, 9) changes since the earlier states."""
    return x[:, 10:].reshape(3, len(CONFIG.history_s), 9)


def filled(count: int, rate_hz: float = 90.0, first: int = 0) -> History:
    history = History(CONFIG)
    for k in range(first, first + count):
        history.add(at(k / rate_hz))
    return history


def expected_changes(ages_s: Array) -> Array:
    """(3, A - 1, 3) of positions [statures], in the frame of the heading."""
    heading = heading_rotation(at(0.0).rotations[0])
    return -ages_s[None, :, None] * (VELOCITY @ heading)[:, None] / STATURE_M


@pytest.mark.parametrize("rate_hz", [90.0, 72.0, 60.0, 37.0])
def test_between_samples_it_interpolates(rate_hz: float) -> None:
    """Ages are of 60 Hz; whatever the headset's rate, constant velocity is seen exactly."""
    x, heading = filled(120, rate_hz).features(STATURE_M)
    np.testing.assert_allclose(changes(x)[..., :3], expected_changes(np.array(CONFIG.history_s)), atol=EXACT)
    np.testing.assert_allclose(changes(x)[..., 3:], 0.0, atol=EXACT)
    np.testing.assert_allclose(heading, Rotation.from_euler("y", 0.4).as_matrix(), atol=1e-12)
    np.testing.assert_array_equal(x[:, 9], 1.0)


def test_irregular_samples_make_no_difference() -> None:
    history = History(CONFIG)
    rng = np.random.default_rng(0)
    for seconds in np.cumsum(rng.uniform(0.003, 0.03, 150)):
        history.add(at(float(seconds)))
    x, _ = history.features(STATURE_M)
    np.testing.assert_allclose(changes(x)[..., :3], expected_changes(np.array(CONFIG.history_s)), atol=1e-8)


@pytest.mark.parametrize("count", [255, 256, 257, 383, 384, 385, 1000])
def test_a_full_buffer_loses_nothing_that_is_asked_for(count: int) -> None:
    long, short = filled(count), filled(60, first=count - 60)
    np.testing.assert_allclose(long.features(STATURE_M)[0], short.features(STATURE_M)[0], atol=EXACT)


def test_a_fresh_start_takes_the_oldest_state_for_the_past() -> None:
    history = History(CONFIG)
    history.add(at(0.0))
    x, _ = history.features(STATURE_M)
    assert np.isfinite(x).all() and not changes(x).any() and x[:, 9].all()
    for k in range(1, 10):  # 0.1 s of past
        history.add(at(k / 90))
    x, _ = history.features(STATURE_M)
    known = np.minimum(CONFIG.history_s, 0.1)
    np.testing.assert_allclose(changes(x)[..., :3], expected_changes(known), atol=1e-8)


def test_after_clear_nothing_of_before_is_seen() -> None:
    history = filled(100)
    history.clear()
    history.add(at(500 / 90))
    fresh = History(CONFIG)
    fresh.add(at(500 / 90))
    np.testing.assert_array_equal(history.features(STATURE_M)[0], fresh.features(STATURE_M)[0])


@pytest.mark.parametrize(
    ("lost", "known"),
    [
        (range(93, 98), 3),  # 24 samples ago is within the gap, and what is older is hidden with it
        (range(50, 75), 4),
        (range(100, 105), 5),  # between two ages: each state that is asked for was seen
        (range(116, 117), 0),
        (range(0), 5),
    ],
)
def test_a_gap_of_a_hand_hides_what_is_older(lost: range, known: int) -> None:
    """Training shows pasts that end somewhere, never ones with a hole."""
    history = History(CONFIG)
    for k in range(120):
        history.add(at(k / 90, (True, k not in lost, True)))
    x, _ = history.features(STATURE_M)
    whole, _ = filled(120).features(STATURE_M)
    np.testing.assert_allclose(changes(x)[1, :known], changes(whole)[1, :known], atol=EXACT)
    assert not changes(x)[1, known:].any()
    assert x[1, 9] == 1.0
    np.testing.assert_allclose(x[[0, 2]], whole[[0, 2]], atol=EXACT)  # the others do not notice


def test_a_state_is_not_interpolated_from_one_that_was_not_seen() -> None:
    """The values of a lost sample mean nothing, so they must not reach into the time beside it."""
    history = History(FeatureConfig((2.5 / 90,)))
    for k in range(10):
        tracked = (True, k != 6, True)
        target = at(k / 90, tracked)
        if k == 6:
            target.positions_m[1] = 1e6
        history.add(target)
    x, _ = history.features(STATURE_M)  # newest is 9: the age lies between 6 and 7
    assert not x[1, 10:].any() and np.abs(x[0, 10:13]).max() > 0


def test_a_hand_that_is_lost_now_is_zeros_and_begins_anew_when_it_returns() -> None:
    history = filled(60)
    for k in range(60, 120):
        history.add(at(k / 90, (True, False, True)))
    x, _ = history.features(STATURE_M)
    assert not x[1].any()
    history.add(at(120 / 90))
    x, _ = history.features(STATURE_M)
    assert x[1, 9] == 1.0 and not changes(x)[1].any()
    np.testing.assert_allclose(x[1, :9], filled(121).features(STATURE_M)[0][1, :9], atol=EXACT)


def test_the_heading_is_the_newest_heads() -> None:
    history = History(CONFIG)
    for k in range(50):
        history.add(at(k / 90, yaw=0.02 * k))
    x, heading = history.features(STATURE_M)
    np.testing.assert_allclose(heading, Rotation.from_euler("y", 0.98).as_matrix(), atol=1e-12)
    # turning on the spot is seen as a change of orientation
    turn = Rotation.from_euler("y", -0.02 * 90 * CONFIG.history_s[0]).as_matrix()
    now = Rotation.from_euler("x", 0.2).as_matrix()
    columns = np.concatenate([(turn @ now - now)[:, 0], (turn @ now - now)[:, 1]])
    np.testing.assert_allclose(changes(x)[0, 0, 3:], columns, atol=2e-4)
