"""The driver: from samples to poses and a posed surface, and the person who is measured on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, forward_kinematics, local_rotations
from bodystream.pipelines.drive.pipeline import Driver, DriveResult
from bodystream.pose import person as person_module
from bodystream.pose.calibration import Calibration
from bodystream.pose.observation import JointTargets, joints_of_sample
from bodystream.sources.headset.checks import HeadsetOptions
from bodystream.types import Array, HeadsetSample, Status, TrackedDevice
from helpers.drive_parts import ESTIMATOR, PERIOD_NS, new_driver, samples_of, t_pose
from helpers.driven_body import skinned
from helpers.headset_motions import walking

MET_M = 0.005
WALK = walking(1.0)


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    """Drivers in this list are closed in the end."""
    made: list[Driver] = []
    yield made
    for driver in made:
        driver.close()


def posed(result: DriveResult, driver: Driver) -> tuple[Array, Array]:
    rotations = matrix_from_quaternion(result.pose.rotations_xyzw.astype(np.float64))
    root = result.pose.root_position_m.astype(np.float64)
    return forward_kinematics(driver.estimator.skeleton.offsets_m, rotations, root)


def drive(driver: Driver, samples: list[HeadsetSample]) -> list[DriveResult]:
    results = [driver.step(sample) for sample in samples]
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def wait_for_avatar(driver: Driver, seconds: float = 60.0) -> None:
    """Until the fitted surface is there to be taken, unless it was taken already."""
    deadline = time.monotonic() + seconds
    while driver._coming is not None and not driver._coming.done():
        assert time.monotonic() < deadline, "the avatar was not fitted"
        time.sleep(0.01)


def test_each_result_tells_what_it_should(drivers: list[Driver]) -> None:
    driver = new_driver(skeleton=WALK.skeleton)
    drivers.append(driver)
    driver.warm_up()
    samples = samples_of(WALK)
    for sample in samples:
        result = driver.step(sample)
        assert result is not None
        joints, world = posed(result, driver)
        np.testing.assert_allclose(result.joints_m, joints, atol=1e-5)
        wanted = joints_of_sample(sample).positions_m
        errors = np.linalg.norm(joints[[HEAD, LEFT_HAND, RIGHT_HAND]] - wanted, axis=1)
        np.testing.assert_allclose([result.head_error_m, *result.hand_errors_m], errors, atol=1e-5)
        assert result.sample.truth is not None
        truth, _ = forward_kinematics(
            WALK.skeleton.offsets_m,
            matrix_from_quaternion(result.sample.truth.rotations_xyzw.astype(np.float64)),
            result.sample.truth.root_position_m.astype(np.float64),
        )
        assert result.joint_error_m == pytest.approx(np.linalg.norm(joints - truth, axis=1).mean(), abs=1e-5)
        assert 0.0 < result.joint_error_m < 1.0
    assert max(errors) < MET_M and result.pose.status is Status.TRACKED
    # the surface is the pose's
    mesh = driver.posed_mesh()
    assert mesh.vertices.shape == (13_492, 3) and mesh.normals is not None
    np.testing.assert_allclose(mesh.vertices, skinned(driver.avatar.skin, joints, world), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-3)
    np.testing.assert_array_equal(driver.posed_mesh().vertices, mesh.vertices)
    counts = {name: span.count for name, span in driver.spans.summary().items()}
    assert set(counts) >= {"check", "sample", "refine"} and counts["sample"] == len(samples)
    assert counts["avatar"] == 1, "a surface that nobody looks at is not computed"
    # a frame ahead of the newest sample
    ahead = driver.predictor.pose_at(samples[-1].t_ns + PERIOD_NS)
    assert ahead.t_ns == samples[-1].t_ns and np.isfinite(ahead.root_position_m).all()
    assert driver.engine.provider == "cpu" and driver.bundle_label.startswith("pose ")
    assert driver.restarts == 0 and driver.person.calibration is None


def test_what_is_not_tracked_has_no_error_and_the_truth_only_where_it_is_known(drivers: list[Driver]) -> None:
    driver = new_driver(height_m=1.77)
    drivers.append(driver)
    samples = samples_of(WALK)[:3]
    result = driver.step(replace(samples[0], left=None))
    assert result is not None and len(result.hand_errors_m) == 1 and np.isnan(result.joint_error_m)
    result = driver.step(replace(samples[1], head=None, left=None, right=None))
    assert result is not None and np.isnan(result.head_error_m) and result.hand_errors_m == ()
    assert {"head_lost", "left_lost", "right_lost"} <= set(result.pose.flags)


def test_warming_up_leaves_no_trace(drivers: list[Driver]) -> None:
    warm, cold = new_driver(skeleton=WALK.skeleton), new_driver(skeleton=WALK.skeleton)
    drivers += [warm, cold]
    warm.warm_up()
    assert warm.spans.summary() == {}
    samples = samples_of(WALK)[:20]
    for first, second in zip(drive(warm, samples), drive(cold, samples), strict=True):
        np.testing.assert_array_equal(first.pose.rotations_xyzw, second.pose.rotations_xyzw)
        assert first.pose.flags == second.pose.flags


def test_samples_whose_time_is_not_after_the_last_are_left_out(drivers: list[Driver]) -> None:
    driver = new_driver(skeleton=WALK.skeleton)
    drivers.append(driver)
    samples = samples_of(WALK)
    drive(driver, samples[:3])
    assert driver.step(samples[2]) is None and driver.step(samples[0]) is None
    assert driver.checker.dropped == 2 and driver.checker.counts["time_backwards"] == 2
    assert driver.step(samples[3]) is not None


def test_what_the_checks_find_is_on_the_pose(drivers: list[Driver]) -> None:
    driver = new_driver(skeleton=WALK.skeleton)
    drivers.append(driver)
    samples = samples_of(WALK)

    def scaled(device: TrackedDevice | None) -> TrackedDevice | None:
        return None if device is None else replace(device, rotation_xyzw=device.rotation_xyzw * 1.5)

    results = drive(driver, [replace(s, head=scaled(s.head)) for s in samples[:40]])
    assert all("not_normalised" in result.pose.flags for result in results)
    assert results[-1].pose.status is Status.TRACKED  # it was put right
    assert results[-1].head_error_m < MET_M
    # a pause of a second
    late = [replace(s, t_ns=s.t_ns + 1_000_000_000) for s in samples[40:]]
    results = drive(driver, late)
    assert "time_jump" in results[0].pose.flags and "time_jump" not in results[1].pose.flags
    assert driver.restarts == 1
    # the view was recentred: everything is 3 m away from one sample to the next
    away = [
        replace(
            s,
            t_ns=s.t_ns + 3_000_000_000,
            **{
                side: replace(device, position_m=device.position_m + (3.0, 0.0, 0.0))
                for side in ("head", "left", "right")
                if (device := getattr(s, side)) is not None
            },
        )
        for s in samples[:3]
    ]
    drive(driver, [replace(late[-1], t_ns=away[0].t_ns - PERIOD_NS)])
    result = drive(driver, away)[0]
    assert "head_teleport" in result.pose.flags and driver.restarts == 3


def test_exchanged_hands_degrade_the_pose_with_a_remedy(drivers: list[Driver]) -> None:
    clip = t_pose(8.0)
    samples = samples_of(clip, hands="hand", rate_hz=20.0)
    swapped = [replace(s, left=s.right, right=s.left) for s in samples]
    driver = new_driver(skeleton=clip.skeleton, estimator=replace(ESTIMATOR, refine=False, foot_lock=False))
    drivers.append(driver)
    results = drive(driver, swapped)
    assert "hands_swapped" in results[-1].pose.flags and results[-1].pose.status is Status.DEGRADED
    assert "exchanged" in results[-1].pose.reason
    assert any("--swap-hands" in warning for warning in driver.checker.warnings)
    cured = new_driver(skeleton=clip.skeleton, headset=HeadsetOptions(swap_hands=True))
    drivers.append(cured)
    result = drive(cured, swapped[:20])[-1]
    assert result.pose.status is Status.TRACKED and max(result.hand_errors_m) < MET_M


def test_a_t_pose_in_the_stream_measures_the_person(drivers: list[Driver]) -> None:
    clip, told = t_pose(2.0), []
    driver = new_driver(told.append, calibrate_s=1.1)
    drivers.append(driver)
    before = driver.estimator.skeleton
    samples = samples_of(clip)
    drive(driver, samples[:5])
    driver.person.measure("T")
    assert driver.person.measuring
    drive(driver, samples[5:100])
    assert driver.person.measuring and not told
    drive(driver, samples[100:106])
    assert not driver.person.measuring and len(told) == 1 and told[0].pose == "T" and told[0].lines
    assert driver.person.calibration is told[0]
    wait_for_avatar(driver)
    drive(driver, samples[106:])
    assert driver.restarts == 1
    skeleton = driver.estimator.skeleton
    assert driver.avatar.skeleton is skeleton and skeleton is not before
    assert told[0].head_height_m == pytest.approx(1.62, abs=0.01)
    span = skeleton.rest_positions_m[RIGHT_HAND, 0] - skeleton.rest_positions_m[LEFT_HAND, 0]
    true = clip.skeleton.rest_positions_m
    assert span == pytest.approx(true[RIGHT_HAND, 0] - true[LEFT_HAND, 0], abs=0.01)
    assert abs(span - (before.rest_positions_m[RIGHT_HAND, 0] - before.rest_positions_m[LEFT_HAND, 0])) > 0.03


def test_a_calibration_that_fails_is_tried_three_times_more_and_no_sample_is_lost(drivers: list[Driver]) -> None:
    told: list[Calibration] = []
    driver = new_driver(told.append, skeleton=WALK.skeleton, calibrate_s=0.3)
    drivers.append(driver)
    skeleton = driver.estimator.skeleton
    driver.person.measure("T")
    results = drive(driver, samples_of(walking(2.0), rate_hz=45.0))  # who walks cannot be measured
    assert all(result.pose.status is not Status.LOST for result in results)
    notes = [note for result in results for note in result.notes]
    failed = [note for note in notes if note.startswith("not calibrated: ")]
    again = [note.split(":")[0] for note in notes if note.startswith("calibrating again")]
    assert len(failed) == 4 and again == [f"calibrating again ({n} of 3)" for n in (1, 2, 3)]
    assert notes[-1].startswith("no calibration is tried again")
    assert not driver.person.measuring and not told
    assert driver.estimator.skeleton is skeleton and driver.person.calibration is None


def test_a_calibration_begins_with_head_and_hands(drivers: list[Driver]) -> None:
    told: list[Calibration] = []
    driver = new_driver(told.append, calibrate_s=1.1)
    drivers.append(driver)
    driver.person.measure("T")
    samples = samples_of(t_pose(2.6))
    first = 110
    results = drive(driver, [replace(s, left=None) for s in samples[:first]])
    notes = [note for result in results for note in result.notes]
    assert notes == ["the calibration begins when head and both hands are tracked"]
    drive(driver, samples[first : first + 99])
    assert driver.person.measuring and not told
    drive(driver, samples[first + 99 : first + 101])
    assert not driver.person.measuring and [calibration.pose for calibration in told] == ["T"]


@pytest.mark.parametrize("how", ["set back", "reset"])
def test_a_calibration_begins_anew_with_the_stream(drivers: list[Driver], how: str) -> None:
    """What was before a clock that was set back is neither measured nor kept."""
    told: list[Calibration] = []
    driver = new_driver(told.append, calibrate_s=1.1)
    drivers.append(driver)
    driver.person.measure("T")
    samples = [replace(s, t_ns=s.t_ns + 3_600_000_000_000) for s in samples_of(t_pose(2.6))]
    drive(driver, samples[:90])
    if how == "reset":
        driver.restart()
        drive(driver, samples[90:189])
        assert driver.person.measuring and not told
        drive(driver, samples[189:191])
    else:
        later = [replace(s, t_ns=s.t_ns - 3_600_000_000_000) for s in samples[90:]]
        assert [driver.step(sample) for sample in later[:9]] == [None] * 9
        drive(driver, later[9:108])
        assert driver.person.measuring and not told and driver.restarts == 1
        drive(driver, later[108:110])
    assert not driver.person.measuring and len(told) == 1


def test_a_pose_can_be_asked_for_while_the_driver_begins_anew(
    drivers: list[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = new_driver(skeleton=WALK.skeleton)
    drivers.append(driver)
    samples = samples_of(WALK)[:20]
    before = drive(driver, samples[:10])[-1].pose
    asked: list[tuple[int, float]] = []
    stepped = driver.estimator.pose

    def asks(joints: JointTargets):
        asked.append((driver.predictor.pose_at(joints.t_ns).t_ns, driver.predictor.data_age_s(joints.t_ns)))
        return stepped(joints)

    monkeypatch.setattr(driver.estimator, "pose", asks)
    late = [replace(s, t_ns=s.t_ns + 1_000_000_000) for s in samples[10:]]
    result = drive(driver, late[:1])[0]
    assert driver.restarts == 1 and asked == [(before.t_ns, pytest.approx(1.0 + PERIOD_NS * 1e-9))]
    # nothing is left of what was before
    assert driver.predictor.pose_at(before.t_ns).t_ns == result.pose.t_ns


def test_a_sample_that_cannot_be_posed_holds_the_last_pose(
    drivers: list[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = False

    def constraint(positions: Array, world: Array) -> Array:
        return np.full(len(positions), np.inf if forbidden else 0.0)

    driver = new_driver(constraint=constraint, skeleton=WALK.skeleton, estimator=replace(ESTIMATOR, hypotheses=2))
    drivers.append(driver)
    samples = samples_of(WALK)[:9]
    forbidden = True
    (standing,) = drive(driver, samples[:1])
    assert standing.pose.status is Status.LOST and standing.pose.t_ns == samples[0].t_ns
    np.testing.assert_allclose(posed(standing, driver)[0], standing.joints_m, atol=1e-5)
    forbidden = False
    last = drive(driver, samples[1:4])[-1]
    forbidden = True
    for sample in samples[4:6]:
        (held,) = drive(driver, [sample])
        assert isinstance(held.failure, InputError) and held.pose.reason == f"no pose: {held.failure}"
        assert held.pose.status is Status.LOST and "pose_failed" in held.pose.flags and held.pose.t_ns == sample.t_ns
        np.testing.assert_array_equal(held.pose.rotations_xyzw, last.pose.rotations_xyzw)
        np.testing.assert_array_equal(held.joints_m, last.joints_m)
    forbidden = False
    result = drive(driver, samples[6:])[-1]
    assert result.failure is None and result.pose.status is Status.TRACKED and result.head_error_m < MET_M


@pytest.mark.parametrize("first_index", [0, 1], ids=["even", "odd"])
def test_a_stature_is_guessed_and_the_avatar_follows(
    drivers: list[Driver], monkeypatch: pytest.MonkeyPatch, first_index: int
) -> None:
    """Also where every second sample is passed over, as under load."""
    monkeypatch.setattr(person_module, "_GUESS_EVERY", 40)
    told: list[Calibration] = []
    driver = new_driver(told.append, estimator=replace(ESTIMATOR, refine=False, foot_lock=False))
    drivers.append(driver)
    first, default_m = driver.avatar, driver.estimator.skeleton.stature_m
    samples = samples_of(t_pose(2.2, head_m=1.75, arm_factor=1.0))[first_index::2]
    drive(driver, samples[:-30])
    assert [calibration.pose for calibration in told] == ["assumed"]
    wait_for_avatar(driver)
    drive(driver, samples[-30:])  # two thirds of a second: it takes half a second to come to the new lengths
    assert driver.avatar is not first and driver.restarts == 1
    assert driver.estimator.skeleton is driver.avatar.skeleton
    assert driver.estimator.skeleton.stature_m / default_m == pytest.approx(1.75 / 1.55, rel=0.02)


@pytest.mark.parametrize("known", [{"skeleton": WALK.skeleton}, {"height_m": 1.7}])
def test_a_person_who_is_known_is_not_guessed(
    drivers: list[Driver], monkeypatch: pytest.MonkeyPatch, known: dict
) -> None:
    monkeypatch.setattr(person_module, "_GUESS_EVERY", 20)
    told: list[Calibration] = []
    driver = new_driver(told.append, **known)
    drivers.append(driver)
    drive(driver, samples_of(t_pose(0.6, head_m=1.8)))
    assert not told and driver.restarts == 0


def test_a_stored_calibration_is_the_person(drivers: list[Driver]) -> None:
    from bodystream.pose.person import StatureEstimator

    stored = StatureEstimator(1.7).calibration()
    driver = new_driver(calibration=stored)
    drivers.append(driver)
    np.testing.assert_array_equal(driver.estimator.skeleton.offsets_m, stored.skeleton.offsets_m)
    assert driver.person.calibration is stored


def test_the_mesh_for_a_viewer_is_the_avatar_at_bind(drivers: list[Driver]) -> None:
    driver = new_driver(skeleton=WALK.skeleton)
    drivers.append(driver)
    skin = driver.skin
    assert skin is not None and len(skin.mesh.vertices) == 13_492 and skin.names == JOINTS
    # posed as the skin was bound, the surface is what the skin holds
    joints, turns = skin.bind_positions_m, skin.bind_from_bone[:, :3, :3]
    driver.avatar.pose_on_device(local_rotations(turns), joints[0])
    np.testing.assert_allclose(driver.avatar.vertices.numpy(), skin.mesh.vertices, atol=1e-5)
    np.testing.assert_allclose(driver.posed_mesh().vertices, skin.mesh.vertices, atol=1e-5)


def test_a_constraint_needs_hypotheses() -> None:
    with pytest.raises(ConfigurationError, match="at least two"):
        new_driver(constraint=lambda positions, world: np.zeros(len(positions)))
