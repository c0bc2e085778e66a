"""How bones move a surface: the motion of graphs and skeletons as that of bones, and linear blend skinning."""

from __future__ import annotations

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import Skeleton, forward_kinematics
from bodystream.types import BodyPose, BoneMotion, GraphSnapshot

__all__ = ["body_motion", "graph_motion"]


def graph_motion(graph: GraphSnapshot) -> BoneMotion:
    """The nodes of a deformation graph as bones in the camera's frame: node i is at v_i + t_i, turned by R_i.

    Raises:
        InputError: a motion that is not finite, or arrays of different lengths.
    """
    count = len(graph.positions)
    if graph.rotations.shape != (count, 3, 3) or graph.translations.shape != (count, 3):
        raise InputError(
            f"graph at {graph.t_ns} ns: {count} nodes need rotations {(count, 3, 3)} and "
            f"translations {(count, 3)}, got {graph.rotations.shape} and {graph.translations.shape}"
        )
    if not (np.isfinite(graph.rotations).all() and np.isfinite(graph.translations).all()):
        raise InputError(f"graph at {graph.t_ns} ns: a node's motion is not finite; the frame is left out")
    rotations = quaternion_from_matrix(graph.rotations).astype(np.float32)
    return BoneMotion(graph.t_ns, rotations, graph.positions + graph.translations)


def body_motion(skeleton: Skeleton, pose: BodyPose) -> BoneMotion:
    """The 22 joints of a pose as bones in the world.

    Raises:
        InputError: a pose that is not finite, or with a quaternion of no length.
    """
    lengths = np.linalg.norm(pose.rotations_xyzw, axis=-1)
    if not (np.isfinite(lengths).all() and lengths.min() > 1e-6 and np.isfinite(pose.root_position_m).all()):
        raise InputError(f"the pose at {pose.t_ns} ns is not finite, or has a quaternion without length")
    local = matrix_from_quaternion(pose.rotations_xyzw)
    positions, world = forward_kinematics(skeleton.offsets_m, local, pose.root_position_m)
    return BoneMotion(pose.t_ns, quaternion_from_matrix(world).astype(np.float32), positions.astype(np.float32))
