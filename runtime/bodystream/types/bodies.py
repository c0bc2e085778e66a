"""What a headset knows, and the pose of a body."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from bodystream.types.base import Array, Status

__all__ = ["BodyPose", "DeviceKind", "HandJoints", "HeadsetSample", "TimedPose", "TrackedDevice"]


class DeviceKind(enum.StrEnum):
    """Which point of the body or of the device a tracked pose is of."""

    VIEW = "view"
    """Between the eyes, -z where the head looks, y up: what OpenXR and WebXR call the viewer."""
    GRIP = "grip"
    """OpenXR's and WebXR's grip pose of a held controller, in the centre of the palm."""
    HAND_WRIST = "hand-wrist"
    """The wrist of hand tracking: -z along the hand towards the fingers, y out of its back."""
    JOINT = "joint"
    """The skeleton's own joint in its canonical frame: data made from motion capture."""


@dataclass(frozen=True, slots=True)
class HandJoints:
    """The 25 joints of a tracked hand (`geometry.hands.HAND_JOINTS`), seen from its wrist.

    The wrist's frame is that of `DeviceKind.HAND_WRIST`; `geometry.hands.hand_in_world` takes them to the world.

    Attributes:
        in_wrist_m: (25, 3) float32 where the joints are [m]; the first is the wrist itself, at 0.
        wrist_from_joint_xyzw: (25, 4) float32 unit quaternions; a joint has -z along its bone towards the finger's tip
            and y out of the back of the hand.
        radii_m: (25,) float32 from the joint to the skin [m]; 0 where that is not known.
    """

    in_wrist_m: Array
    wrist_from_joint_xyzw: Array
    radii_m: Array


@dataclass(frozen=True, slots=True)
class TrackedDevice:
    """One tracked thing in the world: right-handed, y up, the floor at y = 0.

    Attributes:
        position_m: (3,) float64.
        rotation_xyzw: (4,) float64 unit quaternion, world from device.
        kind: what point it is of.
        hand: of a `HAND_WRIST`, all joints of the hand, where the device tells them.
    """

    position_m: Array
    rotation_xyzw: Array
    kind: DeviceKind
    hand: HandJoints | None = None


@dataclass(frozen=True, slots=True)
class HeadsetSample:
    """What a headset knows at one time.

    Attributes:
        index: counts the samples that the source has seen, from 0; gaps are samples it lost.
        t_ns: host monotonic clock that the poses are valid for.
        head: None while the headset itself is not tracked.
        left, right: the hands or what they hold; None while not tracked. `left.hand` has the joints of a tracked hand.
        device_t_ns: the device's own clock, or None.
        truth: the pose it was made from, of a synthetic source, or None.
        origin_moved: the source knows that the world's origin moved since the sample before, as by recentring.
        emulated: of `left` and `right`, the hands that are left out because the device only guesses where they are
            (WebXR's `emulatedPosition`, an OpenXR pose that is valid and not tracked).
        lap: of a recording that is played in a loop, how often it began anew: the past of another lap says nothing.
    """

    index: int
    t_ns: int
    head: TrackedDevice | None
    left: TrackedDevice | None = None
    right: TrackedDevice | None = None
    device_t_ns: int | None = None
    truth: BodyPose | None = None
    origin_moved: bool = False
    emulated: tuple[str, ...] = ()
    lap: int = 0


@dataclass(frozen=True, slots=True)
class BodyPose:
    """A pose of the 22-joint skeleton of `geometry.skeleton`.

    Attributes:
        t_ns: of the sample that it was computed from.
        rotations_xyzw: (22, 4) float32 unit quaternions, each joint in its parent's frame; the pelvis in the world.
        root_position_m: (3,) float32 pelvis in the world [m].
        status: TRACKED, DEGRADED (a hand was guessed or eased) or LOST (held from before).
        flags: names of what was amiss or guessed: `left_lost`, `right_lost`, `head_lost`, `hands_swapped`...
        joint_std_m: (22,) float32 standard deviation of each joint's position [m], or None.
        contacts: (2,) bool, whether the left and right foot stand on the floor, or None.
        reason: why it is not TRACKED, for a person, else empty.
    """

    t_ns: int
    rotations_xyzw: Array
    root_position_m: Array
    status: Status = Status.TRACKED
    flags: tuple[str, ...] = ()
    joint_std_m: Array | None = None
    contacts: Array | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPose(BodyPose):
    """The pose at a time that was asked for, ready to be drawn.

    Attributes:
        at_ns: the time that was asked for.
        joints_m: (22, 3) float32 in the world [m], of the person who is driven.
        bones_xyzw: (22, 4) float32 unit quaternions, world from each joint's bone.
    """

    at_ns: int
    joints_m: Array
    bones_xyzw: Array

    @property
    def age_s(self) -> float:
        """How much older than `at_ns` the sample is that the pose was computed from [s]; 0 where it is not older."""
        return max(0.0, (self.at_ns - self.t_ns) * 1e-9)
