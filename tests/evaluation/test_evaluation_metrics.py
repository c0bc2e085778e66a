from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.avatar.skin_heights import SkinHeights
from bodystream.errors import InputError
from bodystream.evaluation.pose.metrics import (
    METRICS,
    TRUTH_METRICS,
    JointTrack,
    foot_contacts,
    frame_errors,
    rotation_angle_deg,
    summarise,
    track_of_clip,
    track_of_poses,
)
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    LEFT_HAND,
    LOWER_BODY,
    UPPER_BODY,
    Skeleton,
    forward_kinematics,
)
from bodystream.pose.calibration import fitted_skeleton
from bodystream.types import BodyPose

RATE_HZ = 50.0
TIGHT = 1e-9
COUNT = len(JOINTS)


def skeleton() -> Skeleton:
    offsets = np.random.default_rng(1).uniform(-0.3, 0.3, (COUNT, 3))
    return Skeleton(offsets)


def track(rotations: np.ndarray, roots: np.ndarray, rate_hz: float = RATE_HZ) -> JointTrack:
    positions, world = forward_kinematics(skeleton().offsets_m, rotations, roots)
    return JointTrack(rotations, positions, world, rate_hz)


def random_rotations(frames: int, seed: int = 2) -> np.ndarray:
    return Rotation.random(frames * COUNT, rng=seed).as_matrix().reshape(frames, COUNT, 3, 3)


def still(frames: int = 12) -> JointTrack:
    return track(np.repeat(random_rotations(1), frames, axis=0), np.zeros((frames, 3)))


def moving(path: np.ndarray) -> JointTrack:
    return track(np.repeat(random_rotations(1), len(path), axis=0), path)


def test_the_truth_itself_has_no_error():
    true = track(random_rotations(9), np.random.default_rng(3).normal(size=(9, 3)))
    result = summarise([frame_errors(true, true)])
    for name in METRICS:
        if name not in TRUTH_METRICS:
            assert result[name] == 0.0, name
    assert result["root_error_cm"] == result["truth"]["root_error_cm"] == 0.0
    assert result["jitter_km_s3"] == result["truth"]["jitter_km_s3"] > 0


def test_a_shift_is_its_length_in_centimetres_and_nothing_else():
    shift = np.array([0.03, -0.04, 0.12])  # 13 cm
    result = summarise([frame_errors(moving(np.tile(shift, (8, 1))), still(8))])
    for name in ("mpjpe_cm", "mpjpe_upper_cm", "mpjpe_lower_cm", "head_error_cm", "hand_error_cm"):
        assert result[name] == pytest.approx(13.0, abs=TIGHT), name
        assert result["p95"][name] == pytest.approx(13.0, abs=TIGHT), name
    for name in ("mpjre_deg", "mpjve_cm_s", "jitter_km_s3", "foot_skate_cm_s", "head_error_deg", "hand_error_deg"):
        assert result[name] == pytest.approx(0.0, abs=1e-6), name


def test_one_joint_away_counts_in_its_half_of_the_body_only():
    true = still(5)
    positions = true.positions_m.copy()
    positions[:, JOINT_INDEX["left_knee"], 1] += 0.1
    positions[:, LEFT_HAND, 0] += 0.2
    result = summarise([frame_errors(JointTrack(true.local, positions, true.world, RATE_HZ), true)])
    assert result["mpjpe_cm"] == pytest.approx(30.0 / COUNT)
    assert result["mpjpe_lower_cm"] == pytest.approx(10.0 / len(LOWER_BODY))
    assert result["mpjpe_upper_cm"] == pytest.approx(20.0 / len(UPPER_BODY))
    assert result["hand_error_cm"] == pytest.approx(10.0)  # mean of 20 and 0
    assert result["head_error_cm"] == 0.0


def test_a_turned_joint_counts_once_in_mpjre_and_wholly_for_head_and_hands():
    true = still(4)
    rotations = true.local.copy()
    turn = Rotation.from_rotvec(np.radians(30.0) * np.array([0.6, 0.0, 0.8])).as_matrix()
    rotations[:, JOINT_INDEX["spine3"]] = rotations[:, JOINT_INDEX["spine3"]] @ turn
    result = summarise([frame_errors(track(rotations, np.zeros((4, 3))), true)])
    assert result["mpjre_deg"] == pytest.approx(30.0 / COUNT, abs=1e-7)
    assert result["head_error_deg"] == pytest.approx(30.0, abs=1e-7)
    assert result["hand_error_deg"] == pytest.approx(30.0, abs=1e-7)


def test_the_pelvis_counts_by_its_orientation_in_the_world():
    true = still(4)
    rotations = true.local.copy()
    rotations[:, 0] = Rotation.from_euler("y", 44.0, degrees=True).as_matrix() @ rotations[:, 0]
    result = summarise([frame_errors(track(rotations, np.zeros((4, 3))), true)])
    assert result["mpjre_deg"] == pytest.approx(44.0 / COUNT, abs=1e-7)


def test_a_wrong_constant_velocity_is_the_velocity_error_and_has_no_jitter():
    seconds = np.arange(20)[:, None] / RATE_HZ
    result = summarise([frame_errors(moving(seconds * [0.3, 0.0, 0.4]), still(20))])
    assert result["mpjve_cm_s"] == pytest.approx(50.0, abs=1e-6)
    assert result["jitter_km_s3"] == pytest.approx(0.0, abs=1e-6)


def test_a_cubic_motion_has_its_third_derivative_as_jitter():
    seconds = np.arange(20)[:, None] / RATE_HZ
    jerk_m_s3 = np.array([120.0, -160.0, 0.0])  # 200 m/s^3
    path = seconds**3 / 6.0 * jerk_m_s3 + seconds**2 * [1.0, 2.0, 3.0]
    errors = frame_errors(moving(path), still(20))
    assert len(errors.values["jitter_km_s3"]) == 17
    np.testing.assert_allclose(errors.values["jitter_km_s3"], 0.2, atol=1e-7)
    assert summarise([errors])["truth"]["jitter_km_s3"] == pytest.approx(0.0, abs=1e-9)


def test_sliding_counts_only_along_the_floor_while_the_true_foot_stands():
    frames = 40
    true = still(frames)
    positions = true.positions_m.copy()
    left, right = JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]
    positions[10:20, left, 1] += 0.3  # the left foot is in the air for a while
    positions[:, right, 0] += np.arange(frames) / RATE_HZ * 0.5  # the right one is dragged at 0.5 m/s
    true = JointTrack(true.local, positions, true.world, RATE_HZ)
    contacts = foot_contacts(true)
    assert not contacts[:, 1].any()
    assert not contacts[9:20, 0].any() and contacts[:9, 0].all() and contacts[20:, 0].all()

    slid = positions.copy()
    slid[:, left, 2] += np.arange(frames) / RATE_HZ * 0.08
    slid[:, left, 1] += np.arange(frames) / RATE_HZ * 3.0  # upwards is not sliding
    result = summarise([frame_errors(JointTrack(true.local, slid, true.world, RATE_HZ), true)])
    assert result["foot_skate_cm_s"] == pytest.approx(8.0)
    assert result["truth"]["foot_skate_cm_s"] == pytest.approx(0.0)


def standing(frames: int, head_m: float = 1.55) -> tuple[JointTrack, SkinHeights]:
    person = fitted_skeleton(head_m)
    local = np.tile(np.eye(3), (frames, COUNT, 1, 1))
    roots = np.tile([0.0, head_m - person.rest_positions_m[HEAD, 1], 0.0], (frames, 1))
    return JointTrack(local, *forward_kinematics(person.offsets_m, local, roots), RATE_HZ), SkinHeights(person)


def test_a_body_pushed_into_the_floor_for_a_moment_shows_in_its_lowest_point():
    true, skin = standing(100)
    sole = skin.lowest_m(true.positions_m, true.world)[0] * 100.0
    sunk = true.positions_m.copy()
    sunk[:5, :, 1] -= 0.2  # 5 % of the frames
    result = summarise([frame_errors(JointTrack(true.local, sunk, true.world, RATE_HZ), true, skin)])
    assert result["lowest_point_cm_p1"] == pytest.approx(sole - 20.0, abs=1e-6)
    assert result["p95"]["lowest_point_cm_p1"] == pytest.approx(sole, abs=1e-6)
    assert result["truth"]["lowest_point_cm_p1"] == pytest.approx(sole, abs=1e-6)
    assert np.isnan(summarise([frame_errors(true, true)])["lowest_point_cm_p1"])  # no skin, no figure


def test_an_elbow_that_bends_backwards_counts_from_five_degrees_beyond_its_limit():
    true, _ = standing(10)
    local = true.local.copy()
    for frame, degrees in enumerate((14.0, 16.0, 18.0, 40.0)):  # the limit is 12
        local[frame, JOINT_INDEX["right_elbow"]] = Rotation.from_euler("y", -degrees, degrees=True).as_matrix()
    bent = JointTrack(local, true.positions_m, true.world, RATE_HZ)
    result = summarise([frame_errors(bent, true)])
    assert result["beyond_limits_share"] == pytest.approx(0.2)
    assert result["truth"]["beyond_limits_share"] == 0.0


def test_the_largest_step_counts_at_90_hz_and_only_where_head_and_hands_are_still():
    true, _ = standing(10)
    jumpy = true.positions_m.copy()
    jumpy[4:, JOINT_INDEX["left_knee"], 0] += 0.09  # at 50 Hz: 5 cm within a sample at 90 Hz
    jumpy[7:, JOINT_INDEX["left_foot"], 0] += 0.90
    jumpy[7:, LEFT_HAND, 0] += 0.09
    result = summarise([frame_errors(JointTrack(true.local, jumpy, true.world, RATE_HZ), true)])
    assert result["largest_step_cm"] == pytest.approx(5.0)
    assert result["truth"]["largest_step_cm"] == 0.0


def test_the_root_error_is_that_of_the_pelvis():
    result = summarise([frame_errors(moving(np.tile([0.0, 0.03, 0.04], (5, 1))), still(5))])
    assert result["root_error_cm"] == pytest.approx(5.0)


def test_without_a_standing_foot_there_is_no_figure_for_sliding():
    path = np.arange(30)[:, None] / RATE_HZ * np.array([2.0, 0.0, 0.0])
    result = summarise([frame_errors(moving(path), moving(path))])
    assert np.isnan(result["foot_skate_cm_s"]) and np.isnan(result["p95"]["foot_skate_cm_s"])


def test_clips_are_pooled_by_frames_and_p95_is_over_all_of_them():
    short = frame_errors(moving(np.tile([0.1, 0.0, 0.0], (10, 1))), still(10))
    long = frame_errors(moving(np.tile([0.02, 0.0, 0.0], (190, 1))), still(190))
    result = summarise([short, long])
    assert result["mpjpe_cm"] == pytest.approx((10 * 10.0 + 190 * 2.0) / 200)
    everything = np.concatenate([np.full(10, 10.0), np.full(190, 2.0)])
    assert result["p95"]["mpjpe_cm"] == pytest.approx(np.percentile(everything, 95))


def test_too_few_frames_for_a_difference_give_nothing_to_average():
    errors = frame_errors(still(3), still(3))
    assert len(errors.values["jitter_km_s3"]) == 0 and np.isnan(summarise([errors])["jitter_km_s3"])
    assert len(frame_errors(still(1), still(1)).values["mpjve_cm_s"]) == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 180.0), st.integers(0, 10_000))
def test_rotation_angle_is_that_of_scipy(angle_deg: float, seed: int):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    base = Rotation.random(rng=rng)
    turned = Rotation.from_rotvec(np.radians(angle_deg) * axis) * base
    want = np.degrees((turned * base.inv()).magnitude())
    # Near half a turn the chord is flat: the angle is known to the square root of rounding.
    tolerance = 1e-9 if angle_deg < 170 else 1e-5
    assert rotation_angle_deg(turned.as_matrix(), base.as_matrix()) == pytest.approx(want, abs=tolerance)


def test_tracks_of_a_clip_and_of_its_poses_are_the_same():
    rotations = Rotation.random(6 * COUNT, rng=5).as_quat().reshape(6, COUNT, 4).astype(np.float32)
    roots = np.random.default_rng(6).normal(size=(6, 3)).astype(np.float32)
    clip = MotionClip("clip", "someone", 60.0, skeleton(), rotations, roots)
    poses = [BodyPose(k, rotations[k], roots[k]) for k in range(6)]
    a, b = track_of_clip(clip), track_of_poses(poses, skeleton(), 60.0)
    np.testing.assert_allclose(a.positions_m, b.positions_m, atol=1e-12)
    np.testing.assert_allclose(a.local, b.local, atol=1e-12)
    positions, _ = clip.joints()
    np.testing.assert_array_equal(a.positions_m[:, HEAD], positions[:, HEAD])


def test_motions_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="12 frames at 50 Hz.*got 11 at 50"):
        frame_errors(still(11), still(12))
    true = still(5)
    with pytest.raises(InputError, match="got 5 at 60 Hz"):
        frame_errors(JointTrack(true.local, true.positions_m, true.world, 60.0), true)


def test_broken_tracks_are_refused_by_frame():
    true = still(5)
    positions = true.positions_m.copy()
    positions[3, 7] = np.nan
    with pytest.raises(InputError, match="positions_m must be finite.*frame 3"):
        JointTrack(true.local, positions, true.world, RATE_HZ)
    with pytest.raises(InputError, match=r"local must have shape \(5, 22, 3, 3\)"):
        JointTrack(true.local[:4], true.positions_m, true.world, RATE_HZ)
    with pytest.raises(InputError, match="rate must be positive"):
        JointTrack(true.local, true.positions_m, true.world, 0.0)


def test_broken_poses_are_refused():
    identity = np.tile(np.float32([0, 0, 0, 1]), (COUNT, 1))
    with pytest.raises(InputError, match="at least one pose"):
        track_of_poses([], skeleton(), 60.0)
    bad = [BodyPose(0, identity, np.zeros(3)), BodyPose(1, identity, np.float32([0, np.inf, 0]))]
    with pytest.raises(InputError, match="root positions must be finite.*frame 1"):
        track_of_poses(bad, skeleton(), 60.0)
    with pytest.raises(InputError, match="unit quaternions"):
        track_of_poses([BodyPose(0, identity * 0, np.zeros(3))], skeleton(), 60.0)
