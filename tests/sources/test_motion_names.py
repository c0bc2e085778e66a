"""Rigs by name and by their bones: the same motion, whatever the joints are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.motion.bvh import BvhFile, BvhJoint
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.naming import normalised_names, side_of
from helpers.motion_files import rig_file

FACTS = TakeFacts("take", metres_per_unit=0.01)
CENTRE = ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")
SIDED = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")

# Of each rig: names of the trunk from the pelvis up; names of a side from the hip down and from the collar out; how a
# side is written.
RIGS = {
    "mocopi": (
        ("root", "torso_2", "torso_4", "torso_7", "neck_2", "head"),
        ("up_leg", "low_leg", "foot", "toes", "shoulder", "up_arm", "low_arm", "hand"),
        "l_{}",
    ),
    "biovision": (
        ("Hips", "Chest", "Chest2", "Chest3", "Neck", "Head"),
        ("Hip", "Knee", "Ankle", "Toe", "Collar", "Shoulder", "Elbow", "Wrist"),
        "Left{}",
    ),
    "biovision low": (
        ("Hips", "Chest", "Chest2", "Chest4", "Neck", "Head"),
        ("UpLeg", "LowLeg", "Foot", "Toe", "Collar", "UpArm", "LowArm", "Hand"),
        "Left{}",
    ),
    "motive": (
        ("Hip", "Ab", "Spine2", "Chest", "Neck", "Head"),
        ("Thigh", "Shin", "Foot", "Toe", "Shoulder", "UArm", "FArm", "Hand"),
        "L{}",
    ),
    "motive with its subject": (
        ("Anna_Hip", "Anna_Ab", "Anna_Spine3", "Anna_Chest", "Anna_Neck2", "Anna_Head"),
        ("Thigh", "Shin", "Foot", "Toe", "Shoulder", "UArm", "FArm", "Hand"),
        "Anna_L{}",
    ),
    "rigify": (
        ("spine", "spine.001", "spine.002", "spine.003", "spine.004", "spine.006"),
        ("thigh", "shin", "foot", "toe", "shoulder", "upper_arm", "forearm", "hand"),
        "{}.L",
    ),
    "rigify deform bones": (
        ("DEF-spine", "DEF-spine.001", "DEF-spine.002", "DEF-spine.003", "DEF-spine.005", "DEF-spine.006"),
        ("thigh", "shin", "foot", "toe", "shoulder", "upper_arm", "forearm", "hand"),
        "DEF-{}.L",
    ),
    "character creator": (
        ("CC_Base_Hip", "CC_Base_Waist", "CC_Base_Spine01", "CC_Base_Spine02", "CC_Base_NeckTwist01", "CC_Base_Head"),
        ("Thigh", "Calf", "Foot", "ToeBase", "Clavicle", "Upperarm", "Forearm", "Hand"),
        "CC_Base_L_{}",
    ),
    "daz genesis 8": (
        ("hip", "abdomenLower", "abdomenUpper", "chestUpper", "neckLower", "head"),
        ("ThighBend", "Shin", "Foot", "Toe", "Collar", "ShldrBend", "ForearmBend", "Hand"),
        "l{}",
    ),
    "daz genesis 9": (
        ("hip", "spine1", "spine2", "spine4", "neck1", "head"),
        ("thigh", "shin", "foot", "toes", "shoulder", "upperarm", "forearm", "hand"),
        "l_{}",
    ),
    "deepmotion": (
        ("hips_JNT", "spine_JNT", "spine1_JNT", "spine2_JNT", "neck_JNT", "head_JNT"),
        ("upleg", "leg", "foot", "toebase", "shoulder", "arm", "forearm", "hand"),
        "l_{}_JNT",
    ),
    "soma": (
        ("Hips", "Spine1", "Spine2", "Chest", "Neck2", "Head"),
        ("Leg", "Shin", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand"),
        "Left{}",
    ),
    "makehuman": (
        ("root", "spine05", "spine03", "spine01", "neck01", "head"),
        ("upperleg01", "lowerleg01", "foot", "toe1-1", "clavicle", "upperarm01", "lowerarm01", "wrist"),
        "{}.L",
    ),
    "h36m": (
        ("Hip", "Spine", "Spine1", "Thorax", "Neck", "Nose"),
        ("Hip", "Knee", "Ankle", "Toe", "Collar", "Shoulder", "Elbow", "Wrist"),
        "Left{}",
    ),
    "azure kinect": (
        ("PELVIS", "SPINE_NAVEL", "SPINE_MID", "SPINE_CHEST", "NECK", "HEAD"),
        ("HIP", "KNEE", "ANKLE", "FOOT", "CLAVICLE", "SHOULDER", "ELBOW", "WRIST"),
        "{}_LEFT",
    ),
    "rokoko": (
        ("Hips", "Spine1", "Spine2", "Spine4", "Neck", "Head"),
        ("Thigh", "Shin", "Foot", "Toe", "Shoulder", "Arm", "ForeArm", "Hand"),
        "Left{}",
    ),
    "biped": (
        ("Bip001", "Bip001 Spine", "Bip001 Spine1", "Bip001 Spine2", "Bip001 Neck", "Bip001 Head"),
        ("Thigh", "Calf", "Foot", "Toe0", "Clavicle", "UpperArm", "Forearm", "Hand"),
        "Bip001 L {}",
    ),
    "valve": (
        (
            *("ValveBiped.Bip01_Pelvis", "ValveBiped.Bip01_Spine", "ValveBiped.Bip01_Spine1"),
            *("ValveBiped.Bip01_Spine2", "ValveBiped.Bip01_Neck1", "ValveBiped.Bip01_Head1"),
        ),
        ("Thigh", "Calf", "Foot", "Toe0", "Clavicle", "UpperArm", "Forearm", "Hand"),
        "ValveBiped.Bip01_L_{}",
    ),
    "unreal": (
        ("pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head"),
        ("thigh", "calf", "foot", "ball", "clavicle", "upperarm", "lowerarm", "hand"),
        "{}_l",
    ),
    "vroid": (
        ("J_Bip_C_Hips", "J_Bip_C_Spine", "J_Bip_C_Chest", "J_Bip_C_UpperChest", "J_Bip_C_Neck", "J_Bip_C_Head"),
        ("UpperLeg", "LowerLeg", "Foot", "ToeBase", "Shoulder", "UpperArm", "LowerArm", "Hand"),
        "J_Bip_L_{}",
    ),
    "humanik": (
        tuple(f"Character1_{name}" for name in CENTRE),
        SIDED,
        "Character1_Left{}",
    ),
    "second life": (
        ("hip", "abdomen", "abdomen2", "chest", "neck", "head"),
        ("Thigh", "Shin", "Foot", "Toe", "Collar", "Shldr", "ForeArm", "Hand"),
        "l{}",
    ),
    "mikumiku": (
        ("センター", "上半身1", "上半身2", "上半身3", "首", "頭"),
        ("足", "ひざ", "足首", "つま先", "肩", "腕", "ひじ", "手首"),
        "左{}",
    ),
    "words of no rig": (
        ("base", "trunk.a", "trunk.b", "trunk.c", "stalk", "bulb"),
        ("a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"),
        "{}_left",
    ),
}


def opposite(pattern: str) -> str:
    """The other side's way of writing."""
    for one, other in (("Left", "Right"), ("LEFT", "RIGHT"), ("left", "right"), ("左", "右")):
        if one in pattern:
            return pattern.replace(one, other)
    at = max(pattern.rfind("l"), pattern.rfind("L"))
    if pattern.startswith(("l", "L")) and not pattern.startswith("ValveBiped"):
        at = 0
    return pattern[:at] + {"l": "r", "L": "R"}[pattern[at]] + pattern[at + 1 :]


def renamed(rig: str) -> BvhFile:
    trunk, sided, pattern = RIGS[rig]
    names = dict(zip(CENTRE, trunk, strict=True))
    for side, way in (("Left", pattern), ("Right", opposite(pattern))):
        names |= {side + ours: way.format(theirs) for ours, theirs in zip(SIDED, sided, strict=True)}
    file = rig_file("mixamo", frames=5)
    return replace(file, joints=tuple(replace(j, name=names[j.name.split(":")[1]]) for j in file.joints))


@pytest.mark.parametrize("rig", RIGS)
def test_rigs_names(rig: str) -> None:
    wanted = canonical_clip(rig_file("mixamo", frames=5).motion(), FACTS)
    found = canonical_clip(renamed(rig).motion(), FACTS)
    np.testing.assert_array_equal(found.rotations_xyzw, wanted.rotations_xyzw)
    np.testing.assert_array_equal(found.skeleton.offsets_m, wanted.skeleton.offsets_m)


def with_joints(file: BvhFile, extra: list[tuple[str, str, tuple[float, float, float]]]) -> BvhFile:
    """The file with unmoved joints (name, parent, offset) added."""
    joints = list(file.joints)
    for name, parent, offset in extra:
        at = next(k for k, joint in enumerate(joints) if joint.name == parent)
        joints.append(BvhJoint(name, at, np.array(offset), ()))
    return replace(file, joints=tuple(joints))


def test_a_heel_is_no_toe() -> None:
    # freemocap and Blender's meta-rig hang a heel on the foot.
    file = with_joints(renamed("rigify"), [("heel.02.L", "foot.L", (0.0, -7.0, -5.0))])
    wanted = canonical_clip(rig_file("mixamo", frames=5).motion(), FACTS)
    np.testing.assert_array_equal(canonical_clip(file.motion(), FACTS).rotations_xyzw, wanted.rotations_xyzw)


def test_eyes_fingers_and_a_top_of_the_head_change_nothing() -> None:
    extra = [
        ("eye.L", "bulb", (3.0, 5.0, 8.0)),
        ("eye.R", "bulb", (-3.0, 5.0, 8.0)),
        ("bulb_end", "bulb", (0, 15.0, 0)),
    ]
    extra += [(f"f{n}_{side}", f"b4_{side}", (3.0, 0.0, n)) for n in range(4) for side in ("left", "right")]
    wanted = canonical_clip(rig_file("mixamo", frames=5).motion(), FACTS)
    found = canonical_clip(with_joints(renamed("words of no rig"), extra).motion(), FACTS)
    np.testing.assert_array_equal(found.rotations_xyzw, wanted.rotations_xyzw)


def test_a_collar_bone_is_never_an_upper_arm() -> None:
    # The names say `Shoulder`, `Elbow` and `Wrist`, and something without a name of an arm lies between.
    names = {"LeftArm": "LeftB", "LeftForeArm": "LeftElbow", "LeftHand": "LeftWrist", "RightArm": "RightB",
             "RightForeArm": "RightElbow", "RightHand": "RightWrist"}  # fmt: skip
    file = rig_file("mixamo", frames=5)
    bare = [joint.name.split(":")[1] for joint in file.joints]
    file = replace(
        file, joints=tuple(replace(j, name=names.get(name, name)) for j, name in zip(file.joints, bare, strict=True))
    )
    wanted = canonical_clip(rig_file("mixamo", frames=5).motion(), FACTS)
    np.testing.assert_array_equal(canonical_clip(file.motion(), FACTS).rotations_xyzw, wanted.rotations_xyzw)


def test_twist_joints_are_no_joints() -> None:
    # Daz's Genesis 8 has lThighBend, lThighTwist, lShin: a twist joint within the thigh.
    file = renamed("words of no rig")
    names = [joint.name for joint in file.joints]
    knee = names.index("a2_left")
    twist = BvhJoint("a1_twist_left", names.index("a1_left"), file.joints[knee].offset * 0.4, ())
    joints = [replace(j, parent=j.parent + (j.parent >= knee)) for j in file.joints]
    joints[knee] = replace(joints[knee], parent=knee, offset=file.joints[knee].offset * 0.6)
    file = replace(file, joints=(*joints[:knee], twist, *joints[knee:]))
    wanted = canonical_clip(rig_file("mixamo", frames=5).motion(), FACTS)
    np.testing.assert_allclose(canonical_clip(file.motion(), FACTS).rotations_xyzw, wanted.rotations_xyzw, atol=1e-6)


def test_without_sides_nothing_is_guessed() -> None:
    file = rig_file("mixamo", frames=2)
    file = replace(file, joints=tuple(replace(j, name=f"Bone.{n:03}") for n, j in enumerate(file.joints)))
    with pytest.raises(InputError, match="begin those of each side with Left and Right"):
        canonical_clip(file.motion(), FACTS)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("LeftArm", "left"),
        ("l_up_leg", "left"),
        ("thigh.L", "left"),
        ("RUArm", "right"),
        ("rHand", "right"),
        ("Bip01 R Thigh", "right"),
        ("KNEE_RIGHT", "right"),
        ("左足", "left"),
        ("LowerBack", ""),
        ("Root", ""),
        ("leg", ""),
        ("Hips", ""),
    ],
)
def test_sides(name: str, side: str) -> None:
    assert side_of(name) == side


def test_what_most_names_share_belongs_to_the_rig() -> None:
    names = ["Root", "rp_eric_hip", "rp_eric_spine", "rp_eric_thigh_l", "rp_eric_thigh_r", "rp_eric_head"]
    assert normalised_names(names)[1:] == ["hip", "spine", "thighl", "thighr", "head"]
    assert normalised_names(["hip_JNT", "l_leg_JNT", "r_leg_JNT"]) == ["hip", "lleg", "rleg"]
