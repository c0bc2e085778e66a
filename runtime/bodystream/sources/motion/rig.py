"""A motion as its file has it: any joints, any unit, any axes. What the readers make and `mapping` understands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["RigMotion", "axis_rotations", "check_length", "rig_kinematics"]

_MAX_ROTATIONS = 16_000_000


@dataclass(frozen=True, slots=True)
class RigMotion:
    """Joints of a file and their motion.

    Attributes:
        name: of the file, for messages.
        joints: names, a parent before its children.
        parents: of each joint, -1 for the root.
        offsets: (J, 3) float64 each joint in its parent's frame, in units of the file; the root's is not used.
        rotations: (T, J, 3, 3) float64 in the parent's frame; the root's in the world.
        root_positions: (T, 3) float64 in units of the file.
        rate_hz: as the file says, or None.
        translations: of joints other than the root that have channels of position, (T, 3) in place of their offset.
        end_sites: of joints without children, where their bone ends, (3,) in their frame.
        kind: `bvh`, `amc` or `amass`.
        metres_per_unit: where the format says, or None.
        root_offset: (3,) of the root in the hierarchy, on top of which some exporters mean its channels; else zero.
        notes: what had to be assumed in reading it.
        file_from_motion: (3, 3) the file's axes where the reader has turned the motion, for messages.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Array
    rotations: Array
    root_positions: Array
    rate_hz: float | None
    translations: dict[int, Array] = field(default_factory=dict)
    end_sites: dict[int, Array] = field(default_factory=dict)
    kind: str = "bvh"
    metres_per_unit: float | None = None
    root_offset: Array = field(default_factory=lambda: np.zeros(3))
    notes: tuple[str, ...] = ()
    file_from_motion: Array = field(default_factory=lambda: np.eye(3))

    def __len__(self) -> int:
        return len(self.root_positions)


def check_length(frames: int, joints: int, name: str) -> None:
    """Refuse what would not fit into memory: a small file can hold many frames of joints without channels.

    Raises:
        InputError: it names the file.
    """
    if frames * joints > _MAX_ROTATIONS:
        raise InputError(
            f"{name} has {frames} frames of {joints} joints, more than the {_MAX_ROTATIONS} rotations that are "
            "accepted (an hour of 60 joints at 60 Hz has 13 million): cut it into pieces"
        )


def rig_kinematics(motion: RigMotion, wanted: set[int] | None = None) -> tuple[dict[int, Array], dict[int, Array]]:
    """World positions (T, 3) and orientations (T, 3, 3) of the wanted joints and all above them, in the file's axes.

    Args:
        motion: T frames.
        wanted: joints, or None for all.
    """
    needed = set(range(len(motion.joints))) if wanted is None else set(wanted)
    for joint in reversed(range(len(motion.joints))):
        if joint in needed and motion.parents[joint] >= 0:
            needed.add(motion.parents[joint])
    positions: dict[int, Array] = {}
    orientations: dict[int, Array] = {}
    for joint in sorted(needed):
        parent, turn = motion.parents[joint], motion.rotations[:, joint]
        if parent < 0:
            positions[joint], orientations[joint] = motion.root_positions, turn
            continue
        shift = motion.translations[joint] if joint in motion.translations else motion.offsets[joint]
        positions[joint] = positions[parent] + np.einsum("...ij,...j->...i", orientations[parent], shift)
        orientations[joint] = orientations[parent] @ turn
    return positions, orientations


def axis_rotations(axis: int, angles_rad: Array) -> Array:
    """(T, 3, 3) rotations about one axis (0, 1, 2 for x, y, z)."""
    out = np.zeros((len(angles_rad), 3, 3))
    cosine, sine = np.cos(angles_rad), np.sin(angles_rad)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1.0
    out[:, first, first] = out[:, second, second] = cosine
    out[:, first, second], out[:, second, first] = -sine, sine
    return out
