"""An avatar that has posed vertices only, as one whose surface is simulated: nothing can be skinned from it."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar.base import Posing, pose_quaternions
from bodystream.device import select_device
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["PlainAvatar"]

_CORNERS = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
_FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


class PlainAvatar:
    """A tetrahedron on each joint, which stands where the joint is and is turned as its bone."""

    retarget = None
    skin: SkinnedMesh | None = None
    colours: Array | None = None
    posing = Posing("placing", "it has no other surface")

    def __init__(self, skeleton: Skeleton | None, device: wp.Device | None = None) -> None:
        assert skeleton is not None
        self.skeleton = skeleton
        self.device = select_device("cpu") if device is None else device
        count = 4 * len(JOINTS)
        self.faces: Array = np.concatenate([_FACES + 4 * joint for joint in range(len(JOINTS))])
        self.vertices = wp.zeros(count, dtype=wp.vec3, device=self.device)
        self.normals = wp.zeros(count, dtype=wp.vec3, device=self.device)
        self.posed = 0

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        quaternions, root = pose_quaternions(rotations, root_position_m)
        joints, world = forward_kinematics(
            self.skeleton.offsets_m, matrix_from_quaternion(np.asarray(quaternions, np.float64)), root
        )
        vertices = joints[:, None] + np.einsum("jab,cb->jca", world, _CORNERS)
        outwards = np.einsum("jab,cb->jca", world, _CORNERS - _CORNERS.mean(axis=0))
        self.vertices.assign(vertices.reshape(-1, 3).astype(np.float32))
        normals = outwards / np.linalg.norm(outwards, axis=-1, keepdims=True)
        self.normals.assign(normals.reshape(-1, 3).astype(np.float32))
        self.posed += 1

    def pose_into(self, rotations: Array, root_position_m: Array, vertices_out: Array, normals_out: Array) -> None:
        self.pose_on_device(rotations, root_position_m)
        np.copyto(vertices_out, self.vertices.numpy())
        np.copyto(normals_out, self.normals.numpy())

    def pose(self, rotations: Array, root_position_m: Array) -> Mesh:
        self.pose_on_device(rotations, root_position_m)
        return Mesh(self.vertices.numpy().copy(), self.faces, self.normals.numpy().copy())
