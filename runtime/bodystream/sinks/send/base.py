"""What is sent of a driven body, and what every sender offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bodystream.avatar.own_bones import CANONICAL_BONES, OwnBones
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import Skeleton, forward_kinematics
from bodystream.types import Array, BodyPose, HeadsetSample

__all__ = ["AvatarPose", "DrivenPose", "PoseSender"]


@dataclass(frozen=True, slots=True)
class AvatarPose:
    """The same pose on the avatar, whose proportions may be its own.

    Attributes:
        joints_m, orientations: (22, 3) [m] and (22, 3, 3), world from canonical bone.
        bones: as the avatar's file has them.
        scale: by which places in the person's world are to be taken to be beside the avatar.
    """

    joints_m: Array
    orientations: Array
    bones: OwnBones = CANONICAL_BONES
    scale: float = 1.0

    @classmethod
    def of(
        cls, pose: BodyPose, skeleton: Skeleton, bones: OwnBones = CANONICAL_BONES, scale: float = 1.0
    ) -> AvatarPose:
        """Of a pose of the avatar's own skeleton."""
        return cls(*_world(pose, skeleton), bones, scale)


@dataclass(frozen=True, slots=True)
class DrivenPose:
    """One pose of a person, with what it was computed from.

    Attributes:
        pose: in the world.
        skeleton: the person's.
        sample: of the headset, as checked: metres, right-handed.
        height_m: of the person, to the top of the head [m].
        avatar: the pose of an avatar with bones of its own; None = the avatar's bones are the person's.
        joints_m, orientations: (22, 3) [m] and (22, 3, 3), world from bone; computed here.
    """

    pose: BodyPose
    skeleton: Skeleton
    sample: HeadsetSample
    height_m: float
    avatar: AvatarPose | None = None
    joints_m: Array = field(init=False)
    orientations: Array = field(init=False)

    def __post_init__(self) -> None:
        joints, orientations = _world(self.pose, self.skeleton)
        object.__setattr__(self, "joints_m", joints)
        object.__setattr__(self, "orientations", orientations)

    @property
    def on_avatar(self) -> AvatarPose:
        """The pose of the avatar, whatever bones it has."""
        return AvatarPose(self.joints_m, self.orientations) if self.avatar is None else self.avatar


def _world(pose: BodyPose, skeleton: Skeleton) -> tuple[Array, Array]:
    rotations = matrix_from_quaternion(pose.rotations_xyzw)
    return forward_kinematics(skeleton.offsets_m, rotations, np.asarray(pose.root_position_m, np.float64))


class PoseSender(Protocol):
    """Sends poses to one receiver, which may be there or not: sending never waits for it.

    Attributes:
        name: of the receiver, as `vmc:127.0.0.1:39539`.
        warnings: what went wrong so far, each once.
    """

    @property
    def name(self) -> str: ...

    @property
    def warnings(self) -> list[str]: ...

    def send(self, driven: DrivenPose) -> bool:
        """Send one pose; False where it could not leave this machine."""
        ...

    def close(self) -> None: ...
