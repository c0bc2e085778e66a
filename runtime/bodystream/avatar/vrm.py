"""An avatar of a VRM file: its own skin and proportions, driven by the poses of a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import warp as wp

from bodystream.avatar.base import pose_quaternions
from bodystream.avatar.gltf_file import GltfFile
from bodystream.avatar.own_bones import OwnFingers
from bodystream.avatar.retarget import Build, Foot, Retarget, hips_height_m
from bodystream.avatar.skin_poser import SkinnedAvatar
from bodystream.avatar.vrm_fingers import own_fingers
from bodystream.avatar.vrm_humanoid import Humanoid, read_humanoid
from bodystream.avatar.vrm_surface import read_surface
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton
from bodystream.types import Array, BodyPose, SkinnedMesh

__all__ = ["VrmAvatar", "VrmModel"]

_DIRECTIONS = 48
"""Of a foot, the points that reach farthest in so many directions downwards are looked at."""


class VrmModel:
    """A VRM file, 0.x or 1.0, that was read: what all avatars made of it share.

    Args:
        path: of the `.vrm` file.

    Attributes:
        file: its glTF.
        humanoid: its bones.
        skin: its surface at rest, on our joints.
        build: its proportions.
        notes: lines for a person: what of it cannot be shown as it is.

    Raises:
        InputError: it is no VRM, is damaged, lacks a required bone (it is named), or needs what is not read.
    """

    def __init__(self, path: Path) -> None:
        self.file = GltfFile(path)
        self.humanoid = read_humanoid(self.file)
        self.skin, self.notes = read_surface(self.file, self.humanoid)
        fingers, notes = own_fingers(self.file, self.humanoid)
        self.notes += notes
        self.build = _build(self.humanoid, self.skin, fingers)


class VrmAvatar(SkinnedAvatar):
    """The body of a VRM file.

    Poses are a person's, as of every avatar; `retarget` takes them to the body's own proportions. An object is for one
    thread.

    Args:
        model: the file.
        skeleton: the person's proportions; default: the body's own.
        device: where it is posed; default: `select_device("cpu")`.
    """

    def __init__(self, model: VrmModel, skeleton: Skeleton | None = None, device: wp.Device | None = None) -> None:
        self.model = model
        person = model.build.skeleton if skeleton is None else skeleton
        super().__init__(model.skin, model.build.skeleton, person, device)
        self._retarget = Retarget(person, model.build)

    @property
    def retarget(self) -> Retarget:
        return self._retarget

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices` and `normals`; see `Avatar.pose_on_device`."""
        quaternions, root = pose_quaternions(rotations, root_position_m)
        taken = self._retarget.pose(BodyPose(0, quaternions, root))
        self._poser.pose(taken.rotations_xyzw, taken.root_position_m)


def _build(humanoid: Humanoid, skin: SkinnedMesh, fingers: OwnFingers | None) -> Build:
    feet = (_foot(humanoid, skin, "left"), _foot(humanoid, skin, "right"))
    bones = replace(humanoid.own_bones, fingers=fingers)
    return Build(humanoid.skeleton, bones, feet, hips_height_m(humanoid.skeleton, feet))


def _foot(humanoid: Humanoid, skin: SkinnedMesh, side: str) -> Foot:
    """The points of a foot's surface that may touch the floor; of a foot without a surface, what is below its ankle at
    the height of the model's floor."""
    assert skin.parents is not None
    heaviest = skin.bones[np.arange(len(skin.bones)), skin.weights.argmax(axis=1)]
    parts = []
    for name in ("ankle", "foot"):
        joint = JOINT_INDEX[f"{side}_{name}"]
        points = [np.zeros((0, 3))]
        for bone in [joint, *(np.flatnonzero(skin.parents[len(JOINTS) :] == joint) + len(JOINTS)).tolist()]:
            at_bind = skin.mesh.vertices[heaviest == bone].astype(np.float64)
            points.append(at_bind @ skin.bone_from_bind[bone, :3, :3].T + skin.bone_from_bind[bone, :3, 3])
        parts.append(_farthest(np.concatenate(points)))
    if not len(parts[0]):
        parts[0] = np.array([[0.0, -max(humanoid.positions_m[JOINT_INDEX[f"{side}_ankle"], 1], 0.0), 0.0]])
    return Foot(*parts)


def _farthest(points: Array) -> Array:
    """Those of (N, 3) points that are the lowest ones in some orientation of a foot that is not upside down."""
    if not len(points):
        return points
    number = np.arange(_DIRECTIONS)
    down = -(number + 0.5) / _DIRECTIONS  # evenly over the lower half of a sphere, as a sunflower has its seeds
    turn, across = number * np.pi * (3.0 - 5.0**0.5), np.sqrt(1.0 - down**2)
    directions = np.stack([across * np.cos(turn), down, across * np.sin(turn)], axis=1)
    return points[np.unique((directions @ points.T).argmax(axis=1))]
