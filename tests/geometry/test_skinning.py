"""Bones of graphs and skeletons against the equations that define them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS, forward_kinematics
from bodystream.geometry.skinning import body_motion, graph_motion, influences, posed, unturned_bones
from bodystream.types import BodyPose, GraphSnapshot, Mesh, SkinnedMesh
from helpers.driven_body import shipped_body, skinned
from helpers.sink_shapes import graph_of, snapshot, tube, warp
from helpers.sink_shapes import motion as motion_of_graph

POSITION_M = 1e-6


def a_graph(nodes: int = 5, seed: int = 0) -> GraphSnapshot:
    rng = np.random.default_rng(seed)
    return GraphSnapshot(
        7,
        rng.normal(0, 1, (nodes, 3)).astype(np.float32),
        Rotation.random(nodes, random_state=seed).as_matrix().astype(np.float32),
        rng.normal(0, 0.1, (nodes, 3)).astype(np.float32),
        np.full((nodes, 2), -1, np.int32),
        np.zeros(nodes, np.int32),
    )


def test_a_node_is_a_bone_that_stands_where_its_own_position_moves_to() -> None:
    graph = a_graph()
    motion = graph_motion(graph)
    assert motion.t_ns == 7 and motion.rotations_xyzw.dtype == motion.positions_m.dtype == np.float32
    turned = Rotation.from_quat(motion.rotations_xyzw)
    np.testing.assert_allclose(turned.as_matrix(), graph.rotations, atol=1e-6)
    # Q(v_i) of one anchor: R_i (v_i - v_i) + v_i + t_i, and of a point beside it R_i d further.
    np.testing.assert_allclose(motion.positions_m, graph.positions + graph.translations, atol=POSITION_M)


def chained(local: Rotation, joint: int) -> Rotation:
    """A joint's orientation in the world: the product along its chain."""
    turn = local[joint]
    while PARENTS[joint] >= 0:
        joint = PARENTS[joint]
        turn = local[joint] * turn
    return turn


def test_joints_of_a_pose_are_bones_where_they_are_and_turned_as_the_chain_says() -> None:
    local, joints = Rotation.random(len(JOINTS), random_state=3), np.random.default_rng(3).normal(size=(22, 3))
    motion = body_motion(BodyPose(9, local.as_quat().astype(np.float32), np.zeros(3, np.float32)), joints)
    assert motion.t_ns == 9
    np.testing.assert_array_equal(motion.positions_m, joints)
    for joint in range(len(JOINTS)):
        off = Rotation.from_quat(motion.rotations_xyzw[joint]).inv() * chained(local, joint)
        assert off.magnitude() < 1e-6


def test_a_surface_on_a_graph_is_posed_as_the_graph_deforms() -> None:
    mesh = tube()
    v, anchors, weights = graph_of(mesh, 12)
    rotations, translations = motion_of_graph(v, 5)
    skin = SkinnedMesh(mesh, anchors, weights, unturned_bones(v))
    got = posed(skin, graph_motion(snapshot(3, v, rotations[4], translations[4])))
    wanted = warp(mesh.vertices, anchors, weights, v, rotations[4], translations[4])
    np.testing.assert_allclose(got.vertices, wanted, atol=2e-6)
    assert got.normals is not None and got.faces is mesh.faces and got.colours is mesh.colours
    turned = np.einsum("vk,vkab,vb->va", weights, rotations[4].astype(float)[anchors], mesh.normals)
    np.testing.assert_allclose(got.normals, turned / np.linalg.norm(turned, axis=1, keepdims=True), atol=1e-4)
    with pytest.raises(InputError, match="a skin of 12 bones got a motion of 11"):
        posed(skin, graph_motion(snapshot(3, v[:11], rotations[4, :11], translations[4, :11])))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_body_on_its_skeleton_is_posed_as_float64_says(seed: int) -> None:
    body, skeleton = shipped_body()
    local = Rotation.from_rotvec(np.random.default_rng(seed).normal(0, 0.4, (22, 3)))
    joints, world = forward_kinematics(skeleton.offsets_m, local.as_matrix(), np.array([0.3, 0.9, -2.0]))
    pose = BodyPose(1, local.as_quat().astype(np.float32), np.zeros(3, np.float32))
    np.testing.assert_allclose(posed(body, body_motion(pose, joints)).vertices, skinned(body, joints, world), atol=2e-6)


def test_odd_influences_are_named_once_and_sum_to_one() -> None:
    mesh = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    bones = np.array([[1, 1, 0, -1], [-1, -1, -1, -1], [2, 0, -1, -1]], np.int32)
    weights = np.array([[0.25, 0.25, 0.5, 0], [0, 0, 0, 0], [0.3, 0.2, 0, 0]], np.float32)
    skin = SkinnedMesh(mesh, bones, weights, unturned_bones(np.array([[0.0, 0, 5], [1.1, 0, 0], [0, 3, 0]])))
    joints, w, loose = influences(skin)
    assert joints.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]] and loose == 1
    np.testing.assert_allclose(w, [[0.5, 0, 0.5, 0], [1, 0, 0, 0], [0.6, 0.4, 0, 0]], atol=1e-7)
    some = np.array([2, 1])
    of_some, w_of_some, loose_of_some = influences(skin, some)
    assert of_some.tolist() == joints[some].tolist() and loose_of_some == 1
    np.testing.assert_array_equal(w_of_some, w[some])


@pytest.mark.parametrize("name", ["rotations", "translations"])
def test_a_graph_that_is_not_finite_is_named(name: str) -> None:
    graph = a_graph()
    broken = getattr(graph, name).copy()
    broken.flat[0] = np.nan
    with pytest.raises(InputError, match="graph at 7 ns: a node's motion is not finite"):
        graph_motion(replace(graph, **{name: broken}))


def test_a_pose_without_length_is_refused() -> None:
    with pytest.raises(InputError, match="a quaternion without length"):
        body_motion(BodyPose(1, np.zeros((22, 4), np.float32), np.zeros(3, np.float32)), np.zeros((22, 3)))
