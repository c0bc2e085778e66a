"""Made-up motions for tests of training: smooth, different from clip to clip, not like a person's."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton


def person(seed: int = 0) -> Skeleton:
    """A person of round numbers, a little different for each seed."""
    rng = np.random.default_rng(seed)
    bones = {
        "hip": (0.09, -0.08, 0.0), "knee": (0.0, -0.40, 0.0), "ankle": (0.0, -0.42, 0.0), "foot": (0.0, -0.05, -0.14),
        "spine1": (0.0, 0.11, 0.0), "spine2": (0.0, 0.13, 0.0), "spine3": (0.0, 0.05, 0.0), "neck": (0.0, 0.22, 0.0),
        "head": (0.0, 0.10, -0.02), "collar": (0.07, 0.11, 0.0), "shoulder": (0.11, 0.03, 0.0),
        "elbow": (0.28, 0.0, 0.0), "wrist": (0.25, 0.0, 0.0),
    }  # fmt: skip
    offsets = np.zeros((len(JOINTS), 3))
    for joint, name in enumerate(JOINTS):
        if PARENTS[joint] >= 0:
            side, _, part = name.partition("_")
            offsets[joint] = bones[part if part else name]
            if part and side == "left":
                offsets[joint, 0] *= -1.0
    return Skeleton(offsets * rng.uniform(0.95, 1.05))


def wobble(seed: int, frames: int = 240, rate_hz: float = 60.0, subject: str = "cmu_99") -> MotionClip:
    """Every joint swings by its own slow sines while the pelvis walks a circle."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / rate_hz
    f, phase = rng.uniform(0.2, 0.9, (2, 22, 3)), rng.uniform(0, 6.28, (2, 22, 3))
    size = np.full((22, 1), 0.25)
    vectors = size * (np.sin(6.28 * f[0] * t + phase[0]) + 0.5 * np.sin(6.28 * f[1] * t + phase[1]))
    vectors[:, 0, 1] += 0.4 * t[:, 0, 0]
    skeleton = person(seed)
    angle = 0.3 * t[:, 0, 0]
    root = np.stack([np.sin(angle), np.full(frames, skeleton.pelvis_height_m - 0.03), np.cos(angle)], axis=1)
    quaternions = quaternion_from_matrix(matrix_from_rotation_vector(vectors)).astype(np.float32)
    return MotionClip(f"wobble{seed}", subject, rate_hz, skeleton, quaternions, root.astype(np.float32))
