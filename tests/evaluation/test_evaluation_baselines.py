from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError
from bodystream.evaluation.pose import least_squares_ik
from bodystream.evaluation.pose.least_squares_ik import (
    LeastSquaresIk,
    LeastSquaresIkConfig,
    mean_rotations,
    standing_rotations,
)
from bodystream.evaluation.pose.metrics import track_of_clip, track_of_poses
from bodystream.evaluation.pose.nearest_pose import (
    NearestPose,
    NearestPoseConfig,
    PoseDatabase,
    build_database,
    quaternion_mean,
)
from bodystream.evaluation.pose.protocol import evaluate, invariance_cm, run_estimator, samples_of_clip
from bodystream.geometry.rotations import rotation_vector_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.types import DeviceKind, Status
from helpers.evaluation_motions import crouching, motion, person, reaching, standing, walking

KNEES, ELBOWS = ("left_knee", "right_knee"), ("left_elbow", "right_elbow")


def ik_track(clip):
    poses = run_estimator(LeastSquaresIk(), clip.skeleton, samples_of_clip(clip))
    return track_of_poses(poses, clip.skeleton, clip.rate_hz)


@pytest.fixture(scope="module")
def database() -> PoseDatabase:
    return build_database([walking(6.0), crouching(), reaching(), standing()], poses_per_s=20.0)


# ---- inverse kinematics


@pytest.mark.parametrize("clip", [walking(3.0), crouching(), reaching()], ids=lambda clip: clip.name)
def test_ik_reaches_head_and_hands(clip):
    result = evaluate(LeastSquaresIk(), [clip])
    assert result.metrics["p95"]["head_error_cm"] < 0.2 and result.metrics["p95"]["hand_error_cm"] < 0.2
    assert result.metrics["p95"]["head_error_deg"] < 0.5 and result.metrics["p95"]["hand_error_deg"] < 0.5
    assert result.metrics["jitter_km_s3"] < result.metrics["truth"]["jitter_km_s3"] + 1.0


def test_ik_of_someone_who_stands_is_someone_who_stands():
    clip = standing()
    got, true = ik_track(clip), track_of_clip(clip)
    assert np.linalg.norm(got.positions_m - true.positions_m, axis=-1).mean() < 0.05
    feet = got.positions_m[:, [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]], 1]
    assert np.abs(feet - 0.06).max() < 0.03


def test_ik_crouches_when_the_head_goes_down():
    clip = crouching()
    got, true = ik_track(clip), track_of_clip(clip)
    deepest = true.positions_m[:, HEAD, 1].argmin()
    down = true.positions_m[0, HEAD, 1] - true.positions_m[deepest, HEAD, 1]
    assert down > 0.2
    knees = [JOINT_INDEX[name] for name in KNEES]
    bend = rotation_vector_from_matrix(got.local[:, knees])[..., 0]
    assert (bend[deepest] < bend[0] - 0.7).all()
    feet = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
    assert np.abs(got.positions_m[:, feet, 1] - true.positions_m[0, feet, 1]).max() < 0.08
    assert got.positions_m[deepest, knees, 2].max() < got.positions_m[deepest, 0, 2] - 0.1  # knees to the front


def test_ik_bends_elbows_and_knees_one_way_only():
    for clip in (walking(2.0), reaching(), crouching()):
        local = ik_track(clip).local
        angles = {name: rotation_vector_from_matrix(local[:, JOINT_INDEX[name]]) for name in (*KNEES, *ELBOWS)}
        slack = np.radians(6.0)
        assert all(angles[name][:, 0].max() < slack for name in KNEES)
        assert angles["left_elbow"][:, 1].max() < slack and angles["right_elbow"][:, 1].min() > -slack


def test_ik_hangs_feet_of_someone_who_jumps():
    jump = standing()
    jump = replace(jump, root_positions_m=jump.root_positions_m + np.float32([0.0, 0.5, 0.0]))
    got = ik_track(jump)
    feet = got.positions_m[:, [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]], 1]
    assert feet.min() > 0.4


def test_ik_does_not_care_where_it_is():
    assert invariance_cm(LeastSquaresIk(), walking(1.5)) < 0.01


def test_ik_jacobian_is_the_derivative_of_the_residuals():
    ik = LeastSquaresIk()
    sample = samples_of_clip(reaching())[70]
    ik.reset(person())
    ik.step(sample)
    rng = np.random.default_rng(0)
    local, root = ik.state
    # Bent further the way that hinges go, so that none of them is at its limit, where the cost has a kink.
    local = Rotation.from_rotvec(rng.normal(size=(22, 3)) * 0.05).as_matrix() @ local
    root = root + rng.normal(size=3) * 0.05

    def cost(x):
        turned = Rotation.from_rotvec(x[3:].reshape(22, 3)).as_matrix() @ local
        return ik.normal_equations(sample, turned, root + x[:3])[0]

    _, normal, gradient = ik.normal_equations(sample, local, root)
    h = 1e-6
    for k in [*range(3), *rng.choice(np.arange(3, 69), 25, replace=False)]:
        step = np.zeros(69)
        step[k] = h
        numeric = (cost(step) - cost(-step)) / (2 * h)
        # The prior's and the turns' derivative is taken to be that of small angles, which is exact along the angle.
        assert 2 * gradient[k] == pytest.approx(numeric, rel=0.05, abs=0.02 * np.abs(gradient).max()), JOINTS[
            (k - 3) // 3
        ]
    assert np.linalg.eigvalsh(normal).min() > 0


def test_ik_ends_where_a_general_minimiser_ends():
    ik = LeastSquaresIk()
    sample = samples_of_clip(crouching())[60]
    ik.reset(person())
    ik.step(sample)
    local, root = ik.state
    here = ik.normal_equations(sample, local, root)[0]

    def cost(x):
        turned = Rotation.from_rotvec(x[3:].reshape(22, 3)).as_matrix() @ local
        return ik.normal_equations(sample, turned, root + x[:3])[0]

    best = minimize(cost, np.zeros(69), method="L-BFGS-B", options={"maxiter": 40, "maxfun": 70 * 60}).fun
    assert here <= best * 1.001


def test_ik_kinematics_are_those_of_the_skeleton():
    rng = np.random.default_rng(4)
    offsets = rng.uniform(-0.3, 0.3, (22, 3))
    local, root = Rotation.random(22, rng=rng).as_matrix(), rng.normal(size=3)
    for got, want in zip(
        least_squares_ik.kinematics_by_level(offsets, local, root),
        forward_kinematics(offsets, local, root),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_ik_standing_pose_has_hanging_arms_and_bent_knees():
    positions, _ = forward_kinematics(person().offsets_m, standing_rotations(), np.zeros(3))
    for side, sign in (("left", -1.0), ("right", 1.0)):
        shoulder, wrist = positions[JOINT_INDEX[f"{side}_shoulder"]], positions[JOINT_INDEX[f"{side}_wrist"]]
        assert wrist[1] < shoulder[1] - 0.4 and sign * (wrist[0] - shoulder[0]) > 0 and wrist[2] < shoulder[2]
        assert positions[JOINT_INDEX[f"{side}_knee"], 2] < positions[JOINT_INDEX[f"{side}_hip"], 2]


def test_mean_rotations_are_the_mean_and_can_be_the_rest():
    clip = motion("bow", 2.0, {"spine1": (-40.0, 0.0, 0.0), "left_knee": (-30.0, 0.0, 0.0)})
    turned = clip.moved(2.0, (1.0, 0.0, 0.0))
    rest = mean_rotations([clip, turned])
    relative = clip.rotation_matrices()[0]
    np.testing.assert_allclose(rest[1:], relative[1:], atol=1e-6)
    heading = np.degrees(rotation_vector_from_matrix(rest[0])[1])
    assert abs(heading) < 1e-3  # the pelvis' is relative to where the head looks
    # Someone who always bows is known better than by someone who stands.
    known = evaluate(LeastSquaresIk(rest=rest), [turned]).metrics["mpjre_deg"]
    assert known < 0.5 * evaluate(LeastSquaresIk(), [turned]).metrics["mpjre_deg"]

    both = mean_rotations([motion("a", 1.0, {"neck": (0.0, 0.0, 0.0)}), motion("b", 1.0, {"neck": (0.0, 50.0, 0.0)})])
    turn = np.degrees(rotation_vector_from_matrix(both[JOINT_INDEX["neck"]]))
    np.testing.assert_allclose(turn, [0.0, 25.0, 0.0], atol=1e-3)
    with pytest.raises(InputError, match="at least one clip"):
        mean_rotations([])


def test_ik_settings_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigurationError, match=r"\(22, 3, 3\) finite rotations, got \(21, 3, 3\)"):
        LeastSquaresIk(rest=standing_rotations()[:21])
    with pytest.raises(ConfigurationError, match="got pelvis_m 0.0"):
        LeastSquaresIkConfig(pelvis_m=0.0)


# ---- nearest poses


def test_nearest_pose_finds_what_it_has_seen(database):
    result = evaluate(NearestPose(database), [walking(4.0), reaching()])
    assert result.metrics["mpjpe_cm"] < 2.0 and result.metrics["mpjre_deg"] < 4.0
    assert result.metrics["head_error_cm"] < 1e-3


def test_nearest_pose_is_independent_of_place_and_stature(database):
    assert invariance_cm(NearestPose(database), walking(1.5)) < 0.01
    child = walking(2.0)
    child = replace(
        child, skeleton=child.skeleton.scaled(0.7), root_positions_m=child.root_positions_m * np.float32(0.7)
    )
    small = evaluate(NearestPose(database), [child]).metrics["mpjpe_cm"]
    large = evaluate(NearestPose(database), [walking(2.0)]).metrics["mpjpe_cm"]
    assert small == pytest.approx(0.7 * large, rel=0.02)


def test_mirror_images_are_in_the_database():
    wave = motion("wave", 2.0, {"left_shoulder": (0.0, 0.0, -60.0)})
    both, one = build_database([wave]), build_database([wave], mirrored=False)
    assert len(both) == 2 * len(one) == 42
    mirrored = [wave.mirrored()]
    assert evaluate(NearestPose(both), mirrored).metrics["mpjpe_cm"] < 0.1
    assert evaluate(NearestPose(one), mirrored).metrics["mpjpe_cm"] > 5.0


def test_a_batch_gives_what_single_steps_give(database):
    clip = walking(1.5)
    samples = samples_of_clip(clip)
    samples[20] = replace(samples[20], left=None)
    samples[30] = replace(samples[30], head=None)
    together, single = NearestPose(database), NearestPose(database)
    single.reset(clip.skeleton)
    for a, b in zip(run_estimator(together, clip.skeleton, samples), map(single.step, samples), strict=True):
        np.testing.assert_allclose(a.rotations_xyzw, b.rotations_xyzw, atol=1e-6)
        np.testing.assert_allclose(a.root_position_m, b.root_position_m, atol=1e-6)
        assert (a.t_ns, a.status, a.flags) == (b.t_ns, b.status, b.flags)


def test_features_of_a_clip_are_those_of_its_samples(database):
    """What is built from clips and what is asked with samples must be the same numbers."""
    clip = walking(2.0)
    exact = build_database([clip], poses_per_s=60.0, mirrored=False)
    nearest = NearestPose(exact, NearestPoseConfig(neighbours=1))
    poses = run_estimator(nearest, clip.skeleton, samples_of_clip(clip))
    got, true = track_of_poses(poses, clip.skeleton, 60.0), track_of_clip(clip)
    # Single neighbours are the frames themselves, but for the half precision of the database.
    assert np.linalg.norm(got.positions_m - true.positions_m, axis=-1).max() < 0.01


def test_the_database_survives_a_file_and_is_checked(database):
    file = io.BytesIO()
    np.savez(file, **database.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = PoseDatabase.from_arrays(stored)
    np.testing.assert_array_equal(again.features, database.features)
    np.testing.assert_array_equal(again.rotations_xyzw, database.rotations_xyzw)
    assert again.features.dtype == np.float16 and again.rotations_xyzw.dtype == np.float16
    with pytest.raises(InputError, match="rotations_xyzw missing"):
        PoseDatabase.from_arrays({"features": database.features})
    with pytest.raises(InputError, match=r"features \(N, 36\).*got \(3, 35\)"):
        PoseDatabase(np.zeros((3, 35), np.float16), np.ones((3, 22, 4), np.float16))
    with pytest.raises(InputError, match="finite"):
        PoseDatabase(np.full((3, 36), np.nan, np.float16), np.ones((3, 22, 4), np.float16))
    with pytest.raises(InputError, match="at least one clip"):
        build_database([])
    with pytest.raises(ConfigurationError, match="at least one neighbour"):
        NearestPoseConfig(neighbours=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_quaternion_mean_is_that_of_scipy_whatever_the_signs(seed, count):
    rng = np.random.default_rng(seed)
    near = Rotation.from_rotvec(rng.normal(size=(count, 3)) * 0.4) * Rotation.random(rng=rng)
    weights = rng.uniform(0.1, 1.0, count)
    signs = rng.choice([-1.0, 1.0], (count, 1))
    got = quaternion_mean(near.as_quat() * signs, weights)
    want = near.mean(weights).as_quat(canonical=True)
    assert got[3] >= 0 and np.abs(got @ want) == pytest.approx(1.0, abs=1e-9)


# ---- bad input, both


@pytest.fixture(params=["least_squares_ik", "nearest_pose"])
def baseline(request, database):
    return LeastSquaresIk() if request.param == "least_squares_ik" else NearestPose(database)


def test_a_lost_hand_is_flagged_and_the_other_is_still_used(baseline):
    clip = reaching()
    samples = [replace(sample, left=None) if sample.index > 60 else sample for sample in samples_of_clip(clip)]
    poses = run_estimator(baseline, clip.skeleton, samples)
    assert poses[60].status is Status.TRACKED and poses[60].flags == ()
    assert {pose.status for pose in poses[61:]} == {Status.DEGRADED}
    assert {pose.flags for pose in poses[61:]} == {("left_lost",)} and poses[61].reason
    got, true = track_of_poses(poses, clip.skeleton, 60.0), track_of_clip(clip)
    right = JOINT_INDEX["right_wrist"]
    assert np.linalg.norm(got.positions_m[:, right] - true.positions_m[:, right], axis=-1).mean() < 0.06


def test_hands_that_are_never_seen_give_a_whole_pose(baseline):
    clip = standing()
    samples = [replace(sample, left=None, right=None) for sample in samples_of_clip(clip)]
    poses = run_estimator(baseline, clip.skeleton, samples)
    assert {pose.flags for pose in poses} == {("left_lost", "right_lost")}
    got = track_of_poses(poses, clip.skeleton, 60.0)
    assert np.linalg.norm(got.positions_m - track_of_clip(clip).positions_m, axis=-1).mean() < 0.35


def test_a_lost_head_holds_the_pose(baseline):
    clip = walking(1.5)
    samples = [replace(sample, head=None) if sample.index in (40, 41) else sample for sample in samples_of_clip(clip)]
    poses = run_estimator(baseline, clip.skeleton, samples)
    for k in (40, 41):
        assert poses[k].status is Status.LOST and poses[k].flags == ("head_lost",)
        assert poses[k].t_ns == samples[k].t_ns
        np.testing.assert_array_equal(poses[k].rotations_xyzw, poses[39].rotations_xyzw)
    assert poses[42].status is Status.TRACKED
    with pytest.raises(InputError, match="head's pose in the first sample"):
        run_estimator(baseline, clip.skeleton, [replace(samples[0], head=None)])


def test_other_points_than_joints_are_refused(baseline):
    clip = standing()
    sample = samples_of_clip(clip)[0]
    assert sample.head is not None and sample.left is not None
    with pytest.raises(InputError, match="DeviceKind.JOINT.*view"):
        run_estimator(baseline, clip.skeleton, [replace(sample, head=replace(sample.head, kind=DeviceKind.VIEW))])
    with pytest.raises(InputError, match="left.*DeviceKind.JOINT.*grip"):
        run_estimator(baseline, clip.skeleton, [replace(sample, left=replace(sample.left, kind=DeviceKind.GRIP))])


def test_a_reset_forgets_everything(baseline):
    clip = walking(1.5)
    first = run_estimator(baseline, clip.skeleton, samples_of_clip(clip))
    run_estimator(baseline, person(0.8), samples_of_clip(crouching()))
    again = run_estimator(baseline, clip.skeleton, samples_of_clip(clip))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.rotations_xyzw, b.rotations_xyzw)
        np.testing.assert_array_equal(a.root_position_m, b.root_position_m)


def test_without_proportions_there_is_no_pose(database):
    sample = samples_of_clip(standing())[0]
    for baseline in (LeastSquaresIk(), NearestPose(database)):
        with pytest.raises(InputError, match="call reset"):
            baseline.step(sample)
