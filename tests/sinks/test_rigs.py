"""Motion files for other programs: bones' names, rest pose, axes and unit, and the very motion that was driven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar import LbsAvatar
from bodystream.cli.drive import Drive
from bodystream.errors import ConfigurationError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, forward_kinematics
from bodystream.geometry.skeleton_maps import VRM_BONES
from bodystream.sinks.body_files import body_files, write_body
from bodystream.sinks.bvh import BvhRecorder
from bodystream.sinks.drive_take import pose_recorder
from bodystream.sinks.rigs import RIGS, FittedRig
from bodystream.sources.motion import find_takes
from bodystream.types import Array, BodyPose
from helpers.avatar_poses import POSES, own_skeleton, random_pose
from helpers.gltf_player import Player
from helpers.needs import khronos_issues
from sinks.test_bvh_recorder import read

SKELETON = own_skeleton()
TURN = np.array([-1.0, 1.0, -1.0])
RATE_HZ = 30.0
METRES = {"vrm": 0.01, "mixamo": 0.01, "smpl": 1.0, "cmu": 0.0254 / 0.45}
TOLERANCE_M = 2e-5
# By heart, as users' other files have them.
CMU = (
    "Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase RHipJoint RightUpLeg RightLeg RightFoot RightToeBase "
    "LowerBack Spine Spine1 Neck Neck1 Head LeftShoulder LeftArm LeftForeArm LeftHand LeftFingerBase LeftHandIndex1 "
    "LThumb RightShoulder RightArm RightForeArm RightHand RightFingerBase RightHandIndex1 RThumb"
).split()
MIXAMO = [
    f"mixamorig:{name}"
    for name in (
        "Hips Spine Spine1 Spine2 Neck Head HeadTop_End LeftShoulder LeftArm LeftForeArm LeftHand RightShoulder "
        "RightArm RightForeArm RightHand LeftUpLeg LeftLeg LeftFoot LeftToeBase LeftToe_End RightUpLeg RightLeg "
        "RightFoot RightToeBase RightToe_End"
    ).split()
]
SMPL = [
    f"m_avg_{name}"
    for name in (
        "Pelvis L_Hip R_Hip Spine1 L_Knee R_Knee Spine2 L_Ankle R_Ankle Spine3 L_Foot R_Foot Neck L_Collar R_Collar "
        "Head L_Shoulder R_Shoulder L_Elbow R_Elbow L_Wrist R_Wrist L_Hand R_Hand"
    ).split()
]
NAMES = {"vrm": list(VRM_BONES.values()), "mixamo": MIXAMO, "smpl": SMPL, "cmu": CMU}
OF = {  # of some of our joints, the rig's bone
    "vrm": {"pelvis": "hips", "left_knee": "leftLowerLeg", "head": "head", "right_wrist": "rightHand"},
    "mixamo": {"pelvis": "mixamorig:Hips", "left_knee": "mixamorig:LeftLeg", "right_wrist": "mixamorig:RightHand"},
    "smpl": {"pelvis": "m_avg_Pelvis", "left_knee": "m_avg_L_Knee", "right_wrist": "m_avg_R_Wrist"},
    "cmu": {"pelvis": "Hips", "left_knee": "LeftLeg", "head": "Head", "right_wrist": "RightFingerBase"},
}


def poses() -> list[BodyPose]:
    turns = [*POSES.values(), *(random_pose(seed, 0.3) for seed in range(6))]
    return [
        BodyPose(round(k * 1e9 / RATE_HZ), np.float32(t), np.array([0.1 * k, 0.9, -0.2 * k], np.float32))
        for k, t in enumerate(turns)
    ]


def joints_of(skeleton: Skeleton) -> Array:
    """(T, 22, 3) in the files' axes."""
    turns = np.array([matrix_from_quaternion(p.rotations_xyzw.astype(float)) for p in poses()])
    roots = np.array([p.root_position_m for p in poses()], float)
    return forward_kinematics(skeleton.offsets_m, turns, roots)[0] * TURN


@pytest.fixture(scope="module", params=list(RIGS))
def take(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    rig, folder = request.param, tmp_path_factory.mktemp("rig")
    avatar, recorder = LbsAvatar(SKELETON), pose_recorder()
    with BvhRecorder(folder / "driven.bvh", SKELETON, RATE_HZ, rig=RIGS[rig]) as bvh:
        for pose in poses():
            bvh.add(pose)
            recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None])
    for name in body_files(avatar, rig):
        write_body(folder / name, avatar, recorder, rig)
    return rig, folder


def test_bones_have_the_names_that_are_known(take: tuple[str, Path]) -> None:
    rig, folder = take
    named, _, _ = read(folder / "driven.bvh")
    assert sorted(named) == sorted(NAMES[rig])
    nodes = [node.name for node in Player(folder / "driven.glb").gltf.nodes]
    assert nodes[: len(named)] == list(named) and nodes[len(named) :] == ["surface"]
    assert sorted(path.name for path in folder.glob("*.vrma")) == (["driven.vrma"] if rig == "vrm" else [])


def test_another_reader_finds_every_joint_in_the_rig_s_unit(take: tuple[str, Path]) -> None:
    rig, folder = take
    named, _, _ = read(folder / "driven.bvh")
    wanted = joints_of(SKELETON)
    for bone in RIGS[rig].bones:
        if bone.is_joint:
            got = named[bone.name] * METRES[rig]
            assert np.abs(got - wanted[:, JOINT_INDEX[bone.joint]]).max() < TOLERANCE_M, bone.name
    for joint, bone in OF[rig].items():  # whatever the table says
        assert np.abs(named[bone] * METRES[rig] - wanted[:, JOINT_INDEX[joint]]).max() < TOLERANCE_M


def test_our_own_reader_finds_the_person_and_the_poses(take: tuple[str, Path]) -> None:
    """It tells rigs by their names, their unit by their size, and their rest pose by their bones."""
    rig, folder = take
    clip = find_takes(f"bvh:{folder / 'driven.bvh'}")[0].load()
    there, _ = clip.joints()
    limbs = [JOINT_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in ("hip", "knee", "ankle", "shoulder", "elbow")]
    apart = there[:, limbs] * TURN - joints_of(SKELETON)[:, limbs]
    apart[..., 1] -= apart[..., 1].mean()  # it takes the lowest foot for the floor
    assert np.abs(apart).max() < 2e-3


def test_the_glb_plays_the_surface_on_these_bones(take: tuple[str, Path]) -> None:
    rig, folder = take
    player, avatar, wanted = Player(folder / "driven.glb"), LbsAvatar(SKELETON), joints_of(SKELETON)
    number = {node.name: k for k, node in enumerate(player.gltf.nodes)}
    for k, pose in enumerate(poses()):
        mesh = avatar.pose(pose.rotations_xyzw, pose.root_position_m)
        np.testing.assert_allclose(player.visible(k / RATE_HZ).vertices, mesh.vertices * TURN, atol=5e-5)
        for joint, bone in OF[rig].items():
            at = player.matrix(number[bone], k / RATE_HZ)[:3, 3]
            np.testing.assert_allclose(at, wanted[k, JOINT_INDEX[joint]], atol=5e-5)


def test_it_rests_as_it_is_known_to(take: tuple[str, Path]) -> None:
    rig, folder = take
    player = Player(folder / "driven.glb")
    number = {node.name: k for k, node in enumerate(player.gltf.nodes)}

    def way(above: str, below: str) -> Array:
        shift = player.matrix(number[below])[:3, 3] - player.matrix(number[above])[:3, 3]
        return shift / np.linalg.norm(shift)

    names = {bone.joint: bone.name for bone in RIGS[rig].bones if bone.is_joint}
    np.testing.assert_allclose(way(names["left_elbow"], names["left_wrist"]), [1.0, 0.0, 0.0], atol=1e-6)
    lean = np.radians(20.0 if rig == "cmu" else 0.0)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        leg = way(names[f"{side}_hip"], names[f"{side}_ankle"])
        np.testing.assert_allclose(leg, [sign * np.sin(lean), -np.cos(lean), 0.0], atol=1e-6)
    lowest = min(player.matrix(number[name])[1, 3] for name in names.values())
    assert lowest == pytest.approx(0.0, abs=1e-6)
    # The surface is at rest as its bones are: seen from it, no triangle has turned over.
    shown = player.visible()
    assert np.ptp(shown.vertices[:, 1]) == pytest.approx(1.7, abs=0.1)


def test_mixamo_s_bones_have_their_y_along_them(tmp_path: Path) -> None:
    """The axes of Mixamo's own rigs: legs look ahead with z, arms down with z, feet turn about x."""
    fitted = FittedRig(RIGS["mixamo"], SKELETON, turned=True)
    world: dict[str, Array] = {}
    for bone, name in enumerate(fitted.names):
        above = fitted.parents[bone]
        turn = fitted.rest[bone]
        world[name] = turn if above < 0 else world[fitted.names[above]] @ turn
        children = [k for k, parent in enumerate(fitted.parents) if parent == bone]
        if above >= 0 and len(children) == 1:
            offset = fitted.offsets_m[children[0]]
            assert offset[1] > 0.85 * np.linalg.norm(offset), name
    x, y, z = np.eye(3)
    wanted = {
        "Hips": (x, y, z),
        "LeftUpLeg": (-x, -y, z),
        "RightLeg": (-x, -y, z),
        "LeftArm": (-z, x, -y),
        "RightForeArm": (z, -x, -y),
    }
    for name, axes in wanted.items():
        np.testing.assert_allclose(world[f"mixamorig:{name}"], np.stack(axes, axis=1), atol=1e-6, err_msg=name)
    toes = world["mixamorig:LeftToeBase"]
    assert toes[2, 1] > 0.9 and np.allclose(toes[:, 0], -x), "along the toes, which look ahead"


@pytest.mark.parametrize("kind", ["glb", "vrma"])
def test_khronos_validator(take: tuple[str, Path], kind: str) -> None:
    path = take[1] / f"driven.{kind}"
    if path.is_file():
        issues = json.loads(khronos_issues(path))
        assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_the_vrma_of_the_shipped_body_moves_every_bone(take: tuple[str, Path]) -> None:
    rig, folder = take
    if rig != "vrm":
        return
    player, wanted = Player(folder / "driven.vrma"), joints_of(SKELETON)
    bones = player.gltf.extensions["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    assert len(bones) == 22
    for k in range(len(wanted)):
        for joint, name in enumerate(JOINTS):
            at = player.matrix(bones[VRM_BONES[name]]["node"], k / RATE_HZ)[:3, 3]
            np.testing.assert_allclose(at, wanted[k, joint], atol=5e-5)
    soles = LbsAvatar(SKELETON).pose(np.tile([0, 0, 0, 1.0], (22, 1)), np.zeros(3)).vertices[:, 1].min()
    assert player.matrix(bones["hips"]["node"])[1, 3] == pytest.approx(-soles, abs=0.01)


@pytest.mark.parametrize("rig", list(RIGS))
def test_turns_are_those_of_the_joints(rig: str) -> None:
    """A bone's change from rest, in the world, is its joint's, whatever axes the bone has."""
    for turned in (False, True):
        fitted = FittedRig(RIGS[rig], SKELETON, turned)
        pose = random_pose(3, 0.6)
        still, moved = (fitted.rotations(q[None])[0] for q in (np.tile([0, 0, 0, 1.0], (22, 1)), pose))
        world = [Rotation.identity()] * 22
        for joint, above in enumerate(PARENTS):
            local = Rotation.from_quat(pose[joint])
            world[joint] = local if above < 0 else world[above] * local
        out: list[tuple[Rotation, Rotation]] = []
        for bone, above in enumerate(fitted.parents):
            pair = [Rotation.from_quat(q[bone]) for q in (still, moved)]
            out.append(tuple(q if above < 0 else out[above][k] * q for k, q in enumerate(pair)))  # type: ignore[arg-type]
            change = out[bone][1] * out[bone][0].inv()
            joint = JOINT_INDEX[RIGS[rig].bones[bone].joint]
            assert (change * world[joint].inv()).magnitude() < 1e-5


def test_a_rig_without_files_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--rig mixamo is of the files of --out: give --out FOLDER, too"):
        Drive(headset="trace:x", rig="mixamo", headless=True).run()
