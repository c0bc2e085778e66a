"""The files of a driven VRM, played by the specifications and with nothing of the writers' code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from bodystream.avatar import VrmAvatar, VrmModel
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.geometry.skeleton_maps import VRM_BONES, VRM_REQUIRED
from bodystream.sinks.animation import AnimationRecorder
from bodystream.sinks.body_files import body_files, write_body
from bodystream.sinks.drive_take import pose_recorder
from bodystream.types import Array
from helpers.avatar_poses import own_skeleton
from helpers.gltf_player import Player
from helpers.grounded_motion import grounded_motion
from helpers.needs import khronos_issues
from helpers.vrm_files import A_POSE, BUILDS, VrmOptions, vrm_glb, write_vrm

PERSON = own_skeleton()
TURN = np.array([-1.0, 1.0, -1.0])  # files look along +z, the world along -z
MAKES = {
    "VRM 0": {"version": "0", "textured": True},
    "VRM 1, turned bones in an A-pose, scaled": {"turned": True, "rest": A_POSE, "root_scale": 0.5},
    "VRM 1, bound in another pose": {"bind": A_POSE},
    "VRM 0, few bones": {"version": "0", "without": ("spine3", "neck", "left_collar", "left_foot", "right_foot")},
}
RATE_HZ = 30.0
TOLERANCE_M = 3e-5  # float32 on both sides


def recorded(motion: tuple[Array, Array]) -> AnimationRecorder:
    recorder = pose_recorder()
    for k, (rotations, root) in enumerate(zip(*motion, strict=True)):
        recorder.add(7_000_000_000 + round(k * 1e9 / RATE_HZ), rotations, root[None])
    return recorder


class Take:
    """One avatar, what it was driven by, and its files."""

    def __init__(self, make: str, folder: Path) -> None:
        self.source = write_vrm(folder / "me.vrm", BUILDS["long-legged"](), **MAKES[make])
        self.avatar = VrmAvatar(VrmModel(self.source), PERSON)
        self.motion = grounded_motion(PERSON)
        self.glb, self.vrma = folder / "driven.glb", folder / "driven.vrma"
        assert body_files(self.avatar) == (self.glb.name, self.vrma.name)
        for path in (self.glb, self.vrma):
            write_body(path, self.avatar, recorded(self.motion))
        turned, placed = self.avatar.retarget.poses(*self.motion)
        self.joints, self.world = forward_kinematics(
            self.avatar.model.build.skeleton.offsets_m,
            matrix_from_quaternion(turned.astype(np.float64)),
            placed.astype(np.float64),
        )

    @property
    def frames(self) -> list[tuple[int, float]]:
        return [(k, k / RATE_HZ) for k in range(0, len(self.motion[0]), 7)]


@pytest.fixture(scope="module", params=list(MAKES))
def take(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Take:
    return Take(request.param, tmp_path_factory.mktemp("vrm"))


def test_a_player_of_the_glb_sees_what_the_avatar_showed(take: Take) -> None:
    """Every vertex, by the file's own bones, inverse bind matrices and weights."""
    player = Player(take.glb)
    for k, t_s in take.frames:
        mesh = take.avatar.pose(take.motion[0][k], take.motion[1][k])
        shown, ours = player.visible(t_s).vertices * TURN, mesh.vertices
        # Reading merges vertices that coincide and orders them anew.
        for some, others in ((shown, ours), (ours, shown)):
            assert KDTree(others).query(some)[0].max() < 2e-4


def test_the_joints_of_the_glb_are_those_of_the_driven_body(take: Take) -> None:
    player = Player(take.glb)
    for k, t_s in take.frames:
        for joint, node in take.avatar.model.humanoid.nodes.items():
            at = player.matrix(node, t_s)[:3, 3] * TURN
            np.testing.assert_allclose(at, take.joints[k, joint], atol=TOLERANCE_M, err_msg=JOINTS[joint])


def test_the_glb_is_the_avatar_s_own_file(take: Take) -> None:
    """Meshes, materials, pictures, skins and what its licence says are those of the avatar; it is a VRM no more."""
    before, after = (json_of(path) for path in (take.source, take.glb))
    for kind in ("meshes", "materials", "skins", "images", "textures"):
        assert after.get(kind) == before.get(kind)
    assert "extensions" not in after and "extensionsUsed" not in after
    meta = next(iter(before["extensions"].values())).get("meta")
    assert after["asset"]["extras"]["vrm_meta"] == meta
    count = len(before["accessors"])
    assert after["accessors"][:count] == before["accessors"] and len(after["animations"]) == 1


def test_it_looks_along_plus_z(take: Take) -> None:
    """As the front of glTF's assets, and toes and left hand with it."""
    player, nodes = Player(take.glb), take.avatar.model.humanoid.nodes
    left, right = (player.matrix(nodes[JOINT_INDEX[f"{side}_hip"]])[:3, 3] for side in ("left", "right"))
    assert left[0] > 0.0 > right[0]
    shown = player.visible().vertices
    assert shown[:, 2].max() + shown[:, 2].min() > 0.05, "feet reach out ahead"


def json_of(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def test_the_vrma_holds_the_humanoid_and_its_motion(take: Take) -> None:
    root, player = json_of(take.vrma), Player(take.vrma)
    assert root["extensionsUsed"] == ["VRMC_vrm_animation"]
    extension = root["extensions"]["VRMC_vrm_animation"]
    assert extension["specVersion"] == "1.0"
    bones = {name: bone["node"] for name, bone in extension["humanoid"]["humanBones"].items()}
    assert set(bones) >= VRM_REQUIRED
    assert set(bones) == {VRM_BONES[JOINTS[joint]] for joint in take.avatar.model.humanoid.nodes}
    (animation,) = root["animations"]
    moved = [channel["target"] for channel in animation["channels"]]
    assert [t["node"] for t in moved if t["path"] == "translation"] == [bones["hips"]], "only the hips move"
    assert sorted(t["node"] for t in moved if t["path"] == "rotation") == sorted(bones.values())
    for bone, node in bones.items():
        rest = player.matrix(node)
        np.testing.assert_allclose(rest[:3, :3], np.eye(3), atol=1e-9, err_msg=bone)  # the T-pose
    assert player.matrix(bones["hips"])[:3, 3] == pytest.approx([0.0, take.avatar.model.build.hips_m, 0.0])
    for k, t_s in take.frames:
        for joint in take.avatar.model.humanoid.nodes:
            at = player.matrix(bones[VRM_BONES[JOINTS[joint]]], t_s)[:3, 3] * TURN
            np.testing.assert_allclose(at, take.joints[k, joint], atol=TOLERANCE_M, err_msg=JOINTS[joint])


def test_a_player_of_the_vrma_poses_the_vrm_as_the_glb(take: Take) -> None:
    """By the specification's rule: a bone's turn from rest in the model's axes is the same in both. It holds of bones
    that stand as in the T-pose at rest, which are all of a VRM that keeps to its specification."""
    humanoid = take.avatar.model.humanoid
    glb, vrma = Player(take.glb), Player(take.vrma)
    bones = json_of(take.vrma)["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    straight = [j for j in humanoid.nodes if np.allclose(humanoid.rest_from_canonical[j], np.eye(3), atol=1e-3)]
    assert len(straight) >= 4
    for _, t_s in take.frames:
        for joint in straight:
            node = humanoid.nodes[joint]
            rest, posed = (_turn_of(glb.matrix(node, t)) for t in (None, t_s))
            wanted = _turn_of(vrma.matrix(bones[VRM_BONES[JOINTS[joint]]]["node"], t_s))
            np.testing.assert_allclose(posed @ rest.T, wanted, atol=2e-5, err_msg=JOINTS[joint])


def _turn_of(matrix: Array) -> Array:
    return matrix[:3, :3] / np.linalg.norm(matrix[:3, 0])


def test_no_quaternion_flips(take: Take) -> None:
    for path in (take.glb, take.vrma):
        player = Player(path)
        for (_, what), (_, values, how) in player._tracks.items():
            if what == "rotation":
                assert how == "LINEAR" and (np.sum(values[1:] * values[:-1], axis=1) > 0.0).all()
                np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["glb", "vrma"])
def test_khronos_validator(take: Take, kind: str) -> None:
    issues = json.loads(khronos_issues(getattr(take, kind)))
    # It does not know VRM's extension, and says so as information.
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_trimesh_opens_the_glb(take: Take) -> None:
    scene = trimesh.load_scene(take.glb)
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == len(take.avatar.faces)


def test_bones_that_are_told_by_a_matrix_are_told_by_their_parts(tmp_path: Path) -> None:
    """A node that is animated has no matrix (glTF 2.0, sec. 3.5.3)."""
    glb = vrm_glb(BUILDS["short"](), VrmOptions(turned=True))
    for node in glb.json["nodes"][1:-1]:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(node.pop("rotation")).as_matrix()
        matrix[:3, 3] = node.pop("translation")
        node["matrix"] = matrix.T.reshape(-1).tolist()
    (tmp_path / "me.vrm").write_bytes(glb.bytes())
    avatar = VrmAvatar(VrmModel(tmp_path / "me.vrm"), PERSON)
    motion = grounded_motion(PERSON)
    write_body(tmp_path / "driven.glb", avatar, recorded(motion))
    assert not any("matrix" in node for node in json_of(tmp_path / "driven.glb")["nodes"])
    mesh = avatar.pose(motion[0][20], motion[1][20])
    shown = Player(tmp_path / "driven.glb").visible(20 / RATE_HZ).vertices * TURN
    np.testing.assert_allclose(np.ptp(shown, axis=0), np.ptp(mesh.vertices, axis=0), atol=1e-4)


def test_without_a_pose_there_is_nothing_to_write(tmp_path: Path) -> None:
    avatar = VrmAvatar(VrmModel(write_vrm(tmp_path / "me.vrm", BUILDS["short"]())), PERSON)
    for name in body_files(avatar):
        with pytest.raises(InputError, match=f"{name}: no pose was recorded"):
            write_body(tmp_path / name, avatar, pose_recorder())
        assert not (tmp_path / name).exists()
