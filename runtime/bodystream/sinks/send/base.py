"""What is sent of a driven body, and what every sender offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import Skeleton, forward_kinematics
from bodystream.types import Array, BodyPose, HeadsetSample

__all__ = ["DrivenPose", "PoseSender"]


@dataclass(frozen=True, slots=True)
class DrivenPose:
    """One pose of an avatar, with what it was computed from.

    Attributes:
        pose: of the avatar's joints, in the world.
        skeleton: the avatar's own lengths.
        sample: of the headset, as checked: metres, right-handed.
        avatar_height_m, person_height_m: to the top of the head, standing [m].
        joints_m, orientations: (22, 3) [m] and (22, 3, 3), world from bone; computed here.
    """

    pose: BodyPose
    skeleton: Skeleton
    sample: HeadsetSample
    avatar_height_m: float
    person_height_m: float
    joints_m: Array = field(init=False)
    orientations: Array = field(init=False)

    def __post_init__(self) -> None:
        rotations = matrix_from_quaternion(self.pose.rotations_xyzw)
        root = np.asarray(self.pose.root_position_m, np.float64)
        joints, orientations = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        object.__setattr__(self, "joints_m", joints)
        object.__setattr__(self, "orientations", orientations)


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
