"""Joint limits: known poses within and beyond, real motion within, clamping, generated violations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, mirror_rotations
from bodystream.pose.limits import LIMITS, clamp, excesses, violate, violations
from helpers.refine_reference import natural_pose, rotvec


def posed(**turns_deg) -> np.ndarray:
    vectors = np.zeros((22, 3))
    for joint, turn in turns_deg.items():
        vectors[JOINT_INDEX[joint]] = np.radians(turn)
    return rotvec(vectors)


def seated() -> np.ndarray:
    legs = {
        f"{side}_{part}": turn
        for side in ("left", "right")
        for part, turn in (("hip", (90, 0, 0)), ("knee", (-90, 0, 0)))
    }
    return posed(**legs)


NATURAL = {
    "the T-pose": posed(),
    "seated": seated(),
    "squatting": posed(left_hip=(115, 0, 0), right_hip=(115, 0, 0), left_knee=(-135, 0, 0), right_knee=(-135, 0, 0)),
    "arms hanging": posed(left_shoulder=(0, 0, 80), right_shoulder=(0, 0, -80)),
    "arms ahead": posed(left_shoulder=(0, -85, 0), right_shoulder=(0, 85, 0)),
    "arms up": posed(left_shoulder=(0, 0, -85), right_shoulder=(0, 0, 85)),
    "elbows bent ahead": posed(left_elbow=(0, -140, 0), right_elbow=(0, 140, 0)),
    "head turned": posed(neck=(0, 40, 0), head=(0, 40, 0)),
    "split": posed(left_hip=(0, 0, -45), right_hip=(0, 0, 45)),
}
IMPOSSIBLE = {
    "left_knee": (70, 0, 0),  # to the front
    "right_knee": (0, 0, 50),  # sideways
    "left_elbow": (0, 60, 0),  # backwards
    "right_elbow": (0, -60, 0),
    "right_hip": (-90, 0, 0),  # leg straight back
    "left_hip": (0, 0, 80),  # through the other leg
    "left_shoulder": (0, 130, 0),  # behind the back
    "neck": (0, 110, 0),
    "head": (80, 0, 0),
    "spine2": (90, 0, 0),
    "left_ankle": (80, 0, 0),
    "right_wrist": (0, 0, 130),
    "left_collar": (0, 0, 70),
}


@pytest.mark.parametrize("name", NATURAL)
def test_poses_that_people_take_are_within(name):
    beyond = violations(NATURAL[name])
    assert beyond.max() == 0.0, JOINTS[int(beyond.argmax())]


@pytest.mark.parametrize("joint", IMPOSSIBLE)
def test_what_no_joint_does_is_found_in_that_joint(joint):
    beyond = violations(posed(**{joint: IMPOSSIBLE[joint]}))
    assert beyond[JOINT_INDEX[joint]] > np.radians(15)
    assert np.count_nonzero(beyond) == 1


def test_the_angle_beyond_is_the_angle():
    assert violations(posed(left_knee=(40, 0, 0)))[JOINT_INDEX["left_knee"]] == pytest.approx(np.radians(30))
    assert violations(posed(right_elbow=(0, -42, 0)))[JOINT_INDEX["right_elbow"]] == pytest.approx(np.radians(30))
    twist = excesses(posed(head=(0, 80, 0)))[JOINT_INDEX["head"]]
    np.testing.assert_allclose(twist, (0, 0, np.radians(20)), atol=1e-9)


def test_left_and_right_are_mirror_images():
    rng = np.random.default_rng(0)
    poses = rotvec(rng.normal(0.0, 0.8, (50, 22, 3)))
    mirrored = violations(mirror_rotations(poses))
    left = [j for j, name in enumerate(JOINTS) if name.startswith("left")]
    right = [JOINT_INDEX[JOINTS[j].replace("left", "right")] for j in left]
    np.testing.assert_allclose(mirrored[:, left], violations(poses)[:, right], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 3.0))
def test_clamping_ends_within_and_leaves_the_rest(seed, spread):
    rng = np.random.default_rng(seed)
    pose = rotvec(rng.normal(0.0, spread, (22, 3)))
    kept = clamp(pose)
    assert violations(kept).max() < 1e-6
    np.testing.assert_allclose(kept @ kept.transpose(0, 2, 1), np.tile(np.eye(3), (22, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(kept), 1.0)
    inside = violations(pose) == 0.0
    assert np.array_equal(kept[inside], pose[inside])
    assert np.array_equal(clamp(kept), kept)


def test_generated_violations_violate_and_keep_the_other_joints():
    rng = np.random.default_rng(1)
    poses = np.stack([natural_pose(rng) for _ in range(80)])
    assert np.percentile(violations(poses).max(axis=-1), 95) < 0.2
    wrong = violate(poses, np.random.default_rng(2))
    assert violations(wrong).max(axis=-1).min() > 0.17
    assert np.median(violations(wrong).max(axis=-1)) > 0.35
    changed = np.abs(wrong - poses).max(axis=(-1, -2)) > 1e-9
    assert changed.sum(axis=1).min() >= 1 and np.median(changed.sum(axis=1)) <= 3
    assert not changed[:, 0].any()  # the pelvis has no limits
    assert np.array_equal(wrong, violate(poses, np.random.default_rng(2)))
    # every joint that has limits is made to break them in some pose
    assert set(np.flatnonzero(changed.any(axis=0))) == set(np.flatnonzero(LIMITS.cones < np.pi))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="22, 3, 3"):
        violations(np.zeros((21, 3, 3)))
    with pytest.raises(InputError, match="at least one joint"):
        violate(np.zeros((2, 22, 3, 3)), np.random.default_rng(0), joints=0)
