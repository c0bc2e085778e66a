"""Hand-made motions for tests of headsets: a simple person who stands, walks, crouches and moves the arms."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton

RATE_HZ = 90.0

_RIGHT_SIDE = {
    "hip": (0.09, -0.08, 0.0),
    "knee": (0.0, -0.40, 0.0),
    "ankle": (0.0, -0.41, 0.0),
    "foot": (0.0, -0.06, -0.13),
    "collar": (0.03, 0.10, 0.0),
    "shoulder": (0.14, 0.02, 0.0),
    "elbow": (0.28, 0.0, 0.0),
    "wrist": (0.25, 0.0, 0.0),
}
_MIDDLE = {
    "spine1": (0.0, 0.11, 0.0),
    "spine2": (0.0, 0.13, 0.0),
    "spine3": (0.0, 0.06, 0.0),
    "neck": (0.0, 0.21, 0.0),
    "head": (0.0, 0.09, 0.0),
}
DOWN, AHEAD, UP = (0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)


def person() -> Skeleton:
    """1.55 m from the soles to the head joint."""
    offsets = np.zeros((len(JOINTS), 3))
    for name, joint in JOINT_INDEX.items():
        side, _, part = name.partition("_")
        if name in _MIDDLE:
            offsets[joint] = _MIDDLE[name]
        elif part in _RIGHT_SIDE:
            offsets[joint] = _RIGHT_SIDE[part]
            if side == "left":
                offsets[joint, 0] *= -1
    return Skeleton(offsets)


def make_clip(name: str, seconds: float, arms, place=None, yaw=None, head_pitch=None) -> MotionClip:
    """A motion from functions of time.

    Args:
        arms: time to (left upper arm, left forearm, right upper arm, right forearm): directions in the body's frame.
        place: time to the pelvis' offset from where it stands. yaw: of the whole body. head_pitch: of the head, up.
    """
    skeleton = person()
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    rotations = np.tile(np.eye(3), (len(times), len(JOINTS), 1, 1))
    roots = np.zeros((len(times), 3))
    for k, t in enumerate(times):
        rotations[k, 0] = _about_y(0.0 if yaw is None else yaw(t))
        roots[k] = (0.0, skeleton.pelvis_height_m, 0.0) + (np.zeros(3) if place is None else np.asarray(place(t)))
        directions = arms(t)
        for side, rest, (upper, fore) in (("left", -1.0, directions[:2]), ("right", 1.0, directions[2:])):
            upper_arm = _aim((rest, 0.0, 0.0), upper)
            rotations[k, JOINT_INDEX[f"{side}_shoulder"]] = upper_arm
            rotations[k, JOINT_INDEX[f"{side}_elbow"]] = upper_arm.T @ _aim((rest, 0.0, 0.0), fore)
        if head_pitch is not None:
            rotations[k, JOINT_INDEX["head"]] = _about_x(head_pitch(t))
    quaternions = quaternion_from_matrix(rotations).astype(np.float32)
    return MotionClip(name, "somebody", RATE_HZ, skeleton, quaternions, roots.astype(np.float32))


def walking(seconds: float = 6.0) -> MotionClip:
    """Along a circle with swinging arms."""

    def arms(t):
        swing = 0.6 * np.sin(2 * np.pi * t)
        left, right = (0.0, -1.0, -swing), (0.0, -1.0, swing)
        return left, (0.0, -1.0, -swing - 0.2), right, (0.0, -1.0, swing - 0.2)

    def place(t):
        return 2 * np.cos(0.5 * t), 0.02 * np.cos(4 * np.pi * t), -2 * np.sin(0.5 * t)

    return make_clip("walking", seconds, arms, place, yaw=lambda t: 0.5 * t)


def arms_crossed(seconds: float = 10.0) -> MotionClip:
    """Arms hang, are folded from 3 s to 7 s, and hang again."""

    def arms(t):
        folded = np.clip(min(t - 2.5, 7.5 - t) / 0.5, 0.0, 1.0)
        hang, upper = np.array((0.0, -1.0, -0.1)), np.array((0.0, -0.9, -0.4))
        fore = np.array((0.95, 0.1, -0.4))
        left = hang + folded * (upper - hang), hang + folded * (fore - hang)
        mirror = np.array((-1.0, 1.0, 1.0))
        return left[0], left[1], left[0] * mirror, left[1] * mirror

    return make_clip("arms crossed", seconds, arms)


def crouching(seconds: float = 6.0) -> MotionClip:
    """Down to a head joint at 0.65 m and up again, looking around, hands before the chest."""
    return make_clip(
        "crouching",
        seconds,
        lambda t: (DOWN, (0.3, 0.0, -1.0), DOWN, (-0.3, 0.0, -1.0)),
        place=lambda t: (0.0, -0.45 * (1 - np.cos(2 * np.pi * t / 3)), 0.0),
        head_pitch=lambda t: 0.8 * np.sin(3 * t),
    )


def hands_raised(seconds: float = 6.0) -> MotionClip:
    """From the T-pose to ahead to above the head."""

    def arms(t):
        left = np.array(((-1.0, 0.0, 0.0), AHEAD, UP))[min(int(t / 2), 2)]
        right = left * (-1.0, 1.0, 1.0)
        return left, left, right, right

    return make_clip("hands raised", seconds, arms)


def working(seconds: float = 6.0) -> MotionClip:
    """Hands before the chest, as if at a table."""
    return make_clip(
        "working",
        seconds,
        lambda t: (
            (-0.2, -0.6, -0.8),
            (0.1 * np.sin(2 * t), 0.3, -1.0),
            (0.2, -0.6, -0.8),
            (0.1 * np.sin(3 * t), 0.3, -1.0),
        ),
        head_pitch=lambda t: -0.3,
    )


def _aim(start, end) -> np.ndarray:
    """The smallest rotation from one direction to another."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    end = end / np.linalg.norm(end)
    axis, cosine = np.cross(start, end), start @ end
    k = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + k + k @ k / (1.0 + cosine)


def _about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
