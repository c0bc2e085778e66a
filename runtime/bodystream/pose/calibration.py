"""A person's proportions: what a calibration finds, keeps in a file, and makes a skeleton of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec
import numpy as np

from bodystream.avatar.rig import load_rig
from bodystream.errors import InputError
from bodystream.files import atomic_path, read_bounded
from bodystream.geometry.skeleton import ARMS, HEAD, JOINT_INDEX, LEFT_HAND, RIGHT_HAND, Skeleton, align_rest

__all__ = ["Calibration", "fitted_skeleton", "head_height_of", "height_of"]

_MAX_FILE_BYTES = 1 << 20
_RANGES = {
    "stature_m": (0.5, 3.0),
    "head_height_m": (0.4, 3.0),
    "hand_distance_m": (0.2, 4.0),
    "shoulder_height_m": (0.3, 3.0),
    "arm_factor": (0.3, 3.0),
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """A person, measured.

    Attributes:
        pose: `T` or `I`, in which it was measured; `assumed` without one.
        stature_m: from the floor to the top of the head [m].
        head_height_m: of the head joint above the floor [m].
        hand_distance_m: between the wrists in the T-pose [m]; of an I-pose, what follows from the arms' length.
        shoulder_height_m: of the shoulder joints above the floor [m].
        arm_factor: length of the arms compared with the shipped body of the same height.
        offsets_m: 22 x 3, the skeleton.
        lines: how these came about, for a person to read.
    """

    pose: Literal["T", "I", "assumed"]
    stature_m: float
    head_height_m: float
    hand_distance_m: float
    shoulder_height_m: float
    arm_factor: float
    offsets_m: tuple[tuple[float, float, float], ...]
    lines: tuple[str, ...]

    @property
    def skeleton(self) -> Skeleton:
        """The person's proportions."""
        return Skeleton(np.array(self.offsets_m))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            InputError: the file system refused.
        """
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """Read what `save` wrote.

        Raises:
            InputError: it cannot be read or is not a calibration.
        """
        try:
            content = read_bounded(path, _MAX_FILE_BYTES)
        except InputError as error:
            raise InputError(
                f"the calibration cannot be read: {error}; give the file that calibration wrote"
            ) from error
        try:
            calibration = msgspec.json.decode(content, type=Calibration)
            Skeleton(np.array(calibration.offsets_m))  # checks its shape and size
        # RecursionError: lists within lists, thousands deep.
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError, InputError) as error:
            raise InputError(f"{path} is not a calibration ({error}): calibrate again") from error
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(calibration, name) <= high:
                raise InputError(
                    f"{path} is not a calibration of a person ({name} is {getattr(calibration, name):.3g}, wanted "
                    f"{low:g} to {high:g}): calibrate again"
                )
        return calibration

    @classmethod
    def of(
        cls, pose: Literal["T", "I", "assumed"], head_m: float, arm_factor: float, lines: tuple[str, ...] = ()
    ) -> Calibration:
        """The shipped body's proportions, as high as the head joint, with arms `arm_factor` times as long.

        Args:
            head_m: of the head joint above the floor [m].
            lines: what else was found, for a person.
        """
        skeleton = fitted_skeleton(head_m, arm_factor)
        shipped, sole, stature = _shipped()
        scale = head_m / (shipped.stature_m + sole)
        rest = skeleton.rest_positions_m
        shoulder = float(rest[JOINT_INDEX["left_shoulder"], 1] + skeleton.pelvis_height_m + sole * scale)
        span = float(rest[RIGHT_HAND, 0] - rest[LEFT_HAND, 0])
        told = (
            f"stature {stature * scale:.2f} m, from the head joint at {head_m:.2f} m above the floor",
            f"shoulders at {shoulder:.2f} m, from the stature",
            *lines,
            f"arms {100 * (arm_factor - 1.0):+.0f} % compared with a common build of that height",
        )
        offsets = tuple((float(x), float(y), float(z)) for x, y, z in skeleton.offsets_m)
        return cls(pose, float(stature * scale), float(head_m), span, shoulder, float(arm_factor), offsets, told)


@cache
def _shipped() -> tuple[Skeleton, float, float]:
    """The shipped body: its skeleton, the height of its lowest joint above its soles, and its stature [m]."""
    body = load_rig()
    joints, vertices = body.bind_positions_m.astype(np.float64), body.mesh.vertices
    skeleton, _ = align_rest(joints)
    sole = float(joints[:, 1].min())
    # Straightened legs are a little longer than the A-pose's; the top of the head goes up with the head joint.
    above_head = float(vertices[:, 1].max()) - joints[HEAD, 1]
    return skeleton, sole, float(skeleton.stature_m + sole + above_head)


def head_height_of(stature_m: float) -> float:
    """Height of the head joint above the floor of somebody so tall, with the shipped body's proportions [m]."""
    skeleton, sole, stature = _shipped()
    return stature_m * (skeleton.stature_m + sole) / stature


def height_of(skeleton: Skeleton) -> float:
    """How tall a body with this skeleton is, to the top of a head in the shipped body's proportions [m]."""
    shipped, _, stature = _shipped()
    return stature * skeleton.stature_m / shipped.stature_m


def fitted_skeleton(head_height_m: float, arm_factor: float = 1.0) -> Skeleton:
    """The shipped body's proportions, as high as measured.

    Args:
        head_height_m: of the head joint above the floor, standing upright [m].
        arm_factor: length of upper arms and forearms compared with the shipped body of that height.
    """
    skeleton, sole, _ = _shipped()
    offsets = skeleton.offsets_m * (head_height_m / (skeleton.stature_m + sole))
    for arm in ARMS.values():
        offsets[list(arm)] *= arm_factor
    return Skeleton(offsets)
