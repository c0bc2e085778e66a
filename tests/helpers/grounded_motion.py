"""A motion whose feet are on the floor by construction: the shipped body, set down on its lowest vertex each time."""

from __future__ import annotations

import numpy as np

from bodystream.avatar import LbsAvatar
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, Skeleton
from bodystream.types import Array
from helpers.driven_body import rotations_of_step

__all__ = ["grounded_motion"]

_STRIDES, _SQUATS = 24, 12


def grounded_motion(skeleton: Skeleton) -> tuple[Array, Array]:
    """(T, 22, 4) quaternions and (T, 3) places of the pelvis: strides along a curve, then squats with raised arms."""
    turns = [_with_level_feet(rotations_of_step(0.6 * k, yaw=0.12 * k)) for k in range(_STRIDES)]
    for k in range(_SQUATS):
        vectors, depth = np.zeros((22, 3)), 0.5 - 0.5 * np.cos(2 * np.pi * k / _SQUATS)
        for side, sign in (("left", 1.0), ("right", -1.0)):
            vectors[JOINT_INDEX[f"{side}_hip"]] = (1.3 * depth, 0.0, 0.1 * sign)
            vectors[JOINT_INDEX[f"{side}_knee"], 0] = -2.0 * depth
            vectors[JOINT_INDEX[f"{side}_ankle"], 0] = 0.6 * depth
            vectors[JOINT_INDEX[f"{side}_shoulder"], 2] = -0.9 * sign
        vectors[JOINT_INDEX["spine1"], 0] = -0.4 * depth
        turns.append(matrix_from_rotation_vector(vectors))
    rotations = quaternion_from_matrix(np.array(turns)).astype(np.float32)
    roots = np.zeros((len(turns), 3), np.float32)
    roots[:, 0] = 0.03 * np.arange(len(turns))
    roots[:, 2] = -0.04 * np.arange(len(turns))
    body = LbsAvatar(skeleton)
    for k, pose in enumerate(rotations):
        roots[k, 1] = -body.pose(pose, np.zeros(3)).vertices[:, 1].min()
    return rotations, roots


def _with_level_feet(turns: Array) -> Array:
    """The heel is lifted by a part of what the leg swings back, as that of who walks."""
    for side in ("left", "right"):
        hip, knee, ankle = (JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        turns[ankle] = (turns[hip] @ turns[knee]).T @ matrix_from_rotation_vector(np.array([-0.2, 0.0, 0.0]))
    return turns
