"""The skinned body against float64, forward kinematics and what a surface must keep."""

from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest
import warp as wp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.avatar import Avatar, LbsAvatar, load_rig
from bodystream.avatar.posed_surface import face_rings
from bodystream.device import initialise_warp, select_device
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINT_INDEX, align_rest, forward_kinematics, local_rotations
from bodystream.types import Array
from helpers.avatar_poses import IDENTITY, POSES, SKELETONS, own_skeleton, random_pose
from helpers.driven_body import skinned

TOLERANCE_M = 5e-6  # float32 at a few metres from the origin
ROOT = np.array([2.0, 0.9, -3.0])

initialise_warp()
DEVICES = ["cpu", *(["cuda:0"] if wp.is_cuda_available() else [])]


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> wp.Device:
    return select_device(request.param)


@pytest.fixture(scope="module", params=list(SKELETONS))
def avatar(request: pytest.FixtureRequest, device: wp.Device) -> LbsAvatar:
    return LbsAvatar(SKELETONS[request.param](), device)


@pytest.fixture(scope="module")
def plain() -> LbsAvatar:
    return LbsAvatar()


def kinematics(avatar: LbsAvatar, pose: Array, root: Array = ROOT) -> tuple[Array, Array]:
    return forward_kinematics(avatar.skeleton.offsets_m, matrix_from_quaternion(pose), root)


def corner_normals(vertices: Array, faces: Array) -> Array:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.cross(b - a, c - a)


def volume(vertices: Array, faces: Array) -> float:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0


@pytest.mark.parametrize("name", [*POSES, "random"])
def test_the_kernels_agree_with_float64(avatar: LbsAvatar, name: str) -> None:
    pose = random_pose(3) if name == "random" else POSES[name]
    mesh = avatar.pose(pose, ROOT)
    joints, orientations = kinematics(avatar, pose)
    np.testing.assert_allclose(mesh.vertices, skinned(avatar.skin, joints, orientations), atol=TOLERANCE_M)
    np.testing.assert_allclose(avatar.joints.numpy(), joints, atol=TOLERANCE_M)


@pytest.mark.parametrize("name", list(POSES))
def test_normals_are_those_of_the_posed_faces(avatar: LbsAvatar, name: str) -> None:
    mesh = avatar.pose(POSES[name], np.zeros(3))
    faces = corner_normals(mesh.vertices, mesh.faces)
    wanted = np.zeros((len(mesh.vertices), 3))
    for corner in range(3):
        np.add.at(wanted, mesh.faces[:, corner], faces)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert mesh.normals is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    # Where folded faces nearly cancel, rounding turns what is left.
    agree = np.einsum("ij,ij->i", mesh.normals, wanted)
    assert np.quantile(agree, 0.001) > 0.9999 and (agree < 0.99).sum() <= 3


def test_identity_is_the_tpose(avatar: LbsAvatar) -> None:
    mesh = avatar.pose(IDENTITY, np.zeros(3))
    np.testing.assert_allclose(avatar.joints.numpy(), avatar.skeleton.rest_positions_m, atol=TOLERANCE_M)
    size = avatar.skeleton.stature_m
    hand = mesh.vertices[avatar.skin.bones[:, 0] == JOINT_INDEX["right_wrist"]]
    shoulder = avatar.joints.numpy()[JOINT_INDEX["right_shoulder"]]
    assert np.ptp(hand[:, 1]) < 0.07 * size  # palms down: a hand is flat
    assert abs(hand[:, 1].mean() - shoulder[1]) < 0.03 * size
    extent = np.ptp(mesh.vertices, axis=0)
    assert extent[0] > 0.95 * size and extent[2] < 0.25 * size  # arms straight out, feet straight ahead
    np.testing.assert_allclose(mesh.vertices.min(axis=0)[0], -mesh.vertices.max(axis=0)[0], atol=2e-3)


def test_of_the_own_body_what_is_not_turned_stays(plain: LbsAvatar) -> None:
    body = plain.skin
    mesh = plain.pose(IDENTITY, body.bind_positions_m[0])
    still = [
        JOINT_INDEX[n] for n in ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar")
    ]
    only = (body.weights * np.isin(body.bones, still)).sum(axis=1) > 1 - 1e-7
    assert only.sum() > 4500
    np.testing.assert_allclose(mesh.vertices[only], body.mesh.vertices[only], atol=TOLERANCE_M)


def test_the_apose_gives_the_surface_at_bind(avatar: LbsAvatar) -> None:
    _, bind_from_bone = align_rest(load_rig().bind_positions_m)
    mesh = avatar.pose(local_rotations(bind_from_bone), avatar.skin.bind_positions_m[0])
    np.testing.assert_allclose(mesh.vertices, avatar.skin.mesh.vertices, atol=TOLERANCE_M)
    np.testing.assert_allclose(avatar.joints.numpy(), avatar.skin.bind_positions_m, atol=TOLERANCE_M)


def test_a_move_of_the_root_moves_all_rigidly(avatar: LbsAvatar) -> None:
    pose = POSES["seated"].copy()
    before = avatar.pose(pose, np.zeros(3))
    turn, shift = Rotation.from_rotvec([0.4, 2.0, -0.7]), np.array([5.0, 0.3, -5.0])
    pose[0] = (turn * Rotation.from_quat(pose[0])).as_quat()
    after = avatar.pose(pose, shift)
    np.testing.assert_allclose(after.vertices, before.vertices @ turn.as_matrix().T + shift, atol=TOLERANCE_M)
    turned = np.einsum("vi,ij,vj->v", after.normals, turn.as_matrix(), before.normals)
    assert np.quantile(turned, 0.001) > 0.999  # float32 at 7 m: small faces lose some digits


@pytest.mark.parametrize("name", ["T", "A", "hanging", "arms up"])
def test_no_triangle_turns_over(avatar: LbsAvatar, name: str) -> None:
    """Against the orientation at bind, carried along by each face's blended bones."""
    body = avatar.skin
    mesh = avatar.pose(POSES[name], np.zeros(3))
    _, orientations = kinematics(avatar, POSES[name])
    bones = (orientations @ body.bone_from_bind[:, :3, :3])[body.bones]
    blended = np.einsum("vk,vkab->vab", body.weights, bones)[body.mesh.faces].mean(axis=1)
    cofactor = np.linalg.inv(blended).swapaxes(1, 2)
    carried = np.einsum("fab,fb->fa", cofactor, corner_normals(body.mesh.vertices, body.mesh.faces))
    over = np.einsum("fa,fa->f", carried, corner_normals(mesh.vertices, mesh.faces)) < 0
    assert over.sum() <= (5 if name in ("T", "A") else 27)  # of 26,972, in the folds of armpits
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(volume(body.mesh.vertices, body.mesh.faces), rel=0.03)


@pytest.mark.parametrize("name", ["seated", "turned"])
def test_the_volume_survives_strong_bends(avatar: LbsAvatar, name: str) -> None:
    mesh = avatar.pose(POSES[name], np.zeros(3))
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(volume(avatar.skin.mesh.vertices, mesh.faces), rel=0.12)


@cache
def shared_avatar() -> LbsAvatar:
    return LbsAvatar()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.0, 3.0), scale=st.floats(0.01, 100.0))
def test_any_pose_is_finite_and_its_joints_are_where_kinematics_say(seed: int, spread: float, scale: float) -> None:
    avatar = shared_avatar()
    pose = random_pose(seed, spread)
    mesh = avatar.pose(pose * scale, ROOT)  # quaternions of any length
    assert mesh.normals is not None and np.isfinite(mesh.vertices).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(avatar.joints.numpy(), kinematics(avatar, pose)[0], atol=TOLERANCE_M)
    reach = np.linalg.norm(mesh.vertices - ROOT, axis=1).max()
    assert reach < 1.3 * avatar.skeleton.stature_m


def test_matrices_and_quaternions_are_the_same_pose(plain: LbsAvatar) -> None:
    pose = random_pose(8)
    by_quaternion, by_matrix = plain.pose(pose, ROOT), plain.pose(matrix_from_quaternion(pose), ROOT)
    np.testing.assert_allclose(by_quaternion.vertices, by_matrix.vertices, atol=1e-6)


def test_meshes_do_not_share_what_the_next_pose_overwrites(plain: LbsAvatar) -> None:
    first = plain.pose(POSES["T"], np.zeros(3))
    kept = first.vertices.copy()
    second = plain.pose(POSES["seated"], np.zeros(3))
    assert np.array_equal(first.vertices, kept) and np.abs(second.vertices - kept).max() > 0.3
    assert first.faces is second.faces and first.colours is second.colours


def test_steady_state_allocates_nothing_large(plain: LbsAvatar) -> None:
    vertices, normals = np.empty((2, len(plain.skin.mesh.vertices), 3), np.float32)
    poses = [random_pose(seed) for seed in range(5)]
    for pose in poses:
        plain.pose_into(pose, ROOT, vertices, normals)
    addresses = (plain.vertices.ptr, plain.normals.ptr)
    tracemalloc.start()
    for pose in poses * 10:
        plain.pose_into(pose, ROOT, vertices, normals)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000 and held < 60_000  # the mesh has 324 kB
    assert (plain.vertices.ptr, plain.normals.ptr) == addresses
    np.testing.assert_array_equal(vertices, plain.vertices.numpy())


def test_it_is_an_avatar(plain: LbsAvatar) -> None:
    assert isinstance(plain, Avatar)
    assert plain.device.is_cpu and len(plain.skin.mesh.vertices) == 13492
    assert plain.faces.dtype == np.int32 and plain.colours.dtype == np.uint8
    np.testing.assert_allclose(plain.skeleton.offsets_m, own_skeleton().offsets_m)


def test_rings_hold_each_face_at_each_corner() -> None:
    faces = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    starts, ring = face_rings(faces, 5)
    around = [ring[starts[v] : starts[v + 1]].tolist() for v in range(5)]
    assert around == [[[1, 2]], [[2, 0], [3, 2]], [[0, 1], [1, 3]], [[2, 1]], []]


def spoiled(value: float, joint: str = "left_knee") -> Array:
    pose = IDENTITY.copy()
    pose[JOINT_INDEX[joint]] = value
    return pose


@pytest.mark.parametrize(
    ("rotations", "root", "message"),
    [
        (np.zeros((24, 4)), np.zeros(3), r"\(22, 4\).*\(22, 3, 3\).*got \(24, 4\)"),
        (IDENTITY, np.zeros((1, 3)), r"root position of shape \(3,\), got \(22, 4\) and \(1, 3\)"),
        (spoiled(np.nan), np.zeros(3), "not finite at left_knee"),
        (IDENTITY, np.array([0.0, np.inf, 0.0]), "not finite at the root position"),
        (spoiled(0.0, "head"), np.zeros(3), "without length at head"),
    ],
)
def test_a_bad_pose_is_refused_and_the_last_one_stays(
    plain: LbsAvatar, rotations: Array, root: Array, message: str
) -> None:
    plain.pose(POSES["A"], ROOT)
    before = plain.vertices.numpy().copy()
    with pytest.raises(InputError, match=message):
        plain.pose(rotations, root)
    np.testing.assert_array_equal(plain.vertices.numpy(), before)


def test_buffers_of_the_wrong_kind_are_refused(plain: LbsAvatar) -> None:
    good = np.empty((len(plain.skin.mesh.vertices), 3), np.float32)
    with pytest.raises(InputError, match="vertices_out must be float32 .* got float64"):
        plain.pose_into(IDENTITY, ROOT, good.astype(np.float64), good)
    with pytest.raises(
        InputError, match=r"normals_out must be float32 of shape \(13492, 3\), got float32 of shape \(7, 3\)"
    ):
        plain.pose_into(IDENTITY, ROOT, good, good[:7])
