"""What is sent of a driven body, and what every sender offers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from bodystream.avatar.own_bones import OwnBones
from bodystream.geometry.fingers import UNITY_FINGERS
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.types import Array, BodyPose, BoneMotion, HeadsetSample

__all__ = ["DrivenPose", "PoseSender", "PosedBones"]


@dataclass(frozen=True)
class PosedBones:
    """A pose on a skeleton. Where its joints are is computed when it is first asked for, by whoever asks: senders have
    threads of their own, and that of the pipeline waits for none.

    Attributes:
        pose: of these joints, in the world.
        skeleton: their lengths.
        bones: as an avatar's file has them; None = they are the canonical frames themselves.
        scale: by which places in the person's world are to be taken to be beside this body.
    """

    pose: BodyPose
    skeleton: Skeleton
    bones: OwnBones | None = None
    scale: float = 1.0

    @property
    def joints_m(self) -> Array:
        """(22, 3) in the world [m]."""
        return self._world[0]

    @property
    def orientations(self) -> Array:
        """(22, 3, 3) world from canonical bone."""
        return self._world[1]

    def local(self) -> tuple[Array, Array]:
        """(22, 3) positions [m] and (22, 4) quaternions xyzw of the bones, each relative to what it hangs on."""
        if self.bones is not None:
            return self.bones.local(self.joints_m, self.orientations)
        places = self.skeleton.offsets_m.copy()
        places[0] = self.pose.root_position_m
        return places, self.pose.rotations_xyzw

    def fingers(self, sample: HeadsetSample) -> dict[str, list[tuple[str, Array, Array]]]:
        """By side, of each bone of a finger that the avatar's file has, its name in Unity's HumanBodyBones, and its
        position (3,) and quaternion (4,) relative to what it hangs on: as the joints of tracked hands say, or else as
        at rest."""
        out: dict[str, list[tuple[str, Array, Array]]] = {"left": [], "right": []}
        fingers = None if self.bones is None else self.bones.fingers
        if fingers is not None:
            motion = BoneMotion(self.pose.t_ns, quaternion_from_matrix(self.orientations), self.joints_m)
            for segment, place, turn in zip(fingers.segments, *fingers.local(motion, sample), strict=True):
                out[segment.side].append((UNITY_FINGERS[segment.side, segment.joint], place, turn))
        return out

    @property
    def has(self) -> Array:
        """(22,) bool, which joints are bones."""
        return np.ones(len(JOINTS), bool) if self.bones is None else self.bones.has

    @cached_property
    def _world(self) -> tuple[Array, Array]:
        rotations = matrix_from_quaternion(self.pose.rotations_xyzw)
        root = np.asarray(self.pose.root_position_m, np.float64)
        return forward_kinematics(self.skeleton.offsets_m, rotations, root)


@dataclass(frozen=True, slots=True)
class DrivenPose:
    """One pose, with what it was computed from.

    Attributes:
        person: as they were posed.
        sample: of the headset, as checked: metres, right-handed.
        avatar: what is shown; the person, but for an avatar with proportions or bones of its own.
    """

    person: PosedBones
    sample: HeadsetSample
    avatar: PosedBones

    @property
    def pose(self) -> BodyPose:
        """The person's."""
        return self.person.pose


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
