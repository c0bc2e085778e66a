"""What people do between two images: motions of all joints drawn at random, and recorded ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bodystream.avatar.proportions import FittedRig
from bodystream.avatar.rig import bone_transforms
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.sources.synthetic.recorded import RecordedMotion
from bodystream.types import Array, SkinnedMesh

__all__ = ["BodyMotion", "RandomMotion", "recorded_motions"]


class BodyMotion(Protocol):
    """The pose of a body as a function of time."""

    def transforms(self, time_s: Array) -> Array:
        """(T,) times [s] to (T, 22, 4, 4) transforms from rest to posed, in the body's frame."""
        ...


# Lowest and highest angles of a pose about x, y and z [degrees] on the right side, from the A-pose of the rest: x
# swings a hanging limb forward, y turns left, z lifts the right arm sideways; about y and z the left is mirrored.
_RANGES_DEG: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "spine1": ((-15, 25), (-12, 12), (-10, 10)),
    "spine2": ((-10, 20), (-12, 12), (-10, 10)),
    "spine3": ((-10, 15), (-15, 15), (-8, 8)),
    "neck": ((-15, 20), (-25, 25), (-10, 10)),
    "head": ((-20, 25), (-35, 35), (-12, 12)),
    "collar": ((-5, 5), (-10, 10), (-5, 15)),
    "shoulder": ((-45, 80), (-40, 40), (-40, 95)),
    "wrist": ((-30, 30), (-15, 15), (-35, 35)),
    "hip": ((-20, 65), (-15, 15), (-5, 25)),
    "ankle": ((-15, 25), (-8, 8), (-5, 5)),
}
_ELBOW_DEG = (-10.0, 120.0)
_KNEE_DEG = (0.0, 80.0)


class RandomMotion:
    """A pose drawn at random, and waves about it in every joint.

    Args:
        body: whose limbs move.
        liveliness: extent of the waves, as a share of what the joints can do.
    """

    def __init__(self, body: SkinnedMesh, rng: np.random.Generator, liveliness: float) -> None:
        self._body = body
        count = len(JOINTS)
        low, high = np.zeros((count, 3)), np.zeros((count, 3))
        for index, name in enumerate(JOINTS):
            part = name.rpartition("_")[2]
            ranges = _RANGES_DEG.get(part)
            if ranges is not None:
                low[index], high[index] = np.radians(np.array(ranges)).T
        extent = high - low
        # most joints are near their middle, some are at an end
        self._pose = low + extent * rng.beta(1.6, 2.2, (count, 3))
        self._wave = liveliness * extent * rng.beta(1.0, 2.5, (count, 3)) * (rng.uniform(size=(count, 1)) < 0.7)
        self._hinges = np.radians([_ELBOW_DEG, _ELBOW_DEG, _KNEE_DEG, _KNEE_DEG])
        self._hinge_pose = rng.beta(1.0, 1.6, 4)
        self._hinge_wave = liveliness * rng.beta(1.0, 2.0, 4)
        self._hz = rng.uniform(0.15, 0.9, (count + 4, 3))
        self._phase = rng.uniform(0.0, 2 * np.pi, (count + 4, 3))
        self._mirrored = np.array([[1, -1, -1] if name.startswith("left") else [1, 1, 1] for name in JOINTS])

    def transforms(self, time_s: Array) -> Array:
        """(T,) times [s] to (T, 22, 4, 4) transforms from rest to posed, in the body's frame."""
        waves = np.sin(2 * np.pi * self._hz * np.asarray(time_s)[:, None, None] + self._phase)
        angles = (self._pose + self._wave * waves[:, : len(JOINTS)]) * self._mirrored
        part = np.clip(self._hinge_pose + self._hinge_wave * waves[:, len(JOINTS) :, 0], 0.0, 1.0)
        hinge = self._hinges[:, 0] + part * (self._hinges[:, 1] - self._hinges[:, 0])
        for k, (name, axis) in enumerate(_hinge_axes(self._body).items()):
            angles[:, JOINT_INDEX[name]] = hinge[:, k, None] * axis
        # about z, then x, then y: an arm is lifted sideways, swung, turned
        turns = [matrix_from_rotation_vector(angles * np.eye(3)[k]) for k in range(3)]
        rotations = turns[1] @ turns[0] @ turns[2]
        for name in ("left_elbow", "right_elbow"):
            rotations[:, JOINT_INDEX[name]] = matrix_from_rotation_vector(angles[:, JOINT_INDEX[name]])
        return bone_transforms(self._body, rotations, np.zeros((len(rotations), 3)))


def _hinge_axes(body: SkinnedMesh) -> dict[str, Array]:
    """Of elbows and knees, the axis about which a positive angle bends them."""
    axes: dict[str, Array] = {}
    for side in ("left", "right"):
        shoulder, elbow, wrist = (
            body.bind_positions_m[JOINT_INDEX[f"{side}_{part}"]].astype(np.float64)
            for part in ("shoulder", "elbow", "wrist")
        )
        axis = np.cross(elbow - shoulder, wrist - elbow)
        axes[f"{side}_elbow"] = axis / np.linalg.norm(axis)
    for side in ("left", "right"):
        axes[f"{side}_knee"] = np.array([-1.0, 0.0, 0.0])
    return axes


def recorded_motions(people: Sequence[FittedRig], clips: Sequence[MotionClip]) -> list[tuple[int, RecordedMotion]]:
    """Each clip on one of the people, in turn, as (number of the person, motion)."""
    return [(k % len(people), RecordedMotion(people[k % len(people)], clip)) for k, clip in enumerate(clips)]
