"""Fingers of a body by the joints of a tracked hand: which bone is turned by which joint, and how.

Only turns are taken over. A finger's bones keep their lengths, and stand in the world as the hand's own do, seen from
the wrist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodystream.geometry.hands import HAND_JOINTS
from bodystream.geometry.mounting import joint_from_device
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.types import Array, BoneMotion, DeviceKind, FingerBone, HandJoints, HeadsetSample

__all__ = ["UNITY_FINGERS", "VRM_FINGERS", "finger_motion", "rest_axes"]

_FINGERS = {"Index": "index", "Middle": "middle", "Ring": "ring", "Little": "pinky"}
_SEGMENTS = ("Proximal", "Intermediate", "Distal")


def _vrm_fingers(thumb: tuple[str, str, str]) -> dict[str, int]:
    joints = dict(zip(thumb, ("metacarpal", "phalanx-proximal", "phalanx-distal"), strict=True))
    names = {f"Thumb{bone}": f"thumb-{part}" for bone, part in joints.items()}
    for bone, finger in _FINGERS.items():
        names |= {f"{bone}{part}": f"{finger}-finger-phalanx-{part.lower()}" for part in _SEGMENTS}
    return {f"{side}{bone}": HAND_JOINTS.index(joint) for side in ("left", "right") for bone, joint in names.items()}


VRM_FINGERS: dict[str, dict[str, int]] = {
    "0": _vrm_fingers(("Proximal", "Intermediate", "Distal")),
    "1": _vrm_fingers(("Metacarpal", "Proximal", "Distal")),
}
"""Of each version of VRM the bones of fingers, from the hand to the tips, and the joint of a hand that each turns with.

VRM 0 calls the bones of the thumb as those of the other fingers, VRM 1 as anatomy does (VRMC_vrm 1.0, humanoid).
"""

UNITY_FINGERS: dict[tuple[str, int], str] = {
    (name[: 4 if name.startswith("left") else 5], joint): name[0].upper() + name[1:]
    for name, joint in VRM_FINGERS["0"].items()
}
"""Of a side and a joint of a hand the bone that turns with it, in Unity's HumanBodyBones, after which VRM 0 names its
own."""

_MOUNTED = {side: joint_from_device(DeviceKind.HAND_WRIST, side)[1] for side in ("left", "right")}
_UP, _AHEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
_THUMBS = frozenset(k for k, name in enumerate(HAND_JOINTS) if name.startswith("thumb"))


def rest_axes(joint: int, along: Array) -> Array:
    """(3, 3) the axes of a hand's joint in the wrist's canonical frame, where its bone points along (3,) `along`.

    The back of the hand is up in the T-pose. The nail of a thumb that is held beside the hand looks half ahead.
    """
    z = -np.asarray(along, np.float64) / np.linalg.norm(along)
    back = _UP + _AHEAD if joint in _THUMBS else _UP
    x = np.cross(back, z)
    if np.linalg.norm(x) < 1e-3:  # it points to where its back should be
        x = np.cross(_AHEAD if joint not in _THUMBS else _UP, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def finger_motion(
    fingers: Sequence[FingerBone], bones: BoneMotion, sample: HeadsetSample | None
) -> tuple[Array, Array]:
    """Where the bones of fingers are.

    Args:
        bones: of the body: its 22 joints.
        sample: whose hands, as far as their joints are tracked, the fingers are as; others stay as at rest.

    Returns:
        (F, 4) quaternions xyzw and (F, 3) positions [m], world from bone.
    """
    turns, shifts = np.tile(np.eye(3), (len(fingers), 1, 1)), np.zeros((len(fingers), 3))
    hands = {side: _joints(sample, side) for side in _MOUNTED}
    for k, finger in enumerate(fingers):
        joints = hands[finger.side]
        if joints is not None:
            turns[k] = joints[finger.joint] @ finger.wrist_from_rest.T
            pivot = finger.pivot_m
            moved = pivot if finger.above < 0 else turns[finger.above] @ pivot + shifts[finger.above]
            shifts[k] = moved - turns[k] @ pivot
    wrists = np.array([JOINT_INDEX[f"{finger.side}_wrist"] for finger in fingers], np.int64)
    world = matrix_from_quaternion(np.asarray(bones.rotations_xyzw, np.float64)[wrists])
    places = bones.positions_m[wrists] + (world @ shifts[:, :, None])[:, :, 0]
    return quaternion_from_matrix(world @ turns), places


def _joints(sample: HeadsetSample | None, side: str) -> Array | None:
    """(25, 3, 3) axes of a hand's joints in the canonical frame of the wrist."""
    device = None if sample is None else getattr(sample, side)
    hand: HandJoints | None = None if device is None else device.hand
    if hand is None:
        return None
    return _MOUNTED[side] @ matrix_from_quaternion(hand.wrist_from_joint_xyzw.astype(np.float64))
