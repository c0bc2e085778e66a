"""Names of others: counts, orders and spellings as their specifications have them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.geometry.skeleton_maps import (
    META_JOINTS,
    UNITY_BONES,
    VRM_BONES,
    VRM_REQUIRED,
    WEBXR_BODY_JOINTS,
    WEBXR_FROM_OURS,
    XR_BD_JOINTS,
    ours_from_meta,
    ours_from_named,
    vrm_bones_for,
    webxr_name,
    xr_bd_poses,
)


def test_xr_bd_is_our_order_and_two_hands() -> None:
    assert XR_BD_JOINTS == (
        *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle"),
        *("right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        *("left_hand", "right_hand"),
    )


def test_vrm_names_and_what_it_requires() -> None:
    assert sorted(VRM_REQUIRED) == sorted(
        ["hips", "spine", "head"]
        + [f"{s}{b}" for s in ("left", "right")
           for b in ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")]
    )  # fmt: skip
    assert set(VRM_BONES) == set(JOINTS)
    assert len(set(VRM_BONES.values())) == 22
    assert VRM_REQUIRED <= set(VRM_BONES.values())
    assert set(VRM_BONES.values()) - VRM_REQUIRED == {
        *("chest", "upperChest", "neck", "leftToes", "rightToes", "leftShoulder", "rightShoulder")
    }
    assert VRM_BONES["left_hip"] == "leftUpperLeg"
    assert UNITY_BONES["pelvis"] == "Hips"
    assert UNITY_BONES["right_elbow"] == "RightLowerArm"
    assert UNITY_BONES["spine3"] == "UpperChest"


def test_a_vrm_model_may_lack_what_is_optional() -> None:
    assert vrm_bones_for(VRM_BONES.values()) == dict(enumerate(VRM_BONES[name] for name in JOINTS))
    least = vrm_bones_for(VRM_REQUIRED)
    assert sorted(least.values()) == sorted(VRM_REQUIRED)
    assert JOINT_INDEX["left_foot"] not in least
    # upperChest without chest is not in the specification and is left alone.
    assert "upperChest" not in vrm_bones_for(VRM_REQUIRED | {"upperChest"}).values()
    with pytest.raises(InputError, match="required bones head, leftHand are missing"):
        vrm_bones_for(VRM_REQUIRED - {"head", "leftHand"})


def test_webxr_has_83_joints_at_metas_indices() -> None:
    assert len(WEBXR_BODY_JOINTS) == len(set(WEBXR_BODY_JOINTS)) == 83
    assert len(META_JOINTS) == 84
    # Indices of XR_FB_body_tracking and XR_META_body_tracking_full_body.
    for index, name in {
        **{1: "hips", 2: "spine-lower", 3: "spine-middle", 4: "spine-upper", 5: "chest", 6: "neck", 7: "head"},
        **{8: "left-shoulder", 9: "left-scapula", 10: "left-arm-upper", 11: "left-arm-lower"},
        **{12: "left-hand-wrist-twist", 13: "right-shoulder", 17: "right-hand-wrist-twist"},
        **{18: "left-hand-palm", 19: "left-hand-wrist", 20: "left-hand-thumb-metacarpal", 23: "left-hand-thumb-tip"},
        **{24: "left-hand-index-metacarpal", 43: "left-hand-little-tip", 44: "right-hand-palm"},
        **{69: "right-hand-little-tip", 70: "left-upper-leg", 71: "left-lower-leg", 72: "left-foot-ankle-twist"},
        **{73: "left-foot-ankle", 74: "left-foot-subtalar", 75: "left-foot-transverse", 76: "left-foot-ball"},
        **{77: "right-upper-leg", 83: "right-foot-ball"},
    }.items():
        assert META_JOINTS[index] == name
    assert sum("-hand-" in name and "twist" not in name for name in WEBXR_BODY_JOINTS) == 52
    assert set(WEBXR_FROM_OURS.values()) <= set(WEBXR_BODY_JOINTS)
    assert len(set(WEBXR_FROM_OURS.values())) == 22


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("left-hand-middle-phalanx-metacarpal", "left-hand-middle-metacarpal"),
        ("right-hand-middle-metacarpal", "right-hand-middle-metacarpal"),
        ("right-hand-middle-phalanx-metacarpal", "right-hand-middle-metacarpal"),
        ("left-arm-upper", "left-arm-upper"),
    ],
)
def test_both_spellings_are_taken(name: str, wanted: str) -> None:
    assert webxr_name(name) == wanted


def test_an_unknown_webxr_joint() -> None:
    with pytest.raises(InputError, match="'left-wing' is no WebXR body joint"):
        webxr_name("left-wing")


def test_rows_of_metas_full_body() -> None:
    found = ours_from_meta(np.arange(84))
    assert found[JOINT_INDEX["pelvis"]] == 1
    assert found[JOINT_INDEX["head"]] == 7
    assert found[JOINT_INDEX["left_wrist"]] == 19
    assert found[JOINT_INDEX["right_foot"]] == 83
    with pytest.raises(InputError, match="XR_FB_body_tracking alone has no legs"):
        ours_from_meta(np.zeros((70, 7)))
    with pytest.raises(InputError, match="84 joints, got 3"):
        ours_from_meta(np.zeros((3, 7)))


def test_poses_by_name() -> None:
    poses, present = ours_from_named({"hips": np.ones(3), "leftHand": np.full(3, 2.0), "tail": np.zeros(3)}, VRM_BONES)
    assert present.sum() == 2
    np.testing.assert_array_equal(poses[JOINT_INDEX["left_wrist"]], 2.0)
    with pytest.raises(InputError, match="none of the joints hips.* got tail"):
        ours_from_named({"tail": np.zeros(3)}, VRM_BONES)


def test_hands_follow_the_wrists() -> None:
    turns = Rotation.random(22, random_state=0).as_matrix()
    at = np.random.default_rng(0).normal(size=(22, 3))
    positions, orientations = xr_bd_poses(at, turns)
    assert positions.shape == (24, 3)
    np.testing.assert_array_equal(positions[:22], at)
    left, right = (turns[JOINT_INDEX[f"{side}_wrist"]].T @ (positions[row] - at[JOINT_INDEX[f"{side}_wrist"]])
                   for side, row in (("left", 22), ("right", 23)))  # fmt: skip
    np.testing.assert_allclose(left, [-0.085, 0, 0], atol=1e-12)  # along the arm of the T-pose
    np.testing.assert_allclose(right, [0.085, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(orientations[23], turns[JOINT_INDEX["right_wrist"]])
