"""Hands that are lost and return: held, let go, taken up without a jump; the head lost; bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX
from bodystream.pose.hands import HandEaser, HandEaserConfig, ReachGate
from bodystream.pose.observation import JointTargets, joints_of_sample
from bodystream.timing import ClockGate
from bodystream.types import DeviceKind, HeadsetSample, Status, TrackedDevice
from helpers.headset_motions import person

RATE_HZ = 90
TURN = Rotation.from_euler("y", 0.7)


class Easer(HandEaser):
    """With the gate and the conversion that the estimator has."""

    def __init__(self, config: HandEaserConfig | None = None) -> None:
        super().__init__(config)
        self.gate = ClockGate()

    def at(self, sample: HeadsetSample, *args, **kwargs):
        return self.step(self.gate.step(sample.t_ns), joints_of_sample(sample), *args, **kwargs)


def device(position, turn: Rotation = TURN, kind: DeviceKind = DeviceKind.JOINT) -> TrackedDevice:
    return TrackedDevice(np.asarray(position, np.float64), turn.as_quat(), kind)


def sample(i: int, *, head=True, left=True, right=True, shift=(0.0, 0.0, 0.0), left_at=(-0.3, 1.1, -0.3), turn=TURN):
    shift = np.asarray(shift)
    return HeadsetSample(
        index=i,
        t_ns=round(i * 1e9 / RATE_HZ),
        head=device(np.array([0.0, 1.6, 0.0]) + shift) if head else None,
        left=device(np.array(left_at) + shift, turn) if left else None,
        right=device(np.array([0.3, 1.1, -0.3]) + shift) if right else None,
    )


def settled(easer: Easer, frames: int = 90) -> int:
    for i in range(frames):
        easer.at(sample(i))
    return frames


def test_what_is_tracked_passes_unchanged():
    easer = Easer()
    i = settled(easer)
    eased = easer.at(sample(i, left_at=(-0.31, 1.12, -0.3)))
    assert eased.status is Status.TRACKED and eased.flags == () and eased.reason == ""
    np.testing.assert_allclose(eased.targets.positions_m[1], (-0.31, 1.12, -0.3), atol=1e-12)
    np.testing.assert_allclose(eased.targets.rotations[1], TURN.as_matrix(), atol=1e-12)
    assert eased.targets.weights.tolist() == [1.0, 1.0, 1.0]


def test_a_lost_hand_is_held_relative_to_the_body_then_let_go():
    easer = Easer(HandEaserConfig(hold_s=0.25, release_s=0.5))
    i = settled(easer)
    weights = []
    for k in range(90):
        shift = (0.01 * (k + 1), 0.0, 0.0)  # the person walks on
        eased = easer.at(sample(i + k, left=False, shift=shift))
        np.testing.assert_allclose(eased.targets.positions_m[1], np.add((-0.3, 1.1, -0.3), shift), atol=1e-9)
        assert eased.status is Status.DEGRADED and eased.flags == ("left_lost",)
        assert eased.reason == "the left hand not tracked"
        assert eased.tracked.tolist() == [True, False, True]
        weights.append(eased.targets.weights[1])
    weights = np.array(weights)
    held = np.arange(1, 91) / RATE_HZ <= 0.25
    assert np.all(weights[held] == 1.0)
    assert weights[round(0.5 * RATE_HZ)] == pytest.approx(0.5, abs=0.04)
    assert np.all(weights[np.arange(1, 91) / RATE_HZ > 0.78] == 0.0)
    assert np.abs(np.diff(weights)).max() < 1.01 / (0.5 * RATE_HZ)


@pytest.mark.parametrize("lost_frames", [3, 20, 50, 120])
def test_a_returning_hand_moves_with_bounded_speed_to_where_it_is(lost_frames):
    config = HandEaserConfig()
    easer = Easer(config)
    i = settled(easer)
    for k in range(lost_frames):
        before = easer.at(sample(i + k, left=False)).targets
    away, turned = (0.5, 1.9, 0.2), Rotation.from_rotvec([1.5, 0.3, -1.0]) * TURN
    lost_weight = before.weights[1]
    for k in range(90):
        eased = easer.at(sample(i + lost_frames + k, left_at=away, turn=turned))
        step = np.linalg.norm(eased.targets.positions_m[1] - before.positions_m[1]) * RATE_HZ
        angle = Rotation.from_matrix(eased.targets.rotations[1] @ before.rotations[1].T).magnitude() * RATE_HZ
        assert step < 1.01 * config.speed_m_s and angle < 1.01 * config.turn_rad_s
        assert eased.targets.weights[1] >= lost_weight
        lost_weight, before = eased.targets.weights[1], eased.targets
    assert eased.flags == () and eased.targets.weights[1] == 1.0
    np.testing.assert_allclose(before.positions_m[1], away, atol=1e-9)
    np.testing.assert_allclose(before.rotations[1], turned.as_matrix(), atol=1e-9)


def test_a_near_return_takes_a_quarter_of_a_second():
    easer = Easer()
    i = settled(easer)
    easer.at(sample(i, left=False))
    flags = [easer.at(sample(i + 1 + k, left_at=(-0.3, 1.15, -0.3))).flags for k in range(40)]
    assert flags[0] == ("left_eased",)
    assert flags.index(()) == pytest.approx(0.25 * RATE_HZ, abs=2)


def test_a_returning_hand_starts_where_it_was_shown():
    easer = Easer()
    i = settled(easer)
    for k in range(100):
        easer.at(sample(i + k, left=False))
    at = np.array([[-0.2, 0.9, 0.1], [0.3, 1.1, -0.3]])
    shown = (at, np.tile(np.eye(3), (2, 1, 1)))
    eased = easer.at(sample(i + 100), shown)
    assert np.linalg.norm(eased.targets.positions_m[1] - at[0]) < 0.01
    assert np.linalg.norm(eased.targets.positions_m[2] - at[1]) < 1e-9  # the right one was never lost
    assert 0.0 < eased.targets.weights[1] < 0.1


def test_hands_that_were_never_seen_have_no_weight():
    easer = Easer()
    for i in range(30):
        eased = easer.at(sample(i, left=False, right=False))
    assert eased.targets.weights.tolist() == [1.0, 0.0, 0.0]
    assert eased.flags == ("left_lost", "right_lost") and eased.status is Status.DEGRADED
    assert eased.reason == "the left hand and the right hand not tracked"
    first = easer.at(sample(30, right=False))
    assert 0.0 < first.targets.weights[1] < 0.1  # comes in gently


def test_without_a_head_all_is_held_and_then_lost():
    easer = Easer(HandEaserConfig(head_hold_s=0.5))
    i = settled(easer)
    before = easer.at(sample(i)).targets
    for k in range(90):
        eased = easer.at(sample(i + 1 + k, head=False, left_at=(5.0, 5.0, 5.0)))
        np.testing.assert_allclose(eased.targets.positions_m, before.positions_m, atol=1e-12)
        assert "head_lost" in eased.flags
        assert eased.status is (Status.LOST if (k + 1) / RATE_HZ >= 0.5 - 1e-6 else Status.DEGRADED)
    back = easer.at(sample(i + 91))
    assert back.status is Status.DEGRADED and "left_eased" in back.flags and "head_lost" not in back.flags


def test_before_the_first_head_there_is_nothing():
    eased = Easer().at(sample(0, head=False))
    assert eased.targets is None and eased.status is Status.LOST


def test_time_that_jumps_starts_anew():
    easer = Easer()
    i = settled(easer)
    easer.at(sample(i, left=False))
    back = easer.at(replace(sample(0, left_at=(-0.3, 0.7, 0.0)), t_ns=0))
    np.testing.assert_allclose(back.targets.positions_m[1], (-0.3, 0.7, 0.0), atol=1e-12)  # nothing to ease from
    ahead = easer.at(replace(sample(1, left=False), t_ns=10**12))
    assert ahead.targets.weights[1] == 0.0


def test_a_hand_out_of_reach_is_let_go_as_a_lost_one():
    easer, i = Easer(), 0
    i = settled(easer)
    far = (-3.0, 0.8, 0.0)
    for k in range(90):
        eased = easer.at(sample(i + k, left_at=far), beyond=np.array([True, False]))
        np.testing.assert_allclose(eased.targets.positions_m[1], (-0.3, 1.1, -0.3), atol=1e-9)
        assert eased.flags == ("left_out_of_reach",) and eased.status is Status.DEGRADED
        assert eased.reason == "the left hand out of reach of the body"
        assert eased.tracked.tolist() == [True, False, True]
    assert eased.targets.weights.tolist() == [1.0, 0.0, 1.0]
    back = easer.at(sample(i + 90), beyond=np.zeros(2, bool))
    assert back.flags == ("left_eased",)
    lost = easer.at(sample(i + 91, left=False), beyond=np.array([True, False]))
    assert lost.flags == ("left_lost",)


def test_reach_has_a_margin_and_does_not_flicker():
    skeleton = person()
    gate = ReachGate(skeleton)
    rest = skeleton.rest_positions_m
    arm = sum(np.linalg.norm(skeleton.offsets_m[JOINT_INDEX[f"left_{part}"]]) for part in ("elbow", "wrist"))
    reach = np.linalg.norm(rest[JOINT_INDEX["left_shoulder"]] - rest[HEAD]) + arm

    def beyond(left: float, *, head: bool = True, tracked: bool = True) -> list[bool]:
        places = np.array([[0.0, 1.6, 0.0], [-left * reach, 1.6, 0.0], [0.5 * reach, 1.6, 0.0]])
        seen = np.array([head, tracked, True])
        return gate.step(JointTargets(0, places, np.tile(np.eye(3), (3, 1, 1)), seen)).tolist()

    assert beyond(1.0) == beyond(1.15) == [False, False]
    assert beyond(1.25) == beyond(1.15) == beyond(1.11) == [True, False]
    assert beyond(3.0, head=False) == [False, False]  # nobody can tell
    assert beyond(1.15) == [True, False]
    assert beyond(1.05) == beyond(1.15) == [False, False]
    assert beyond(3.0, tracked=False) == [False, False]  # its place means nothing
    gate.set_person(skeleton.scaled(0.5))
    assert beyond(1.0) == [True, False]
    gate.reset()
    assert beyond(0.57) == [False, False]


def test_bad_input_is_refused():
    easer = Easer()
    joints = joints_of_sample(sample(0))
    joints.positions_m[2, 1] = np.nan
    with pytest.raises(InputError, match="right is tracked but its place is not finite"):
        easer.step(easer.gate.step(0), joints)
    with pytest.raises(ConfigurationError, match="hold_s"):
        HandEaserConfig(hold_s=0.0)
