"""A made-up motion for the benchmarks of driven bodies, so that they need no recording."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton

__all__ = ["smooth_motion"]

HEAD_M = 1.55
_SOLE_M = 0.02
_HANGING_RAD = 1.2
_SWINGS_RAD = {
    "spine1": 0.08,
    "spine3": 0.08,
    "neck": 0.15,
    "head": 0.25,
    "collar": 0.05,
    "shoulder": 0.45,
    "elbow": 0.35,
    "wrist": 0.2,
    "hip": 0.25,
    "ankle": 0.1,
}
_FASTEST_HZ = 0.8


def smooth_motion(frames: int, rate_hz: float = 90.0, seed: int = 0) -> MotionClip:
    """Someone of 1.55 m to the head joint who shifts, looks around and moves the arms; always the same.

    Each joint swings by a sum of two slow sines about an axis that turns; knees and elbows bend the way they can. The
    lower foot is on the floor.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / rate_hz
    skeleton = fitted_skeleton(HEAD_M)
    vectors = np.zeros((frames, len(JOINTS), 3))
    for name, joint in JOINT_INDEX.items():
        amount = _SWINGS_RAD.get(name.split("_")[-1], 0.0)
        for axis in range(3):
            speeds, phases = rng.uniform(0.2, _FASTEST_HZ, 2), rng.uniform(0, 2 * np.pi, 2)
            waves = np.sin(2 * np.pi * times[:, None] * speeds + phases)
            vectors[:, joint, axis] = amount * waves @ (0.4, 0.2)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        vectors[:, JOINT_INDEX[f"{side}_shoulder"], 2] += sign * _HANGING_RAD
        bent = 0.3 + 0.25 * np.sin(2 * np.pi * 0.3 * times + sign)
        vectors[:, JOINT_INDEX[f"{side}_elbow"]] = np.stack([0 * bent, -sign * bent, 0 * bent], axis=1)
        vectors[:, JOINT_INDEX[f"{side}_knee"], 0] = -0.5 * bent
    vectors[:, 0, 1] = 0.6 * np.sin(2 * np.pi * 0.1 * times)
    rotations = matrix_from_rotation_vector(vectors)
    roots = np.zeros((frames, 3))
    roots[:, 0], roots[:, 2] = 0.4 * np.sin(2 * np.pi * 0.15 * times), 0.3 * np.sin(2 * np.pi * 0.11 * times)
    positions, _ = forward_kinematics(skeleton.offsets_m, rotations, roots)
    roots[:, 1] = _SOLE_M - positions[..., 1].min(axis=1)
    quaternions = quaternion_from_matrix(rotations).astype(np.float32)
    return MotionClip("made up", "nobody", rate_hz, skeleton, quaternions, roots.astype(np.float32))
