"""Elbows and knees bend as hinges do, and nothing that is seen of the pose moves for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.hinges import HINGES, LEG_HINGES, bend_as_hinges
from bodystream.pose.limits import violations

# Rounding of float64 through a few products of rotations.
TIGHT = 1e-9
ENDS = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("wrist", "ankle")]
BENT = [hinge.joint for hinge in HINGES]


def turned(**degrees: tuple[float, float, float]) -> np.ndarray:
    """The T-pose with some joints turned by rotation vectors [deg]."""
    out = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    for name, vector in degrees.items():
        out[JOINT_INDEX[name]] = Rotation.from_rotvec(vector, degrees=True).as_matrix()
    return out


def random_poses(count: int, spread: float = 1.2) -> np.ndarray:
    rng = np.random.default_rng(7)
    turns = Rotation.from_rotvec(rng.normal(0.0, spread, (count * len(JOINTS), 3))).as_matrix()
    return turns.reshape(count, len(JOINTS), 3, 3)


def places(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return forward_kinematics(fitted_skeleton(1.55).offsets_m, rotations, np.zeros(3))


def bends(rotations: np.ndarray) -> np.ndarray:
    """Of each hinge, how far it is bent [deg]."""
    return np.array([np.degrees(np.arccos(h.bone @ rotations[h.joint] @ h.bone)) for h in HINGES])


def test_any_pose_comes_within_the_limits():
    for pose in random_poses(300):
        assert violations(bend_as_hinges(pose))[BENT].max() < 1e-6


def test_no_joint_moves_and_hands_and_feet_keep_their_orientation():
    moved = 0
    for pose in random_poses(300):
        found = bend_as_hinges(pose)
        moved += found is not pose
        if (bends(pose) > 154.0).any():
            continue  # it has to be opened
        (before, before_turned), (after, after_turned) = places(pose), places(found)
        np.testing.assert_allclose(after, before, atol=TIGHT)
        np.testing.assert_allclose(after_turned[ENDS], before_turned[ENDS], atol=TIGHT)
        others = [j for j in range(len(JOINTS)) if j not in {k for h in HINGES for k in (h.upper, h.joint, h.end)}]
        assert np.array_equal(found[others], pose[others])
    assert moved > 250


@pytest.mark.parametrize(
    ("name", "vector"),
    [("right_elbow", (0, 90, 0)), ("left_elbow", (0, -90, 0)), ("right_knee", (-90, 0, 0)), ("left_knee", (-40, 0, 0))],
)
def test_what_bends_the_right_way_is_left_alone(name: str, vector):
    pose = turned(**{name: vector})
    assert bend_as_hinges(pose) is pose


@pytest.mark.parametrize(
    ("name", "upper", "vector"),
    [
        ("right_elbow", "right_shoulder", (0, -50, 0)),
        ("left_elbow", "left_shoulder", (0, 50, 0)),
        ("right_knee", "right_hip", (50, 0, 0)),
        ("left_knee", "left_hip", (40, 0, 10)),
    ],
)
def test_a_joint_that_bends_backwards_turns_its_upper_bone(name: str, upper: str, vector):
    pose = turned(**{name: vector})
    found = bend_as_hinges(pose)
    assert violations(pose)[JOINT_INDEX[name]] > np.radians(20.0)
    assert violations(found)[JOINT_INDEX[name]] < 1e-6
    np.testing.assert_allclose(places(found)[0], places(pose)[0], atol=TIGHT)
    bone = HINGES[BENT.index(JOINT_INDEX[name])].bone
    np.testing.assert_allclose(found[JOINT_INDEX[upper]] @ bone, bone, atol=TIGHT)  # about itself only


def test_an_arm_that_is_folded_beyond_what_an_elbow_does_opens_to_the_limit():
    pose = turned(right_elbow=(0, 172, 0), right_wrist=(0, 0, 30))
    found = bend_as_hinges(pose)
    assert bends(found)[1] == pytest.approx(157.0, abs=0.02)
    wrist = JOINT_INDEX["right_wrist"]
    np.testing.assert_allclose(places(found)[1][wrist], places(pose)[1][wrist], atol=TIGHT)


def test_a_forearm_turned_too_far_gives_the_rest_to_the_wrist():
    pose = turned(right_elbow=(150, 0, 0))
    found = bend_as_hinges(pose)
    assert violations(found)[JOINT_INDEX["right_elbow"]] < 1e-6
    turn = Rotation.from_matrix(found[JOINT_INDEX["right_wrist"]]).as_rotvec(degrees=True)
    np.testing.assert_allclose(turn, (40.0, 0, 0), atol=0.02)


def test_a_slow_movement_has_no_jump_in_what_is_seen():
    """Through the straight arm and beyond: upper arm and forearm may turn, joints may not jump."""
    last = None
    for degrees in np.arange(60.0, -60.0, -0.5):
        joints, _ = places(bend_as_hinges(turned(right_elbow=(0, degrees, 3))))
        if last is not None:
            assert np.linalg.norm(joints - last, axis=1).max() < 0.005
        last = joints


def test_only_the_asked_hinges_are_looked_at():
    pose = turned(right_elbow=(0, -50, 0), right_knee=(50, 0, 0))
    found = bend_as_hinges(pose, LEG_HINGES)
    assert np.array_equal(found[JOINT_INDEX["right_elbow"]], pose[JOINT_INDEX["right_elbow"]])
    assert violations(found)[JOINT_INDEX["right_knee"]] < 1e-6


def test_another_shape_is_refused():
    with pytest.raises(InputError, match=r"\(22, 3, 3\)"):
        bend_as_hinges(np.zeros((21, 3, 3)))
