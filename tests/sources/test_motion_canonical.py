"""Motions on the canonical skeleton: the file's own joints are reproduced, whatever the rig, the axes and the unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.sources.motion.bvh import BvhFile, BvhJoint
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.naming import normalised_name
from bodystream.sources.motion.units import guess_unit
from helpers.motion_files import RIGS, reference_kinematics, rig_file, walking_file

TOLERANCE_M = 1e-5  # float32 quaternions, seven bones in a row
OURS_FROM_FILE = np.diag([-1.0, 1.0, -1.0])  # half a turn about y: files face +z, we face -z
FACTS = TakeFacts("take", metres_per_unit=0.01)

THEIRS = {
    "cmu": {
        **{"pelvis": "Hips", "spine1": "LowerBack", "spine2": "Spine", "spine3": "Spine1", "neck": "Neck"},
        **{"head": "Head", "left_hip": "LeftUpLeg", "left_knee": "LeftLeg", "left_ankle": "LeftFoot"},
        **{"left_foot": "LeftToeBase", "left_collar": "LeftShoulder", "left_shoulder": "LeftArm"},
        **{"left_elbow": "LeftForeArm", "left_wrist": "LeftHand", "right_wrist": "RightHand"},
        **{"right_hip": "RightUpLeg", "right_knee": "RightLeg", "right_ankle": "RightFoot"},
    },
    "daz": {
        **{"pelvis": "hip", "spine2": "abdomen", "spine3": "chest", "neck": "neck", "head": "head"},
        **{"left_hip": "lThigh", "left_knee": "lShin", "left_ankle": "lFoot", "left_collar": "lCollar"},
        **{"left_shoulder": "lShldr", "left_elbow": "lForeArm", "left_wrist": "lHand", "right_wrist": "rHand"},
    },
    "mixamo": {
        **{"pelvis": "mixamorig:Hips", "spine1": "mixamorig:Spine", "spine2": "mixamorig:Spine1"},
        **{"spine3": "mixamorig:Spine2", "neck": "mixamorig:Neck", "head": "mixamorig:Head"},
        **{"left_hip": "mixamorig:LeftUpLeg", "left_foot": "mixamorig:LeftToeBase"},
        **{"left_wrist": "mixamorig:LeftHand", "right_elbow": "mixamorig:RightForeArm"},
    },
}


def joints_without_shift(clip: MotionClip) -> np.ndarray:
    """The clip's joints from the pelvis of its first frame: the shift to the floor drops out."""
    positions, _ = clip.joints()
    return positions - positions[:1, :1]


def reference(file: BvhFile, rig: str) -> dict[str, np.ndarray]:
    wanted = {ours: reference_kinematics(file)[theirs] for ours, theirs in THEIRS[rig].items()}
    start = wanted["pelvis"][0]
    return {name: (values - start) @ OURS_FROM_FILE.T * 0.01 for name, values in wanted.items()}


@pytest.mark.parametrize("rig", list(RIGS))
def test_joints_are_where_the_file_has_them(rig: str) -> None:
    file = rig_file(rig)
    found = joints_without_shift(canonical_clip(file.motion(), FACTS))
    for name, wanted in reference(file, rig).items():
        np.testing.assert_allclose(found[:, JOINT_INDEX[name]], wanted, atol=TOLERANCE_M, err_msg=name)


@pytest.mark.parametrize("rig", list(RIGS))
def test_the_zero_pose_becomes_the_t_pose(rig: str) -> None:
    file = rig_file(rig, bend_deg=0.0, frames=2)
    clip = canonical_clip(file.motion(), FACTS)
    positions, world = clip.joints()
    at = {name: positions[0, joint] for name, joint in JOINT_INDEX.items()}
    # x is the person's right, y up, and the toes point to -z.
    assert at["right_shoulder"][0] > at["pelvis"][0] > at["left_shoulder"][0]
    assert at["head"][1] > at["pelvis"][1] > at["left_knee"][1]
    assert at["left_foot"][2] < at["left_ankle"][2] - 0.05
    for joint in ("pelvis", "spine1", "spine2", "spine3", "head", "left_collar"):
        np.testing.assert_allclose(world[0, JOINT_INDEX[joint]], np.eye(3), atol=1e-6)
    # Legs that are splayed at rest in the file are turned away from the straight T-pose by as much.
    thigh = positions[0, JOINT_INDEX["left_knee"]] - positions[0, JOINT_INDEX["left_hip"]]
    np.testing.assert_allclose(
        world[0, JOINT_INDEX["left_hip"]] @ [0.0, -1.0, 0.0], thigh / np.linalg.norm(thigh), atol=1e-6
    )


def test_a_stiff_joint_that_bends_is_accumulated() -> None:
    # Neck1 lies between our neck and head: the head keeps its orientation exactly, its distance by the median.
    file = rig_file("cmu", frames=40)
    names = [joint.name for joint in file.joints]
    column = sum(len(joint.channels) for joint in file.joints[: names.index("Neck1")])
    frames = file.frames.copy()
    frames[:, column : column + 3] = np.random.default_rng(1).uniform(-15.0, 15.0, (40, 3))
    file = replace(file, frames=frames)
    clip = canonical_clip(file.motion(), FACTS)
    found, _ = joints_without_shift(clip), clip
    errors = np.linalg.norm(found[:, JOINT_INDEX["head"]] - reference(file, "cmu")["head"], axis=1)
    assert 1e-5 < errors.max() < 0.005
    _, world = clip.joints()
    chain = np.eye(3)
    start = 3
    for joint in ("Hips", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head"):
        at = sum(len(j.channels) for j in file.joints[: names.index(joint)]) + (start if joint == "Hips" else 0)
        chain = chain @ Rotation.from_euler("ZYX", frames[:, at : at + 3], degrees=True).as_matrix()
    wanted = OURS_FROM_FILE @ chain @ OURS_FROM_FILE.T
    np.testing.assert_allclose(world[:, JOINT_INDEX["head"]], wanted, atol=1e-5)


@pytest.mark.parametrize("axes", ["z up", "facing -z", "facing x"])
def test_other_axes_give_the_same_motion(axes: str) -> None:
    file = rig_file("mixamo")
    turn = {
        "z up": Rotation.from_euler("x", 90, degrees=True),
        "facing -z": Rotation.from_euler("y", 180, degrees=True),
        "facing x": Rotation.from_euler("y", 90, degrees=True),
    }[axes].as_matrix()
    motion = file.motion()
    other = replace(
        motion,
        offsets=motion.offsets @ turn.T,
        rotations=turn @ motion.rotations @ turn.T,
        root_positions=motion.root_positions @ turn.T,
        end_sites={joint: turn @ site for joint, site in motion.end_sites.items()},
    )
    ours, theirs = canonical_clip(motion, FACTS), canonical_clip(other, FACTS)
    np.testing.assert_allclose(ours.root_positions_m, theirs.root_positions_m, atol=1e-6)
    np.testing.assert_allclose(ours.rotation_matrices(), theirs.rotation_matrices(), atol=1e-5)


@pytest.mark.parametrize(("unit", "factor"), [("metres", 0.01), ("inches", 1 / 2.54), ("millimetres", 10.0),
                                              ("CMU's 1/0.45 inch", 0.45 / 2.54)])  # fmt: skip
def test_the_unit_is_inferred_and_reported(unit: str, factor: float) -> None:
    motion = rig_file("cmu").motion()
    scaled = replace(motion, offsets=motion.offsets * factor, root_positions=motion.root_positions * factor)
    warnings: list[str] = []
    clip = canonical_clip(scaled, TakeFacts("take"), warnings)
    np.testing.assert_allclose(clip.skeleton.offsets_m, canonical_clip(motion, FACTS).skeleton.offsets_m, atol=1e-6)
    assert any(note.startswith("take: its unit was taken to be " + unit) for note in warnings)


def test_no_unit_fits() -> None:
    with pytest.raises(InputError, match=r"500 units .* no person's size .* unit_m in an index.csv"):
        guess_unit(500.0, "big.bvh")


def test_the_root_offset_is_ignored() -> None:
    file = rig_file("mixamo")
    moved = replace(file, joints=(replace(file.joints[0], offset=np.array([107.0, 82.0, -43.0])), *file.joints[1:]))
    ours, theirs = (canonical_clip(f.motion(), FACTS) for f in (file, moved))
    np.testing.assert_array_equal(ours.root_positions_m, theirs.root_positions_m)


def test_feet_stand_on_the_floor_where_they_nearly_do() -> None:
    file = rig_file("mixamo", bend_deg=1.0, frames=30)
    frames = file.frames.copy()
    frames[:, :3] = np.linspace((0.0, 110.0, 0.0), (1.0, 110.0, 0.0), 30)  # the toes are about 9 cm above the floor
    warnings: list[str] = []
    clip = canonical_clip(replace(file, frames=frames).motion(), FACTS, warnings)
    assert lowest_percentile(clip) == pytest.approx(0.02, abs=1e-4)
    assert not warnings


@pytest.mark.parametrize("pelvis_cm", [160.0, 0.0, -70.0])
def test_feet_that_never_leave_one_height_are_on_the_floor(pelvis_cm: float) -> None:
    file = rig_file("mixamo", bend_deg=1.0, frames=30)
    frames = file.frames.copy()
    frames[:, :3] = np.linspace((0.0, pelvis_cm, 0.0), (1.0, pelvis_cm, 0.0), 30)
    warnings: list[str] = []
    clip = canonical_clip(replace(file, frames=frames).motion(), FACTS, warnings)
    assert lowest_percentile(clip) == pytest.approx(0.02, abs=1e-4)
    assert f"its feet stand {pelvis_cm - 101:.0f} cm above the file's zero" in warnings[0]


def test_feet_at_changing_heights_keep_the_files_floor() -> None:
    file = rig_file("mixamo", bend_deg=1.0, frames=30)
    frames = file.frames.copy()
    frames[:, :3] = np.linspace((0.0, 130.0, 0.0), (100.0, 330.0, 0.0), 30)  # up a ladder
    warnings: list[str] = []
    clip = canonical_clip(replace(file, frames=frames).motion(), FACTS, warnings)
    assert clip.root_positions_m[0, 1] == pytest.approx(1.3, abs=1e-6)
    assert "own floor was kept" in warnings[0]


@pytest.mark.parametrize("factor", [10.0, 100.0, 1000.0])
def test_a_root_in_another_unit_than_the_bones_is_told(factor: float) -> None:
    """A person who walks: as high as a tower, at heights that bob by metres."""
    file = walking_file()
    frames = file.frames.copy()
    frames[:, :3] *= factor
    warnings: list[str] = []
    canonical_clip(replace(file, frames=frames).motion(), FACTS, warnings)
    assert any("its root's positions are in another unit than its bones" in warning for warning in warnings)


def lowest_percentile(clip: MotionClip) -> float:
    feet = clip.joints()[0][:, [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]], 1]
    return float(np.percentile(feet.min(axis=1), 5))


def test_a_motion_in_other_axes_than_its_zero_pose_is_reported() -> None:
    motion = rig_file("mixamo", bend_deg=5.0).motion()
    z_up = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    rotations = motion.rotations.copy()
    rotations[:, 0] = z_up @ rotations[:, 0]
    warnings: list[str] = []
    canonical_clip(replace(motion, rotations=rotations, root_positions=motion.root_positions @ z_up.T), FACTS, warnings)
    assert any("its motion has other axes than its zero pose" in note for note in warnings)


def test_a_first_t_pose_is_dropped_and_a_lying_header_overruled() -> None:
    motion = rig_file("daz", frames=5).motion()
    clip = canonical_clip(motion, replace(FACTS, skip_first=True, rate_hz=90.0))
    assert len(clip) == 4
    assert clip.rate_hz == 90.0
    whole = canonical_clip(motion, FACTS)
    np.testing.assert_allclose(clip.rotations_xyzw, whole.rotations_xyzw[1:], atol=1e-6)


def test_missing_ends_of_limbs_are_listed() -> None:
    # An arm that ends at the elbow: neither names nor bones give a wrist.
    file = without(without(rig_file("mixamo"), "mixamorig:LeftHand"), "mixamorig:Neck")
    motion = file.motion()
    names = tuple(name.replace("LeftForeArm", "LeftTentacle") for name in motion.joints)
    with pytest.raises(InputError) as caught:
        canonical_clip(replace(motion, joints=names), FACTS)
    message = str(caught.value)
    assert "no joint for left_elbow, left_wrist. Found: " in message
    assert "right_elbow" in message
    assert "mixamorig:LeftTentacle" in message


def test_names_that_say_little_are_settled_by_the_bones() -> None:
    motion = rig_file("mixamo").motion()
    names = tuple(
        name.replace("LeftForeArm", "LeftTentacle").replace("RightLeg", "RightMiddle").replace("Head", "Crown")
        for name in motion.joints
    )
    np.testing.assert_array_equal(
        canonical_clip(replace(motion, joints=names), FACTS).rotations_xyzw,
        canonical_clip(motion, FACTS).rotations_xyzw,
    )


def without(file: BvhFile, name: str) -> BvhFile:
    """The file with one joint taken out: its children hang on its parent, at the same place in the zero pose."""
    names = [joint.name for joint in file.joints]
    gone = names.index(name)
    columns, joints, column = [], [], 0
    for index, joint in enumerate(file.joints):
        width = len(joint.channels)
        if index != gone:
            columns += range(column, column + width)
            parent, offset = joint.parent, joint.offset
            if parent == gone:
                parent, offset = file.joints[gone].parent, offset + file.joints[gone].offset
            joints.append(replace(joint, parent=parent - (parent > gone), offset=offset))
        column += width
    return replace(file, joints=tuple(joints), frames=file.frames[:, columns])


@pytest.mark.parametrize("name", ["Spine", "Spine1", "Neck", "LeftShoulder", "LeftToeBase"])
def test_joints_that_can_be_filled_are_filled(name: str) -> None:
    full = rig_file("mixamo")
    file = without(full, f"mixamorig:{name}")
    clip = canonical_clip(file.motion(), FACTS)
    found = joints_without_shift(clip)
    theirs = reference_kinematics(file)
    for ours, their in THEIRS["mixamo"].items():
        if their in theirs and not ours.startswith(("spine", "left_foot")):
            wanted = (theirs[their] - theirs["mixamorig:Hips"][0]) @ OURS_FROM_FILE.T * 0.01
            np.testing.assert_allclose(found[:, JOINT_INDEX[ours]], wanted, atol=TOLERANCE_M, err_msg=ours)
    assert np.isfinite(clip.rotations_xyzw).all()
    bones = np.linalg.norm(clip.skeleton.offsets_m, axis=1)
    assert bones[1:].min() > 0.01


def test_extra_joints_change_nothing() -> None:
    file = rig_file("mixamo")
    extra = tuple(
        BvhJoint(name, len(file.joints) - 1, np.array([1.0, 2.0, 3.0]), ("Xrotation",)) for name in ("Tail", "Eye")
    )
    frames = np.concatenate([file.frames, np.full((len(file.frames), 2), 33.0)], axis=1)
    more = replace(file, joints=file.joints + extra, frames=frames)
    ours, theirs = (canonical_clip(f.motion(), FACTS) for f in (file, more))
    np.testing.assert_array_equal(ours.rotations_xyzw, theirs.rotations_xyzw)


def test_swapped_sides_are_named() -> None:
    motion = rig_file("mixamo").motion()
    swap = {"Left": "Right", "Right": "Left"}
    names = []
    for name in motion.joints:
        side = next((s for s in swap if s in name), None)
        names.append(name if side is None else name.replace(side, swap[side]))
    with pytest.raises(InputError, match="left and right are swapped in it, or it was written with left-handed axes"):
        canonical_clip(replace(motion, joints=tuple(names)), FACTS)


def test_a_rig_with_bones_axes_takes_its_most_upright_frame() -> None:
    # Bone frames of their own, as exporters with x along the bone have: every joint turned at random in its zero pose.
    motion = rig_file("mixamo", frames=30, bend_deg=8.0).motion()
    turns = Rotation.random(len(motion.joints), random_state=3).as_matrix()
    above = [turns[parent] if parent >= 0 else np.eye(3) for parent in motion.parents]
    crumpled = replace(
        motion,
        offsets=np.stack([a.T @ offset for a, offset in zip(above, motion.offsets, strict=True)]),
        rotations=np.stack([np.swapaxes(a, 0, 1) @ motion.rotations[:, j] @ turns[j] for j, a in enumerate(above)], 1),
        end_sites={joint: turns[joint].T @ site for joint, site in motion.end_sites.items()},
    )
    warnings: list[str] = []
    clip = canonical_clip(crumpled, FACTS, warnings)
    assert any("the most upright frame was taken" in note for note in warnings)
    wanted = reference(rig_file("mixamo", frames=30, bend_deg=8.0), "mixamo")
    # That frame's heading becomes ours, so compare what a turn about the vertical leaves alone.
    found = joints_without_shift(clip)
    for name, values in wanted.items():
        at = found[:, JOINT_INDEX[name]]
        np.testing.assert_allclose(at[:, 1], values[:, 1], atol=1e-4)
        np.testing.assert_allclose(np.hypot(at[:, 0], at[:, 2]), np.hypot(values[:, 0], values[:, 2]), atol=1e-4)


def test_no_standing_pose_at_all() -> None:
    motion = rig_file("mixamo", frames=3, bend_deg=0.0).motion()
    lying = replace(motion, offsets=motion.offsets[:, [1, 0, 2]] * np.linspace(-1, 1, len(motion.joints))[:, None])
    with pytest.raises(InputError, match="no standing person"):
        canonical_clip(lying, FACTS)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mixamorig:LeftArm", "leftarm"),
        ("mixamorig1_LeftArm", "leftarm"),
        ("Bip01 L Thigh", "lthigh"),
        ("m_avg_L_Hip", "lhip"),
        ("Armature|Left Arm", "leftarm"),
        ("J_Bip_L_UpperLeg", "lupperleg"),
        ("J_Bip_C_Head", "head"),
        ("thigh_l", "thighl"),
    ],
)
def test_names_lose_what_exporters_add(name: str, wanted: str) -> None:
    assert normalised_name(name) == wanted


@pytest.mark.parametrize("style", ["SMPL", "VRM", "plain", "biped", "unreal"])
def test_other_rigs_names(style: str) -> None:
    smpl = dict(zip(JOINTS, JOINTS, strict=True))
    ours = {theirs.split(":")[-1]: name for name, theirs in THEIRS["mixamo"].items()}
    sided = {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "ToeBase": "foot", "Shoulder": "collar",
             "Arm": "shoulder", "ForeArm": "elbow", "Hand": "wrist"}  # fmt: skip
    vrm = {"hip": "UpperLeg", "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes", "collar": "Shoulder",
           "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand"}  # fmt: skip
    biped = {"hip": "Thigh", "knee": "Calf", "ankle": "Foot", "foot": "Toe0", "collar": "Clavicle",
             "shoulder": "UpperArm", "elbow": "Forearm", "wrist": "Hand"}  # fmt: skip
    unreal = {"hip": "thigh", "knee": "calf", "ankle": "foot", "foot": "ball", "collar": "clavicle",
              "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand"}  # fmt: skip

    def renamed(name: str) -> str:
        bare = name.split(":")[-1]
        for side in ("Left", "Right"):
            if bare.startswith(side):
                part = sided[bare.removeprefix(side)]
                return {
                    "SMPL": smpl[f"{side.lower()}_{part}"],
                    "VRM": f"{side.lower()}{vrm[part]}",
                    "plain": f"{side}{part.capitalize()}",
                    "biped": f"Bip01 {side[0]} {biped[part]}",
                    "unreal": f"{unreal[part]}_{side[0].lower()}",
                }[style]
        return {"SMPL": ours.get(bare, bare), "biped": f"Bip01 {bare}"}.get(style, bare.lower())

    motion = rig_file("mixamo").motion()
    other = replace(motion, joints=tuple(renamed(name) for name in motion.joints))
    np.testing.assert_array_equal(
        canonical_clip(other, FACTS).rotations_xyzw, canonical_clip(motion, FACTS).rotations_xyzw
    )


@pytest.mark.parametrize("fault", ["no thigh", "a bone of kilometres", "one point"])
def test_a_skeleton_that_cannot_be_names_its_file(fault: str) -> None:
    motion = rig_file("mixamo", frames=2).motion()
    offsets = motion.offsets.copy()
    if fault == "no thigh":
        offsets[motion.joints.index("mixamorig:LeftLeg")] = 0.0
    elif fault == "a bone of kilometres":
        offsets[motion.joints.index("mixamorig:LeftHand"), 0] = 1e6
    else:
        offsets[:] = 0.0
    with pytest.raises(InputError, match="mixamo.bvh"):
        canonical_clip(replace(motion, offsets=offsets), FACTS)
