"""Where a tracked device sits on the body: fixed offsets between devices and the skeleton's joints.

A headset and what is held in a hand move rigidly with the joint that carries them: `joint_from_device` takes points and
directions from the device's frame to the joint's canonical frame (`geometry.skeleton`: at rest x to the body's right,
y up, -z ahead; the left arm along -x, palms down).

Orientations are those of the OpenXR specification (Standard pose identifiers, and the conventions of hand joints), put
into the T-pose:

- grip: +x is normal to the palm, away from it in the left hand and into it in the right one; -z runs through the closed
  hand from the little finger to the thumb.
- hand wrist: -z from the wrist to the middle finger, +y out of the back of the hand.
- view: -z where the eyes look, y up.

Positions: the eyes are ahead of and above the head joint, which is where the neck ends. The grip was measured against
the wrist of hand tracking on a Quest 3, which reports both: (0.0015, -0.037, -0.0655) m in the wrist's frame with a
spread below 1 mm, with orientations that agree with the specification within 0.1 degrees. Other people's hands and
controllers differ by a centimetre or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.types import Array, DeviceKind, TrackedDevice

__all__ = [
    "GRIP_AHEAD_M",
    "GRIP_BELOW_M",
    "HEAD_FROM_VIEW_M",
    "SIDES",
    "Side",
    "device_at_joint",
    "device_from_joint",
    "device_poses",
    "joint_at_device",
    "joint_from_device",
    "joints_at_devices",
]

Side = Literal["head", "left", "right"]
"""The joint that carries a device: the head, or the wrist of that side."""
SIDES: tuple[Side, Side, Side] = ("head", "left", "right")
"""In the order of every array of head and hands."""

HEAD_FROM_VIEW_M = (0.0, 0.08, -0.10)
"""The point between the eyes in the head joint's frame [m]."""
GRIP_AHEAD_M = 0.066
"""The grip's origin from the wrist towards the fingers [m]."""
GRIP_BELOW_M = 0.037
"""The grip's origin from the wrist out of the palm [m]."""

# Columns are the device's x, y and z axes in the joint's frame.
_LEFT_GRIP = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
_RIGHT_GRIP = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
_LEFT_WRIST = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
_RIGHT_WRIST = ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
_SAME = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_ORIGIN = (0.0, 0.0, 0.0)

_MOUNTINGS = {
    (DeviceKind.VIEW, "head"): (HEAD_FROM_VIEW_M, _SAME),
    (DeviceKind.GRIP, "left"): ((-GRIP_AHEAD_M, -GRIP_BELOW_M, 0.0), _LEFT_GRIP),
    (DeviceKind.GRIP, "right"): ((GRIP_AHEAD_M, -GRIP_BELOW_M, 0.0), _RIGHT_GRIP),
    (DeviceKind.HAND_WRIST, "left"): (_ORIGIN, _LEFT_WRIST),
    (DeviceKind.HAND_WRIST, "right"): (_ORIGIN, _RIGHT_WRIST),
    **{(DeviceKind.JOINT, side): (_ORIGIN, _SAME) for side in SIDES},
}


def _frozen(values: object) -> Array:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array


_FORWARD = {key: (_frozen(t), _frozen(r)) for key, (t, r) in _MOUNTINGS.items()}
_BACKWARD = {key: (_frozen(-(r.T @ t)), _frozen(r.T)) for key, (t, r) in _FORWARD.items()}


def joint_from_device(kind: DeviceKind, side: Side) -> tuple[Array, Array]:
    """(3,) translation [m] and (3, 3) rotation that take the device's frame to the joint's: `R @ x + t`.

    Raises:
        InputError: nothing of this kind is worn there, such as a grip on the head.
    """
    return _look_up(_FORWARD, kind, side)


def device_from_joint(kind: DeviceKind, side: Side) -> tuple[Array, Array]:
    """The inverse of `joint_from_device`."""
    return _look_up(_BACKWARD, kind, side)


def joint_at_device(device: TrackedDevice, side: Side) -> tuple[Array, Array]:
    """World position (3,) [m] and world orientation (3, 3) of the joint that carries a tracked device."""
    positions, orientations = joints_at_devices([device], [side])
    return positions[0], orientations[0]


def joints_at_devices(devices: Sequence[TrackedDevice], sides: Sequence[Side]) -> tuple[Array, Array]:
    """The same of N devices at once: (N, 3) [m] and (N, 3, 3)."""
    translations, rotations = _mountings(tuple(device.kind for device in devices), tuple(sides))
    positions = np.array([device.position_m for device in devices])
    world_from_device = matrix_from_quaternion(np.array([device.rotation_xyzw for device in devices]))
    return positions + (world_from_device @ translations[:, :, None])[:, :, 0], world_from_device @ rotations


@cache
def _mountings(kinds: tuple[DeviceKind, ...], sides: tuple[Side, ...]) -> tuple[Array, Array]:
    """`device_from_joint` of several devices."""
    found = [device_from_joint(kind, side) for kind, side in zip(kinds, sides, strict=True)]
    return _frozen([translation for translation, _ in found]), _frozen([rotation for _, rotation in found])


def device_at_joint(position_m: Array, orientation: Array, kind: DeviceKind, side: Side) -> TrackedDevice:
    """The device as it is tracked on a joint at (3,) `position_m` [m] with world orientation (3, 3)."""
    positions, orientations = device_poses(position_m, orientation, kind, side)
    return TrackedDevice(positions, quaternion_from_matrix(orientations), kind)


def device_poses(positions_m: Array, orientations: Array, kind: DeviceKind, side: Side) -> tuple[Array, Array]:
    """World poses of a device on a moving joint: (..., 3) [m] and (..., 3, 3) of the joint to those of the device."""
    translation, rotation = joint_from_device(kind, side)
    return positions_m + orientations @ translation, orientations @ rotation


def _look_up(table: dict[tuple[DeviceKind, str], tuple[Array, Array]], kind: DeviceKind, side: str):
    found = table.get((kind, side))
    if found is None:
        possible = ", ".join(f"{k.value} on the {s}" for k, s in _MOUNTINGS)
        raise InputError(f"a tracked {kind} cannot be on the {side}, wanted one of: {possible}")
    return found
