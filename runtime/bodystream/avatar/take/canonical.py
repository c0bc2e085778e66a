"""The canonical pose of clothed avatars and the 24 bones that carry it to every other pose.

The bones are SMPL's 24 in SMPL's order: the 22 joints of `bodystream.geometry.skeleton` and a bone per hand, which
stands on the wrist and does not turn by itself. The canonical pose is a star: the T-pose (arms level, palms down) with
each leg turned outwards by 25 degrees, so that no parts of the body touch. Its frame is the body's: x to its right, y
up, -z where it looks, the pelvis at the origin [m].
"""

from __future__ import annotations

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix, turn_about
from bodystream.geometry.skeleton import ARMS, JOINT_INDEX, JOINTS, PARENTS, Skeleton, forward_kinematics
from bodystream.types import Array

__all__ = [
    "BONES",
    "BONE_PARENTS",
    "LEG_TURN_DEG",
    "bone_places",
    "canonical_rotations",
    "matrices_of_pose",
    "pose_of_bones",
    "posed_from_canonical",
    "rest_joints",
]

BONES = (*JOINTS, "left_hand", "right_hand")
"""SMPL's 24 bones in SMPL's order."""

BONE_PARENTS = (*PARENTS, JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"])
"""Of each bone, its parent; a parent comes before its children."""

LEG_TURN_DEG = 25.0
"""How far each leg is turned outwards from the T-pose; arms stay level."""

_HAND_PER_FOREARM = 0.33
"""How far the hand's bone, at the middle of the palm, is from the wrist, in lengths of the forearm."""


def canonical_rotations() -> Array:
    """(22, 3, 3) of the canonical pose: each joint in its parent's frame, from the T-pose."""
    rotations = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    for side, sign in (("left", -1.0), ("right", 1.0)):  # the left is at -x
        rotations[JOINT_INDEX[f"{side}_hip"]] = turn_about(np.array([0.0, 0.0, 1.0]), sign * np.radians(LEG_TURN_DEG))
    return rotations


def bone_places(skeleton: Skeleton, rotations: Array, root_positions_m: Array) -> Array:
    """Where the 24 bones are: (..., 24, 4, 4) `world_from_bone`, float64.

    Args:
        rotations: (..., 22, 3, 3), each joint in its parent's frame, the pelvis in the world.
        root_positions_m: (..., 3) of the pelvis [m].
    """
    positions, turns = forward_kinematics(skeleton.offsets_m, np.asarray(rotations, np.float64), root_positions_m)
    out = np.zeros((*positions.shape[:-2], len(BONES), 4, 4))
    out[..., 3, 3] = 1.0
    count = len(JOINTS)
    out[..., :count, :3, :3] = turns
    out[..., :count, :3, 3] = positions
    for number, (_, wrist) in enumerate(ARMS.values()):
        palm = _HAND_PER_FOREARM * skeleton.offsets_m[wrist]
        out[..., count + number, :3, :3] = turns[..., wrist, :, :]
        out[..., count + number, :3, 3] = positions[..., wrist, :] + turns[..., wrist, :, :] @ palm
    return out


def rest_joints(skeleton: Skeleton) -> Array:
    """(24, 3) of the bones in the canonical pose [m], the pelvis at the origin."""
    return bone_places(skeleton, canonical_rotations(), np.zeros(3))[:, :3, 3]


def posed_from_canonical(skeleton: Skeleton, rotations: Array, root_positions_m: Array) -> Array:
    """What carries each bone from the canonical pose to a pose: (..., 24, 4, 4), rigid, float64.

    Args:
        rotations: (..., 22, 3, 3) and root_positions_m: (..., 3), as of `bone_places`.
    """
    at_rest = bone_places(skeleton, canonical_rotations(), np.zeros(3))
    return bone_places(skeleton, rotations, root_positions_m) @ np.linalg.inv(at_rest)


def pose_of_bones(posed_from_canonical: Array) -> Array:
    """The pose that transforms are of: (..., 24, 4) unit quaternions xyzw in each parent's frame, from the T-pose.

    Args:
        posed_from_canonical: (..., 24, 4, 4), rigid.
    """
    at_rest = np.tile(np.eye(3), (len(BONES), 1, 1))
    canonical = canonical_rotations()
    for bone, parent in enumerate(BONE_PARENTS):
        own = canonical[bone] if bone < len(JOINTS) else np.eye(3)
        at_rest[bone] = own if parent < 0 else at_rest[parent] @ own
    world = np.asarray(posed_from_canonical, np.float64)[..., :3, :3] @ at_rest
    local = world.copy()
    for bone, parent in enumerate(BONE_PARENTS):
        if parent >= 0:
            local[..., bone, :, :] = np.swapaxes(world[..., parent, :, :], -1, -2) @ world[..., bone, :, :]
    return quaternion_from_matrix(local)


def matrices_of_pose(rotations_xyzw: Array) -> Array:
    """(..., 22, 3, 3) of the (..., 24, 4) quaternions of a frame: what `posed_from_canonical` takes."""
    return matrix_from_quaternion(np.asarray(rotations_xyzw, np.float64)[..., : len(JOINTS), :])
