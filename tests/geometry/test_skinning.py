"""Bones of graphs and skeletons against the equations that define them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton
from bodystream.geometry.skinning import body_motion, graph_motion
from bodystream.types import BodyPose, GraphSnapshot

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


def test_joints_of_a_pose_are_bones_that_stand_where_the_chain_leads() -> None:
    rng = np.random.default_rng(3)
    skeleton = Skeleton(rng.normal(0, 0.2, (len(JOINTS), 3)))
    local = Rotation.random(len(JOINTS), random_state=3)
    root = np.array([1.0, 2.0, 3.0], np.float32)
    motion = body_motion(skeleton, BodyPose(9, local.as_quat().astype(np.float32), root))
    joint, chain = JOINT_INDEX["left_wrist"], []
    while joint >= 0:
        chain.append(joint)
        joint = PARENTS[joint]
    turn, place = Rotation.identity(), root.astype(np.float64)
    for joint in reversed(chain):
        place = place + turn.apply(skeleton.offsets_m[joint].copy())
        turn = turn * local[joint]
    wrist = JOINT_INDEX["left_wrist"]
    np.testing.assert_allclose(motion.positions_m[wrist], place, atol=POSITION_M)
    np.testing.assert_allclose(
        Rotation.from_quat(motion.rotations_xyzw[wrist]).as_matrix(), turn.as_matrix(), atol=1e-6
    )


@pytest.mark.parametrize("name", ["rotations", "translations"])
def test_a_graph_that_is_not_finite_is_named(name: str) -> None:
    graph = a_graph()
    broken = getattr(graph, name).copy()
    broken.flat[0] = np.nan
    with pytest.raises(InputError, match="graph at 7 ns: a node's motion is not finite"):
        graph_motion(replace(graph, **{name: broken}))


def test_a_pose_without_length_is_refused() -> None:
    skeleton = Skeleton(np.zeros((len(JOINTS), 3)))
    with pytest.raises(InputError, match="a quaternion without length"):
        body_motion(skeleton, BodyPose(1, np.zeros((len(JOINTS), 4), np.float32), np.zeros(3, np.float32)))
