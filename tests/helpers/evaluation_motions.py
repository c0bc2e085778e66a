"""Hand-made motions for the tests of evaluation."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton

# Offsets of the right half and the middle of a person of 1.75 m [m].
_RIGHT = {
    "hip": (0.09, -0.07, 0.0),
    "knee": (0.0, -0.42, 0.0),
    "ankle": (0.0, -0.41, 0.0),
    "foot": (0.0, -0.03, -0.13),
    "collar": (0.07, 0.10, 0.0),
    "shoulder": (0.11, 0.02, 0.0),
    "elbow": (0.28, 0.0, 0.0),
    "wrist": (0.25, 0.0, 0.0),
}
_MIDDLE = {
    "spine1": (0.0, 0.11, 0.0),
    "spine2": (0.0, 0.13, 0.0),
    "spine3": (0.0, 0.06, 0.0),
    "neck": (0.0, 0.20, 0.0),
    "head": (0.0, 0.09, -0.03),
}
FOOT_HEIGHT_M = 0.06


def person(factor: float = 1.0) -> Skeleton:
    """A person of ordinary proportions."""
    offsets = np.zeros((len(JOINTS), 3))
    for name, offset in _MIDDLE.items():
        offsets[JOINT_INDEX[name]] = offset
    for name, offset in _RIGHT.items():
        offsets[JOINT_INDEX[f"right_{name}"]] = offset
        offsets[JOINT_INDEX[f"left_{name}"]] = np.array(offset) * (-1.0, 1.0, 1.0)
    return Skeleton(offsets * factor)


def motion(
    name: str, seconds: float, angles_deg: dict, subject: str = "s", rate_hz: float = 60.0, **root
) -> MotionClip:
    """A clip from rotation vectors [deg] by joint, each (3,) or (T, 3).

    Args:
        root: `position_m` (T, 3) of the pelvis; without it someone who stands with a foot at `FOOT_HEIGHT_M`.
    """
    frames = round(seconds * rate_hz) + 1
    vectors = np.zeros((frames, len(JOINTS), 3))
    for shoulder, sign in (("left_shoulder", 1.0), ("right_shoulder", -1.0)):
        vectors[:, JOINT_INDEX[shoulder]] = (0.0, 0.0, 75.0 * sign)
    for joint, turn in angles_deg.items():
        vectors[:, JOINT_INDEX[joint]] = turn
    matrices = Rotation.from_rotvec(np.radians(vectors).reshape(-1, 3)).as_matrix().reshape(frames, -1, 3, 3)
    skeleton = person()
    clip = MotionClip(
        name,
        subject,
        rate_hz,
        skeleton,
        quaternion_from_matrix(matrices).astype(np.float32),
        np.zeros((frames, 3), np.float32),
    )
    if "position_m" in root:
        positions = np.asarray(root["position_m"])
    else:
        lowest = clip.joints()[0][..., 1].min(axis=1)
        positions = np.stack([0.0 * lowest, FOOT_HEIGHT_M - lowest, 0.0 * lowest], axis=1)
    return MotionClip(name, subject, rate_hz, skeleton, clip.rotations_xyzw, positions.astype(np.float32))


def standing(seconds: float = 2.0) -> MotionClip:
    """Someone who does not move."""
    return motion("standing", seconds, {})


def crouching(seconds: float = 3.0) -> MotionClip:
    """Down to bent knees and up again, upright."""
    bend = 45.0 * (1.0 - np.cos(2 * np.pi * np.arange(round(seconds * 60) + 1) / (seconds * 60))) / 2.0
    turn = np.stack([bend, 0 * bend, 0 * bend], axis=1)
    return motion(
        "crouching",
        seconds,
        {
            **{f"{side}_hip": turn for side in ("left", "right")},
            **{f"{side}_knee": -2.0 * turn for side in ("left", "right")},
            **{f"{side}_ankle": turn for side in ("left", "right")},
        },
    )


def walking(seconds: float = 4.0, speed_m_s: float = 1.2, subject: str = "s") -> MotionClip:
    """Legs and arms swing while the body goes along -z, turning slowly."""
    t = np.arange(round(seconds * 60) + 1) / 60.0
    phase = 2 * np.pi * t
    swing, zero = np.sin(phase), 0 * t
    angles = {
        "left_hip": np.stack([25.0 * swing, zero, zero], axis=1),
        "right_hip": np.stack([-25.0 * swing, zero, zero], axis=1),
        "left_knee": np.stack([-20.0 * (1 - np.cos(phase)), zero, zero], axis=1),
        "right_knee": np.stack([-20.0 * (1 + np.cos(phase)), zero, zero], axis=1),
        "left_elbow": np.stack([zero, -25.0 - 10.0 * swing, zero], axis=1),
        "right_elbow": np.stack([zero, 25.0 - 10.0 * swing, zero], axis=1),
    }
    height = 0.97 + 0.02 * np.cos(2 * phase)
    return motion("walking", seconds, angles, subject, position_m=np.stack([zero, height, -speed_m_s * t], axis=1))


def reaching(seconds: float = 3.0) -> MotionClip:
    """Arms are raised to the front and the sides, the head looks about."""
    t = np.arange(round(seconds * 60) + 1) / 60.0
    lift, zero = 40.0 * (1 - np.cos(2 * np.pi * t / seconds)), 0 * t
    angles = {
        "left_shoulder": np.stack([zero, -0.6 * lift, 75.0 - lift], axis=1),
        "right_shoulder": np.stack([zero, 0.9 * lift, -75.0 + 0.5 * lift], axis=1),
        "left_elbow": np.stack([zero, -20.0 - 0.5 * lift, zero], axis=1),
        "right_elbow": np.stack([zero, 20.0 + 0.3 * lift, zero], axis=1),
        "neck": np.stack([zero, 0.3 * lift, zero], axis=1),
        "head": np.stack([-0.2 * lift, 0.3 * lift, zero], axis=1),
    }
    return motion("reaching", seconds, angles)
