"""A driven body on the page: skinned there, so that a pose costs the motion of its bones only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.viewer.body_encode import wxyz_of
from bodystream.sinks.viewer.encode import CLAY
from bodystream.types import Array, BoneMotion, MeshPart, SkinnedMesh

if TYPE_CHECKING:
    import viser

__all__ = ["SkinnedNode", "dense_weights"]


class SkinnedNode:
    """One mesh of each colour of a body, with the bones that move it.

    The page's skinned mesh has one colour. A body whose skin says which faces are of which colour is shown as several
    meshes, and each is sent the motion of the few bones that it hangs on; any other is one mesh of clay.

    Args:
        server: to put it on.
        name: of the node; parts are below it.
        body: the skin. Bones that are no joints stand on one.

    Attributes:
        parts: of each colour, the page's mesh.
    """

    def __init__(self, server: viser.ViserServer, name: str, body: SkinnedMesh) -> None:
        weights = dense_weights(body)
        turns = wxyz_of(quaternion_from_matrix(body.bind_from_bone[:, :3, :3]))
        places = np.asarray(body.bind_positions_m, np.float64)
        joints = np.arange(len(places))
        if body.parents is not None:
            joints[len(JOINTS) :] = body.parents[len(JOINTS) :]
        self.parts: list[viser.MeshSkinnedHandle] = []
        self._joints: list[Array] = []  # of each part, the joint that each of its bones follows
        for number, part in enumerate(body.parts or (MeshPart(0, len(body.mesh.faces), CLAY),)):
            used, faces = np.unique(body.mesh.faces[part.start : part.end], return_inverse=True)
            bones = np.flatnonzero(weights[used].any(axis=0)) if body.parts else np.arange(len(places))
            self._joints.append(joints[bones])
            self.parts.append(
                server.scene.add_mesh_skinned(
                    f"{name}/{number}",
                    np.asarray(body.mesh.vertices[used], np.float32),
                    faces.reshape(-1, 3).astype(np.uint32),
                    bone_wxyzs=turns[bones],
                    bone_positions=places[bones],
                    skin_weights=weights[np.ix_(used, bones)],
                    color=part.colour,
                    side="double" if body.parts else "front",  # hair and skirts are sheets
                    cast_shadow=False,  # shadows took four fifths of a frame's time without a graphics card
                    receive_shadow=False,
                )
            )

    @property
    def visible(self) -> bool:
        return self.parts[0].visible

    @visible.setter
    def visible(self, value: bool) -> None:
        for part in self.parts:
            part.visible = value

    @property
    def opacity(self) -> float | None:
        return self.parts[0].opacity

    @opacity.setter
    def opacity(self, value: float | None) -> None:
        for part in self.parts:
            part.opacity = value

    def move(self, motion: BoneMotion) -> int:
        """Send where the 22 joints are; gives the bytes."""
        rotations, sent = wxyz_of(motion.rotations_xyzw), 0
        for part, joints in zip(self.parts, self._joints, strict=True):
            for bone, joint in zip(part.bones, joints.tolist(), strict=True):
                bone.wxyz, bone.position = rotations[joint], motion.positions_m[joint]
            sent += 28 * len(joints)  # seven float32 each
        return sent


def dense_weights(skin: SkinnedMesh) -> Array:
    """(V, B) float32: of each vertex the weight of every bone, each row sums to one."""
    dense = np.zeros((len(skin.bones), len(skin.bone_from_bind)), np.float32)
    used = np.where(skin.bones >= 0, skin.weights, np.float32(0))
    np.add.at(dense, (np.arange(len(dense))[:, None], skin.bones), used)
    return dense / dense.sum(axis=1, keepdims=True)
