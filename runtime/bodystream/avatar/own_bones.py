"""The bones of an avatar as its own file has them: which there are, how they are turned at rest, what they hang on.

Poses are of canonical frames, which nothing turns in the T-pose. What drives a copy of the avatar somewhere else wants
each bone relative to the node that it hangs on, in the axes that the file gave them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["OwnBones"]


@dataclass(frozen=True, slots=True)
class OwnBones:
    """Attributes:
    has: (22,) bool, the joints that are bones of the avatar.
    above: (22,) of each bone the nearest bone above it, -1 of the pelvis.
    bone_from_canonical: (22, 4, 4) each bone, seen from its canonical frame: `world_from_canonical @` this is
        `world_from_bone`, the scale of its node included.
    node_from_above: (22, 4, 4) of each bone the node that it hangs on, seen from the canonical frame of the bone above;
        of the pelvis in the world of the avatar at rest.
    """

    has: Array
    above: Array
    bone_from_canonical: Array
    node_from_above: Array

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
        local = np.linalg.inv(frames[self.above] @ self.node_from_above) @ frames[:-1] @ self.bone_from_canonical
        turns = local[:, :3, :3] / np.linalg.norm(local[:, :3, :3], axis=1, keepdims=True)
        return local[:, :3, 3], quaternion_from_matrix(turns)
