"""From a pose to the bones that a clothed avatar's networks know, and their six numbers each."""

from __future__ import annotations

import numpy as np

from bodystream.avatar.clothed.body import BONES
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import ARMS, JOINTS, Skeleton, forward_kinematics
from bodystream.types import Array

__all__ = ["BonePoser", "bone_parameters"]


class BonePoser:
    """Carries the bones of a body from the canonical pose to others.

    Args:
        skeleton, hands_m, canonical_rotations: see `ClothedBody`.
    """

    def __init__(self, skeleton: Skeleton, hands_m: Array, canonical_rotations: Array) -> None:
        self._offsets, self._hands = skeleton.offsets_m, hands_m
        self._wrists = [wrist for _, wrist in ARMS.values()]
        at_rest = self._places(canonical_rotations, np.zeros(3))
        self._canonical_from_rest = np.linalg.inv(at_rest)

    def posed(self, rotations_xyzw: Array, root_position_m: Array) -> Array:
        """(24, 4, 4) float64 `posed_from_canonical` of a pose: (22, 4) quaternions and the pelvis' place [m]."""
        turns = matrix_from_quaternion(np.asarray(rotations_xyzw, np.float64))
        return self._places(turns, np.asarray(root_position_m, np.float64)) @ self._canonical_from_rest

    def _places(self, rotations: Array, root_m: Array) -> Array:
        positions, turns = forward_kinematics(self._offsets, rotations, root_m)
        out = np.tile(np.eye(4), (BONES, 1, 1))
        count = len(JOINTS)
        out[:count, :3, :3], out[:count, :3, 3] = turns, positions
        for hand, wrist in enumerate(self._wrists):
            out[count + hand, :3, :3] = turns[wrist]
            out[count + hand, :3, 3] = positions[wrist] + turns[wrist] @ self._hands[hand]
        return out


def bone_parameters(bones: Array, out: Array) -> None:
    """Write translation [m] and Euler angles [rad] about x, y, z, in this order, of (B, 4, 4) bones to (B, 6)."""
    out[:, :3] = bones[:, :3, 3]
    out[:, 3] = np.arctan2(bones[:, 2, 1], bones[:, 2, 2])
    out[:, 4] = np.arcsin(np.clip(-bones[:, 2, 0], -1.0, 1.0))
    out[:, 5] = np.arctan2(bones[:, 1, 0], bones[:, 0, 0])
