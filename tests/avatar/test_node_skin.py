"""The skin of joints and nodes of a learned avatar: how near it brings the surface to where the avatar puts it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.clothed import node_skin
from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel
from bodystream.avatar.clothed.node_skin import NodeSkin, make_node_skin
from bodystream.avatar.open import CLOTHED_AVATAR
from bodystream.bundles import find_bundle
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import HEAD, JOINTS, forward_kinematics
from bodystream.geometry.skinning import body_motion, posed
from bodystream.types import Array, BodyPose, BoneMotion
from helpers.clothed_bundles import COARSE, prepared_balls, write_balls

AWAY_M = np.array([0.4, 1.0, -2.0])


@pytest.fixture(scope="module")
def swaying(tmp_path_factory: pytest.TempPathFactory) -> ClothedModel:
    """Its networks move the surface by centimetres that follow the pose."""
    return ClothedModel(write_balls(tmp_path_factory.mktemp("swaying"), prepared_balls(spread=0.02), COARSE))


def off_mm(model: ClothedModel, nodes: NodeSkin, rotations: Array) -> Array:
    """(V,) between the avatar and its skin in a pose."""
    wanted = ClothedAvatar(model).pose(rotations, AWAY_M).vertices
    joints_m, _ = forward_kinematics(model.body.skeleton.offsets_m, matrix_from_quaternion(rotations), AWAY_M)
    bones = body_motion(BodyPose(0, rotations, AWAY_M), joints_m)
    motion = BoneMotion(
        0,
        np.concatenate([bones.rotations_xyzw, nodes.turned(bones.rotations_xyzw)]),
        np.concatenate([bones.positions_m, wanted[nodes.vertices]]),
    )
    return 1e3 * np.linalg.norm(posed(nodes.skin, motion).vertices - wanted, axis=1)


def poses(model: ClothedModel) -> list[Array]:
    """Of the avatar's training, other ones than those that the skin was made with, turned about the vertical."""
    known, about = model.known_poses.rotations.astype(np.float64), Rotation.from_rotvec([0.0, 1.2, 0.0])
    found = []
    for chosen in np.random.default_rng(5).integers(known.shape[1], size=6):
        pose = known[:, chosen].copy()
        pose[0] = (about * Rotation.from_quat(pose[0])).as_quat()
        found.append(pose)
    return found


def test_nodes_bring_the_surface_where_joints_do_not(swaying: ClothedModel) -> None:
    nodes = make_node_skin(swaying)
    by_joints = nodes.skin.bones[:, 0] < len(JOINTS)
    assert len(nodes.vertices) > 50 and not by_joints.all()
    of_nodes = np.mean([off_mm(swaying, nodes, pose) for pose in poses(swaying)], axis=0)
    alone = np.mean([_of_joints_alone(swaying, pose) for pose in poses(swaying)], axis=0)
    assert alone[~by_joints].mean() > 5.0, "the networks move nothing: this says nothing"
    assert of_nodes[~by_joints].mean() < 0.4 * alone[~by_joints].mean()
    assert of_nodes.mean() == pytest.approx(nodes.error_mean_mm, rel=0.5)


@pytest.mark.parametrize("limit", ["_SPACING_M", "_NEAR_M"])
def test_too_few_nodes_to_lie_between_are_none(
    limit: str, swaying: ClothedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where joints bring all of it, too: nothing is sent for nothing."""
    monkeypatch.setattr(node_skin, limit, 10.0)
    nodes = make_node_skin(swaying)
    assert len(nodes.vertices) == 0 and nodes.turned(nodes.canonical_xyzw).shape == (0, 4)
    assert len(nodes.skin.bone_from_bind) == len(JOINTS) and nodes.skin.bones.max() < len(JOINTS)


def _of_joints_alone(model: ClothedModel, rotations: Array) -> Array:
    """(V,) mm: all weights of the bundle, not four of them, by the avatar's own bones."""
    avatar = ClothedAvatar(model)
    wanted = avatar.pose(rotations, AWAY_M).vertices
    bones = avatar._bones.posed(rotations, AWAY_M)
    moved = np.einsum("vk,vkij->vij", model.body.skin_weights, bones[model.body.skin_bones])
    skinned = np.einsum("vij,vj->vi", moved[:, :3, :3], model.body.vertices) + moved[:, :3, 3]
    return 1e3 * np.linalg.norm(skinned - wanted, axis=1)


def test_the_shipped_ones_head_hangs_on_its_joint_and_clothes_on_nodes() -> None:
    model = ClothedModel(find_bundle(CLOTHED_AVATAR))
    nodes = make_node_skin(model)
    assert nodes.error_mean_mm < 2.0
    foremost = nodes.skin.bones[np.arange(len(nodes.skin.bones)), nodes.skin.weights.argmax(1)]
    head = (model.body.skin_bones[:, 0] == HEAD) & (model.body.skin_weights[:, 0] > 0.9)
    # Whose eyes are inside the head leave out what hangs on its joint.
    assert head.sum() > 300 and (foremost[head] == HEAD).mean() > 0.95
    assert len(nodes.vertices) <= 256
