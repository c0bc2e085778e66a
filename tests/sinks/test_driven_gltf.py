"""The driven body as glTF, evaluated as a player would, against the avatar that was driven."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.avatar import LbsAvatar
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.sinks.animation import AnimationRecorder
from bodystream.sinks.drive_take import pose_recorder, write_driven_gltf
from bodystream.sinks.gltf import GltfSummary
from bodystream.types import Array, BodyPose
from helpers.avatar_poses import IDENTITY, POSES, SKELETONS, random_pose
from helpers.needs import khronos_issues

TOLERANCE_M = 2e-5  # float32 on both sides
TURN = np.array([-1.0, 1.0, -1.0])  # the world, turned by 180 degrees about y: a person at rest looks along +z
_COMPONENTS = {5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Player:
    """Reads the file with pygltflib and skins it in float64, with nothing of the writer's code."""

    def __init__(self, path: Path) -> None:
        self.gltf = pygltflib.GLTF2().load_binary(str(path))
        self.blob = self.gltf.binary_blob()
        self.primitive = self.gltf.meshes[0].primitives[0]
        self.skin = self.gltf.skins[0]
        self.parents = {child: i for i, node in enumerate(self.gltf.nodes) for child in node.children or []}

    def array(self, index: int) -> Array:
        accessor = self.gltf.accessors[index]
        view = self.gltf.bufferViews[accessor.bufferView]
        width = _WIDTHS[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        flat = np.frombuffer(self.blob, _COMPONENTS[accessor.componentType], accessor.count * width, start)
        return flat.reshape(accessor.count, width)

    def attribute(self, name: str) -> Array:
        return self.array(getattr(self.primitive.attributes, name))

    @property
    def times(self) -> Array:
        return self.array(self.gltf.animations[0].samplers[0].input)[:, 0]

    def globals(self, frame: int | None) -> Array:
        """(N, 4, 4) of all nodes at a key frame; None = as they stand in the file."""
        rotations = [np.array(n.rotation or [0, 0, 0, 1.0]) for n in self.gltf.nodes]
        places = [np.array(n.translation or [0, 0, 0.0]) for n in self.gltf.nodes]
        if frame is not None:
            animation = self.gltf.animations[0]
            for channel in animation.channels:
                sampler = animation.samplers[channel.sampler]
                assert sampler.interpolation == "LINEAR"
                target = {"rotation": rotations, "translation": places}[channel.target.path]
                target[channel.target.node] = self.array(sampler.output)[frame].astype(np.float64)
        out: dict[int, Array] = {}

        def matrix(node: int) -> Array:
            if node not in out:
                local = np.eye(4)
                local[:3, :3] = Rotation.from_quat(rotations[node]).as_matrix()
                local[:3, 3] = places[node]
                out[node] = matrix(self.parents[node]) @ local if node in self.parents else local
            return out[node]

        return np.stack([matrix(i) for i in range(len(self.gltf.nodes))])

    def skinned(self, frame: int | None) -> Array:
        inverse_bind = self.array(self.skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
        joints = self.globals(frame)[self.skin.joints] @ inverse_bind
        which, weights = self.attribute("JOINTS_0"), self.attribute("WEIGHTS_0").astype(np.float64)
        points = np.concatenate([self.attribute("POSITION"), np.ones((len(weights), 1))], 1).astype(np.float64)
        return np.einsum("vk,vkij,vj->vi", weights, joints[which], points)[:, :3]


def driven(count: int = 12, rate_hz: float = 90.0) -> list[BodyPose]:
    """Named poses, then random ones; the pelvis turns on and on."""
    named = list(POSES.values())
    poses = []
    for i in range(count):
        rotations = (named[i] if i < len(named) else random_pose(i, 0.4)).copy()
        rotations[0] = Rotation.from_rotvec([0, 0.8 * i, 0]).as_quat(canonical=True)
        root = np.array([0.3 * i, 0.9, -0.1 * i])
        poses.append(BodyPose(5_000_000_000 + round(i * 1e9 / rate_hz), np.float32(rotations), np.float32(root)))
    return poses


def recorded(poses: list[BodyPose], **options: int) -> AnimationRecorder:
    recorder = pose_recorder(**options)
    for pose in poses:
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None])
    return recorder


def write(path: Path, recorder: AnimationRecorder, avatar: LbsAvatar) -> GltfSummary:
    return write_driven_gltf(path, avatar.skin, avatar.skeleton, recorder)


@pytest.fixture(scope="module", params=list(SKELETONS))
def take(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    avatar, poses = LbsAvatar(SKELETONS[request.param]()), driven()
    path = tmp_path_factory.mktemp("glb") / "driven.glb"
    summary = write(path, recorded(poses), avatar)
    return path, summary, avatar, poses


def test_a_player_sees_what_the_avatar_showed(take) -> None:
    path, summary, avatar, poses = take
    player = Player(path)
    np.testing.assert_allclose(player.times, np.arange(12) / 90.0, atol=1e-6)
    for frame, pose in enumerate(poses):
        mesh = avatar.pose(pose.rotations_xyzw, pose.root_position_m)
        np.testing.assert_allclose(player.skinned(frame), mesh.vertices * TURN, atol=TOLERANCE_M)
        np.testing.assert_allclose(player.globals(frame)[:22, :3, 3], avatar.joints.numpy() * TURN, atol=TOLERANCE_M)
    assert (summary.key_frames, summary.joints, summary.vertices, summary.unanchored) == (12, 22, 13492, 0)
    assert summary.bytes == path.stat().st_size and summary.duration_s == pytest.approx(11 / 90)


def test_at_rest_it_stands_in_the_tpose_on_the_floor(take) -> None:
    path, _, avatar, _ = take
    player = Player(path)
    height = avatar.skeleton.pelvis_height_m
    mesh = avatar.pose(IDENTITY, np.array([0.0, height, 0.0]))
    np.testing.assert_allclose(player.skinned(None), mesh.vertices * TURN, atol=TOLERANCE_M)
    joints = dict(zip(JOINTS, player.globals(None)[:22, :3, 3], strict=True))
    assert joints["left_wrist"][0] > 0.2 > -0.2 > joints["right_wrist"][0]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.03, "toes are ahead, on +z: the front of a glTF asset"
    for matrix in player.globals(None)[:22]:
        np.testing.assert_allclose(matrix[:3, :3], np.eye(3), atol=1e-9)
    assert player.globals(None)[:22, 1, 3].min() == pytest.approx(0.0, abs=1e-6)


def test_the_nodes_are_the_skeleton(take) -> None:
    path, _, avatar, _ = take
    gltf = Player(path).gltf
    assert [node.name for node in gltf.nodes[:22]] == list(JOINTS)
    for joint, parent in enumerate(PARENTS):
        assert (joint in (gltf.nodes[parent].children or [])) == (parent >= 0)
        if parent >= 0:
            np.testing.assert_allclose(
                gltf.nodes[joint].translation, avatar.skeleton.offsets_m[joint] * TURN, atol=1e-6
            )
    assert gltf.skins[0].joints == list(range(22)) and gltf.skins[0].skeleton == 0
    assert gltf.scenes[0].nodes == [0, 22] and gltf.nodes[22].skin == 0
    paths = [(c.target.node, c.target.path) for c in gltf.animations[0].channels]
    assert paths == [(j, "rotation") for j in range(22)] + [(0, "translation")]


def test_inverse_bind_matrices_are_rigid(take) -> None:
    """Importers take the bones' rest pose from them, which must have no scale or shear."""
    player = Player(take[0])
    matrices = player.array(player.skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
    turns = matrices[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (22, 1, 1)), atol=1e-6)
    np.testing.assert_array_equal(matrices[:, 3], np.tile([0, 0, 0, 1], (22, 1)))


def test_colours_normals_and_faces(take) -> None:
    path, _, avatar, _ = take
    player = Player(path)
    linear = player.attribute("COLOR_0")[:, :3] / 65535.0
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.round(srgb * 255).astype(np.uint8), avatar.colours)
    assert np.array_equal(player.array(player.primitive.indices).reshape(-1, 3), avatar.faces)
    normals = player.attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    weights = player.attribute("WEIGHTS_0").astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=2e-7)


def test_quaternions_do_not_flip(take) -> None:
    player = Player(take[0])
    animation = player.gltf.animations[0]
    negative = 0
    for channel in animation.channels[:22]:
        q = player.array(animation.samplers[channel.sampler].output).astype(np.float64)
        assert (np.sum(q[1:] * q[:-1], axis=1) >= 0).all()
        np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1.0, atol=1e-6)
        negative += int((q[:, 3] < 0).any())
    assert negative >= 1  # the pelvis turns more than once, which cannot stay at w >= 0


def test_trimesh_opens_it(take) -> None:
    path, _, avatar, _ = take
    (geometry,) = trimesh.load_scene(path).geometry.values()
    np.testing.assert_allclose(geometry.vertices, avatar.skin.mesh.vertices * TURN, atol=1e-6)
    assert np.array_equal(geometry.faces, avatar.faces) and geometry.is_watertight


def test_khronos_validator(take) -> None:
    issues = json.loads(khronos_issues(take[0]))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_a_long_recording_is_thinned_and_its_memory_bounded(tmp_path: Path) -> None:
    recorder = pose_recorder(max_frames=100)
    for i in range(950):
        recorder.add(i * 11_111_111, np.float32(IDENTITY), np.float32([[i, 0, 0]]))
        assert len(recorder) <= 100 and recorder.nbytes <= 101 * 364 + 12
    assert recorder.stride == 16 and len(recorder) == 60
    summary = write(tmp_path / "long.glb", recorder, LbsAvatar())
    player = Player(tmp_path / "long.glb")
    numbers = [*range(0, 950, 16), 949]  # and the last one
    np.testing.assert_allclose(player.times, np.array(numbers) * 0.011111111, atol=1e-5)
    moved = [player.globals(frame)[0, 0, 3] for frame in (0, 1, 59, 60)]
    assert moved == [0.0, -16.0, -944.0, -949.0] and summary.stride == 16


def test_recorded_poses_survive_the_reuse_of_buffers() -> None:
    rotations, root = np.float32(IDENTITY), np.zeros((1, 3), np.float32)
    recorder = pose_recorder()
    for i in range(2000):
        root[:] = i  # the producer overwrites its own array
        recorder.add(i, rotations, root)
    assert len(recorder) == 2000
    np.testing.assert_array_equal(recorder.result().positions_m[:, 0, 1], np.arange(2000))


def test_poses_out_of_order_or_broken_are_left_out_and_counted(tmp_path: Path) -> None:
    good = driven(4)
    broken = good[3].rotations_xyzw.copy()
    broken[7, 2] = np.nan
    flat = good[3].rotations_xyzw.copy()
    flat[7] = 0.0
    bad = [BodyPose(good[3].t_ns, rotations, good[3].root_position_m) for rotations in (broken, flat)]
    recorder = recorded([*good[:3], good[1], *bad, good[3]])
    assert (len(recorder), recorder.skipped) == (4, 3)
    assert write(tmp_path / "b.glb", recorder, LbsAvatar()).key_frames == 4


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pose was recorded"):
        write(tmp_path / "n.glb", pose_recorder(), LbsAvatar())
    assert not list(tmp_path.iterdir())


def test_poses_closer_together_than_a_file_can_tell_are_refused(tmp_path: Path) -> None:
    recorder = pose_recorder()
    for t_ns in (0, 10**16, 10**16 + 1):
        recorder.add(t_ns, np.float32(IDENTITY), np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="closer together than a file of"):
        write(tmp_path / "x.glb", recorder, LbsAvatar())
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_writing_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "driven.glb"
    path.write_bytes(b"earlier")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    recorder, avatar = recorded(driven(3)), LbsAvatar()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(path, recorder, avatar)
    assert path.read_bytes() == b"earlier" and [p.name for p in tmp_path.iterdir()] == ["driven.glb"]
    assert write(path, recorder, avatar).key_frames == 3  # nothing recorded is lost
