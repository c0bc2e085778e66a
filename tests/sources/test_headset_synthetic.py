"""A headset made from a motion: where its devices are, its noise, its losses, its truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError
from bodystream.geometry.mounting import joint_at_device
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND, forward_kinematics
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.synthetic import MotionHeadset, TrackingLoss
from bodystream.types import DeviceKind
from helpers.headset_motions import RATE_HZ, hands_raised, walking

JOINTS = {"head": HEAD, "left": LEFT_HAND, "right": RIGHT_HAND}


@pytest.fixture(scope="module")
def clip():
    return walking(4.0)


@pytest.mark.parametrize(
    ("hands", "kind"), [("grip", DeviceKind.GRIP), ("hand", DeviceKind.HAND_WRIST), ("joint", DeviceKind.JOINT)]
)
def test_devices_lead_back_to_the_joints_of_the_truth(clip, hands, kind):
    source = MotionHeadset(clip, hands=hands)
    assert isinstance(source, HeadsetSource) and source.name == "motion:walking" and source.rate_hz == RATE_HZ
    samples = list(source)
    assert len(samples) == len(source) == len(clip) == source.counts.delivered
    for sample in samples[::20]:
        assert sample.truth.t_ns == sample.t_ns
        rotations = matrix_from_quaternion(sample.truth.rotations_xyzw)
        positions, world = forward_kinematics(
            clip.skeleton.offsets_m, rotations, sample.truth.root_position_m.astype(float)
        )
        for side, joint in JOINTS.items():
            device = getattr(sample, side)
            place, turn = joint_at_device(device, side)
            np.testing.assert_allclose(place, positions[joint], atol=1e-6)
            np.testing.assert_allclose(turn, world[joint], atol=1e-6)
            expected = kind if side != "head" or hands == "joint" else DeviceKind.VIEW
            assert device.kind is expected


def test_t_pose_as_seen_from_the_eyes():
    """At first both arms are out: the hands are left and right, level, and behind the eyes."""
    sample = next(iter(MotionHeadset(hands_raised(), hands="grip")))
    left, right = sample.left.position_m - sample.head.position_m, sample.right.position_m - sample.head.position_m
    assert left[0] < -0.6 < 0.6 < right[0] and left[2] > 0.05 and right[2] > 0.05
    assert left[1] == pytest.approx(right[1]) and -0.5 < left[1] < 0


def test_times_and_rate(clip):
    samples = list(MotionHeadset(clip, rate_hz=45))
    assert np.diff([s.t_ns for s in samples]) == pytest.approx(1e9 / 45, abs=1)
    assert len(samples) == pytest.approx(len(clip) / 2, abs=1)
    own = list(MotionHeadset(clip))[::2]
    for half, full in zip(samples[:50], own[:50], strict=True):
        np.testing.assert_allclose(half.head.position_m, full.head.position_m, atol=1e-5)


def test_noise_is_as_large_as_asked(clip):
    noise = TrackerNoise(jitter_m=0.002, jitter_rad=0.004, drift_m=0.0, drift_rad=0.0)
    clean, noisy = list(MotionHeadset(clip)), list(MotionHeadset(clip, noise=noise))
    for side in JOINTS:
        a, b = [getattr(s, side) for s in clean], [getattr(s, side) for s in noisy]
        offsets = np.array([q.position_m - p.position_m for p, q in zip(a, b, strict=True)])
        assert offsets.std() == pytest.approx(0.002, rel=0.15)
        turns = (
            Rotation.from_quat([p.rotation_xyzw for p in b]) * Rotation.from_quat([p.rotation_xyzw for p in a]).inv()
        )
        assert turns.as_rotvec().std() == pytest.approx(0.004, rel=0.15)


def test_drift_wanders_slowly():
    still = hands_raised(2.0)
    still = replace(
        still,
        rotations_xyzw=np.repeat(still.rotations_xyzw[:1], 9000, axis=0),
        root_positions_m=np.repeat(still.root_positions_m[:1], 9000, axis=0),
    )
    noise = TrackerNoise(jitter_m=0.0, jitter_rad=0.0, drift_m=0.01, drift_rad=0.0, drift_time_s=1.0)
    places = np.array([s.head.position_m for s in MotionHeadset(still, noise=noise)])
    assert np.abs(np.diff(places, axis=0)).max() < 0.01
    assert places.std(axis=0).mean() == pytest.approx(0.01, rel=0.35)
    offsets = places - places.mean(axis=0)
    lag = round(RATE_HZ)  # one time constant: the autocorrelation is 1/e
    correlation = (offsets[lag:] * offsets[:-lag]).mean() / (offsets**2).mean()
    assert correlation == pytest.approx(np.exp(-1), abs=0.25)


def test_same_seed_same_samples(clip):
    def values(seed):
        source = MotionHeadset(clip, noise=TrackerNoise(), lost=TrackingLoss(hand_per_minute=60), seed=seed)
        return [(s.index, None if s.left is None else tuple(s.left.position_m)) for s in source]

    assert values(1) == values(1) != values(2)


def test_losses_come_in_bursts(clip):
    lost = TrackingLoss(hand_per_minute=30.0, hand_s=0.4, head_per_minute=0.0, dropped=0.0)
    rates, lengths = [], []
    for seed in range(12):
        samples = list(MotionHeadset(clip, lost=lost, seed=seed))
        assert all(s.head is not None for s in samples)
        gone = np.array([s.left is None for s in samples])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], gone.astype(int), [0]])))
        lengths += list(edges[1::2] - edges[::2])
        rates.append(gone.mean())
    assert 0.08 < np.mean(rates) < 0.3  # 30 * 0.4 s a minute is 0.2, less where they overlap or are cut off
    assert np.mean(lengths) / RATE_HZ == pytest.approx(0.4, rel=0.5)


def test_lost_heads_and_dropped_samples(clip):
    lost = TrackingLoss(hand_per_minute=0.0, head_per_minute=60.0, dropped=0.1)
    source = MotionHeadset(clip, lost=lost, seed=4)
    samples = list(source)
    assert any(s.head is None for s in samples) and all(s.left is not None for s in samples)
    assert 0.05 * len(clip) < source.counts.lost < 0.16 * len(clip)
    assert source.counts.lost + source.counts.delivered == pytest.approx(len(clip), abs=5)
    assert [s.index for s in samples] == [round((s.t_ns - samples[0].t_ns) * 1e-9 * RATE_HZ) for s in samples]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda clip: MotionHeadset(clip, hands="feet"), "hands must be one of joint, grip, hand"),
        (lambda clip: MotionHeadset(clip, rate_hz=0), "from 1 to 1000 Hz"),
        (lambda clip: MotionHeadset(clip, rate_hz=float("nan")), "from 1 to 1000 Hz"),
        (lambda clip: MotionHeadset(clip.sliced(0, 0)), "no frames"),
        (lambda clip: TrackerNoise(jitter_m=-1), "at least 0"),
        (lambda clip: TrackerNoise(drift_time_s=0), "positive drift time"),
        (lambda clip: TrackingLoss(hand_per_minute=-1), "rates of at least 0"),
        (lambda clip: TrackingLoss(head_s=0), "positive durations"),
        (lambda clip: TrackingLoss(dropped=1.0), "from 0 to below 1"),
    ],
)
def test_options_are_checked(clip, make, says):
    with pytest.raises(ConfigurationError, match=says):
        make(clip)


def test_a_motion_of_days_is_refused_before_it_fills_the_memory(clip):
    slow = replace(clip, rate_hz=1e-3)  # 360 frames of a quarter of an hour each
    with pytest.raises(ConfigurationError, match=r"has more than 1000000 samples at 90 Hz: cut it, or choose a lower"):
        MotionHeadset(slow)
