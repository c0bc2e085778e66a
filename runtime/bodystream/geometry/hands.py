"""The 25 joints of a tracked hand: their names, what of them can be, their place in the world, and their bytes.

Joints, their order and their axes are those of the WebXR Hand Input Module (section "Skeleton joints"), which has them
from OpenXR's XR_EXT_hand_tracking without the palm: -z along the bone towards the finger's tip, y out of the hand's
back.
"""

from __future__ import annotations

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.types import Array, DeviceKind, HandJoints, TrackedDevice

__all__ = [
    "HAND_BYTES",
    "HAND_JOINTS",
    "check_hand",
    "hand_bytes",
    "hand_from_bytes",
    "hand_in_world",
    "recorded_hand",
]

_PARTS = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
HAND_JOINTS: tuple[str, ...] = (
    "wrist",
    *(f"thumb-{part}" for part in _PARTS if part != "phalanx-intermediate"),
    *(f"{finger}-finger-{part}" for finger in ("index", "middle", "ring", "pinky") for part in _PARTS),
)
"""WebXR's names of the joints, in their order."""

_NUMBERS = 8
HAND_BYTES = len(HAND_JOINTS) * _NUMBERS * 4
"""Of a hand as `hand_bytes` gives it."""
_REACH_M = 0.5
"""Farther from its wrist no joint is; the longest hands have 25 cm."""
_WRIST_M = 0.01
_RADIUS_M = 0.1
_NORM_TOLERANCE = 0.02
_COUNT = len(HAND_JOINTS)
_SHAPES = {"in_wrist_m": (_COUNT, 3), "wrist_from_joint_xyzw": (_COUNT, 4), "radii_m": (_COUNT,)}


def check_hand(hand: object, what: str) -> None:
    """Refuse what is no hand.

    Args:
        what: whose joints they are, for messages.

    Raises:
        InputError: another type, shape or count, numbers that are not finite, a joint away from its wrist, a quaternion
            that is none.
    """
    if not isinstance(hand, HandJoints):
        raise InputError(f"the joints of {what} must be bodystream.types.HandJoints, got {type(hand).__name__}")
    for name, shape in _SHAPES.items():
        array = getattr(hand, name)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != shape:
            got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{name} of {what} must be an array of floats of shape {shape}, got {got}")
    away_m = np.linalg.norm(hand.in_wrist_m.astype(np.float64), axis=1)
    _refuse(~(away_m <= _REACH_M), what, away_m, f"m from the wrist, wanted at most {_REACH_M:g} m: are these metres?")
    _refuse(~(away_m[:1] <= _WRIST_M), what, away_m, "m from the wrist, which it is: positions are seen from the wrist")
    norms = np.linalg.norm(hand.wrist_from_joint_xyzw.astype(np.float64), axis=1)
    _refuse(~(np.abs(norms - 1) <= _NORM_TOLERANCE), what, norms, "as the norm of its quaternion, wanted 1")
    radii = hand.radii_m.astype(np.float64)
    _refuse(~((radii >= 0) & (radii <= _RADIUS_M)), what, radii, f"m as its radius, wanted 0 to {_RADIUS_M:g} m")


def hand_bytes(hand: HandJoints) -> bytes:
    """800 bytes: for each joint its position (3), quaternion xyzw (4) and radius as float32, little-endian."""
    columns = (hand.in_wrist_m, hand.wrist_from_joint_xyzw, hand.radii_m[:, None])
    return np.concatenate(columns, axis=1).astype("<f4").tobytes()


def recorded_hand(hand: HandJoints | None) -> bytes | None:
    """`hand_bytes` of what can be read back; None of no hand, and of one that no reader would take."""
    if hand is None:
        return None
    try:
        check_hand(hand, "a hand")
    except InputError:
        return None
    return hand_bytes(hand)


def hand_from_bytes(data: bytes, what: str) -> HandJoints:
    """What `hand_bytes` wrote, checked.

    Raises:
        InputError: another length, or as `check_hand`.
    """
    if len(data) != HAND_BYTES:
        raise InputError(
            f"the joints of {what} have {len(data)} bytes, wanted {HAND_BYTES}: {_NUMBERS} float32 for each of "
            f"{len(HAND_JOINTS)} joints"
        )
    numbers = np.frombuffer(data, "<f4").reshape(-1, _NUMBERS).astype(np.float32)
    hand = HandJoints(numbers[:, :3].copy(), numbers[:, 3:7].copy(), numbers[:, 7].copy())
    check_hand(hand, what)
    return hand


def hand_in_world(device: TrackedDevice) -> tuple[Array, Array]:
    """Where the joints of a tracked hand are: (25, 3) float64 in the world [m], and (25, 4) quaternions xyzw, world
    from joint.

    Raises:
        InputError: the device has no joints, or is no wrist, from which they are seen.
    """
    if device.hand is None or device.kind is not DeviceKind.HAND_WRIST:
        raise InputError(f"a device of the kind {device.kind} without the joints of a hand: they come with hand-wrist")
    world_from_wrist = matrix_from_quaternion(np.asarray(device.rotation_xyzw, np.float64))
    wrist_from_joint = matrix_from_quaternion(device.hand.wrist_from_joint_xyzw.astype(np.float64))
    positions_m = device.position_m + device.hand.in_wrist_m.astype(np.float64) @ world_from_wrist.T
    return positions_m, quaternion_from_matrix(world_from_wrist @ wrist_from_joint)


def _refuse(wrong: Array, what: str, values: Array, why: str) -> None:
    if wrong.any():
        joint = int(np.argmax(wrong))
        raise InputError(f"the joint {HAND_JOINTS[joint]} of {what} has {values[joint]:.3g} {why}")
