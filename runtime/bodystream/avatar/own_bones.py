"""The bones of an avatar as its own file has them: which there are, how they are turned at rest, what they hang on.

Poses are of canonical frames, which nothing turns in the T-pose. What drives a copy of the avatar somewhere else wants
each bone relative to the node that it hangs on, in the axes that the file gave them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.geometry.fingers import finger_motion
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array, BoneMotion, FingerBone, HeadsetSample

__all__ = ["OwnBones", "OwnFingers"]


@dataclass(frozen=True, slots=True)
class OwnFingers:
    """Segments of fingers as the avatar's file has them, each after the one that it hangs on.

    Attributes:
        segments: (F) what turns each; `above` is the entry that it hangs on.
        bone_from_wrist: (F, 4, 4) each, seen from its hand's canonical frame at rest.
        node_from_wrist: (F, 4, 4) the node that it hangs on, seen from there.
    """

    segments: tuple[FingerBone, ...]
    bone_from_wrist: Array
    node_from_wrist: Array

    def local(self, bones: BoneMotion, sample: HeadsetSample) -> tuple[Array, Array]:
        """Each relative to the node that it hangs on, as `OwnBones.local`.

        Args:
            bones: the avatar's 22 joints in the world.
            sample: whose hands, as far as their joints are tracked, the fingers are as; others are as at rest.

        Returns:
            (F, 3) positions in that node's unit, and (F, 4) quaternions xyzw.
        """
        wrists = [JOINT_INDEX[f"{finger.side}_wrist"] for finger in self.segments]
        turned = _frames(*finger_motion(self.segments, bones, sample))
        on = _frames(np.asarray(bones.rotations_xyzw)[wrists], np.asarray(bones.positions_m)[wrists])
        for k, finger in enumerate(self.segments):
            if finger.above >= 0:
                on[k] = turned[finger.above]
        return _seen_from(on @ self.node_from_wrist, turned @ self.bone_from_wrist)


@dataclass(frozen=True, slots=True)
class OwnBones:
    """Attributes:
    has: (22,) bool, the joints that are bones of the avatar.
    above: (22,) of each bone the nearest bone above it, -1 of the pelvis.
    bone_from_canonical: (22, 4, 4) each bone, seen from its canonical frame: `world_from_canonical @` this is
        `world_from_bone`, the scale of its node included.
    node_from_above: (22, 4, 4) of each bone the node that it hangs on, seen from the canonical frame of the bone above;
        of the pelvis in the world of the avatar at rest.
    fingers: that hang on its hands; None where the file has none.
    """

    has: Array
    above: Array
    bone_from_canonical: Array
    node_from_above: Array
    fingers: OwnFingers | None = None

    def local(self, joints_m: Array, orientations: Array) -> tuple[Array, Array]:
        """Each bone relative to the node that it hangs on; of what is no bone the numbers mean nothing.

        Args:
            joints_m, orientations: (22, 3) [m] and (22, 3, 3), of the avatar's pose: world from canonical.

        Returns:
            (22, 3) positions in that node's unit, and (22, 4) quaternions xyzw.
        """
        frames = np.zeros((len(JOINTS) + 1, 4, 4))
        frames[:, 3, 3] = 1.0
        frames[:-1, :3, :3], frames[:-1, :3, 3] = orientations, joints_m
        frames[-1] = np.eye(4)  # the world, of `above` -1
        return _seen_from(frames[self.above] @ self.node_from_above, frames[:-1] @ self.bone_from_canonical)


def _frames(rotations_xyzw: Array, positions_m: Array) -> Array:
    """(F, 4, 4) of (F, 4) and (F, 3)."""
    out = np.tile(np.eye(4), (len(positions_m), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = matrix_from_quaternion(rotations_xyzw), positions_m
    return out


def _seen_from(nodes: Array, bones: Array) -> tuple[Array, Array]:
    """Positions in the nodes' units and quaternions xyzw of (N, 4, 4) bones, seen from (N, 4, 4) nodes."""
    local = np.linalg.inv(nodes) @ bones
    turns = local[:, :3, :3] / np.linalg.norm(local[:, :3, :3], axis=1, keepdims=True)
    return local[:, :3, 3], quaternion_from_matrix(turns)
