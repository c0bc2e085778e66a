"""The body's skeleton: 22 joints in SMPL's order, its rest pose, its forward kinematics and its mirror image.

The canonical rest pose is a T-pose in a right-handed frame: x to the body's right, y up, -z where it looks; legs
straight down, arms straight out, palms down. Every bone's frame is that frame at rest, so a pose of identity rotations
is the T-pose. People differ by their offsets only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import smallest_rotation
from bodystream.types import Array

__all__ = [
    "ARMS",
    "JOINTS",
    "JOINT_INDEX",
    "LEFT_HAND",
    "HEAD",
    "LOWER_BODY",
    "MIRROR",
    "PARENTS",
    "RIGHT_HAND",
    "UPPER_BODY",
    "Skeleton",
    "align_rest",
    "forward_kinematics",
    "local_rotations",
    "mirror_rotations",
]

JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
"""SMPL's 22 joints in SMPL's order."""

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Of each joint, its parent; a parent comes before its children."""

JOINT_INDEX = {name: joint for joint, name in enumerate(JOINTS)}
HEAD, LEFT_HAND, RIGHT_HAND = JOINT_INDEX["head"], JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]
ARMS = {side: (JOINT_INDEX[f"{side}_elbow"], JOINT_INDEX[f"{side}_wrist"]) for side in ("left", "right")}
"""Of each side, the joints whose offsets are the upper arm and the forearm."""

LOWER_BODY = tuple(
    j for j, name in enumerate(JOINTS) if name.split("_")[-1] in ("pelvis", "hip", "knee", "ankle", "foot")
)
"""Pelvis, hips, knees, ankles and feet."""
UPPER_BODY = tuple(j for j in range(len(JOINTS)) if j not in LOWER_BODY)
"""Spine, neck, head, collars, shoulders, elbows and wrists."""

MIRROR = tuple(JOINT_INDEX[name.replace("left", "?").replace("right", "left").replace("?", "right")] for name in JOINTS)
"""Of each joint, its counterpart on the other side."""

# The joint whose direction from the parent is aligned with the T-pose, and that direction.
_LIMBS = {
    "hip": ("knee", (0.0, -1.0, 0.0)),
    "knee": ("ankle", (0.0, -1.0, 0.0)),
    "shoulder": ("elbow", None),
    "elbow": ("wrist", None),
}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The proportions of one person.

    Attributes:
        offsets_m: (22, 3) float64, each joint from its parent in the canonical rest pose [m]; the pelvis' row is zero.
    """

    offsets_m: Array

    def __post_init__(self) -> None:
        offsets = np.array(self.offsets_m, np.float64)
        if offsets.shape != (len(JOINTS), 3) or not np.isfinite(offsets).all():
            raise InputError(
                f"a skeleton takes finite offsets of shape ({len(JOINTS)}, 3) in metres, got shape {offsets.shape}"
            )
        if np.abs(offsets).max() > 3.0:
            raise InputError(
                f"a skeleton's bone is {np.abs(offsets).max():.1f} m long: offsets are in metres, these look like "
                "centimetres or inches"
            )
        offsets[0] = 0.0
        offsets.setflags(write=False)
        object.__setattr__(self, "offsets_m", offsets)

    @property
    def rest_positions_m(self) -> Array:
        """(22, 3) joints of the T-pose with the pelvis at the origin [m]."""
        positions = np.zeros((len(JOINTS), 3))
        for joint in range(1, len(JOINTS)):
            positions[joint] = positions[PARENTS[joint]] + self.offsets_m[joint]
        return positions

    @property
    def pelvis_height_m(self) -> float:
        """Height of the pelvis above the lowest joint of the T-pose [m]."""
        return float(-self.rest_positions_m[:, 1].min())

    @property
    def stature_m(self) -> float:
        """Height of the head joint above the lowest joint of the T-pose [m]: the unit in which networks see lengths."""
        return float(self.rest_positions_m[HEAD, 1]) + self.pelvis_height_m

    def scaled(self, factor: float) -> Skeleton:
        """The same proportions, `factor` times as large."""
        return Skeleton(self.offsets_m * factor)

    def mirrored(self) -> Skeleton:
        """The mirror image in the body's plane of symmetry."""
        return Skeleton(self.offsets_m[list(MIRROR)] * (-1.0, 1.0, 1.0))


def forward_kinematics(offsets_m: Array, rotations: Array, root_positions_m: Array) -> tuple[Array, Array]:
    """World positions and orientations of all joints.

    Args:
        offsets_m: (..., 22, 3) of `Skeleton`; broadcast against the others.
        rotations: (..., 22, 3, 3), each joint's rotation in its parent's frame; the pelvis' in the world.
        root_positions_m: (..., 3) pelvis in the world [m].

    Returns:
        (..., 22, 3) positions [m] and (..., 22, 3, 3) orientations (world from bone).
    """
    count = len(PARENTS)
    poses = np.zeros((*rotations.shape[:-3], count + 1, 4, 4), rotations.dtype)
    poses[..., 3, 3] = 1.0
    poses[..., count, :3, :3] = np.eye(3)
    poses[..., :count, :3, :3] = rotations
    poses[..., :count, :3, 3] = offsets_m
    poses[..., 0, :3, 3] = root_positions_m
    for ancestors in _ANCESTORS:  # what was relative to an ancestor becomes relative to that one's
        poses = poses.take(ancestors, axis=-3) @ poses
    return poses[..., :count, :3, 3], poses[..., :count, :3, :3]


def _ancestors() -> list[Array]:
    """(23,) the joint 1, 2 and 4 above each, and 22, which stands for the world, above all: chains have up to 8."""
    count = len(PARENTS)
    above = np.array([*(count if parent < 0 else parent for parent in PARENTS), count])
    out = []
    while (above < count).any():
        out.append(above)
        above = above[above]
    return out


_ANCESTORS = _ancestors()


def local_rotations(world: Array) -> Array:
    """Orientations (..., 22, 3, 3) in the world to rotations in each parent's frame: undoes `forward_kinematics`."""
    local = world.copy()
    for joint in range(1, len(PARENTS)):
        local[..., joint, :, :] = np.swapaxes(world[..., PARENTS[joint], :, :], -1, -2) @ world[..., joint, :, :]
    return local


def mirror_rotations(rotations: Array) -> Array:
    """The pose (..., 22, 3, 3) of the mirror image, left and right exchanged, mirrored at x = 0."""
    sign = np.array([-1.0, 1.0, 1.0], rotations.dtype)
    return rotations[..., list(MIRROR), :, :] * (sign[:, None] * sign[None, :])


def align_rest(positions_m: Array) -> tuple[Skeleton, Array]:
    """The canonical T-pose of a skeleton that is given in another rest pose (A-pose, splayed legs, bent arms).

    Arms and legs are straightened along the T-pose's directions by the smallest rotation that does it; feet keep their
    slope and are turned to point ahead; hands follow their forearm; spine, neck and collars stay as they are.

    Args:
        positions_m: (22, 3) joints at rest in a frame with x to the body's right, y up, -z where it looks [m].

    Returns:
        The skeleton, and (22, 3, 3) `rest_from_canonical`: the orientation that each bone's canonical frame has in the
        given rest pose. With bone orientations `world_from_rest` of the given skeleton, the canonical ones are
        `world_from_rest @ rest_from_canonical`.

    Raises:
        InputError: an arm or leg has no length.
    """
    positions = np.asarray(positions_m, np.float64)
    aligned = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    for side, out in (("left", -1.0), ("right", 1.0)):
        for part, (child, direction) in _LIMBS.items():
            joint, end = JOINT_INDEX[f"{side}_{part}"], JOINT_INDEX[f"{side}_{child}"]
            along = positions[end] - positions[joint]
            length = np.linalg.norm(along)
            if length < 1e-4:
                raise InputError(f"the skeleton's {side} {part} has no length: a joint is missing or mapped twice")
            target = np.array(direction if direction is not None else (out, 0.0, 0.0))
            aligned[joint] = smallest_rotation(target, along / length)
        aligned[JOINT_INDEX[f"{side}_wrist"]] = aligned[JOINT_INDEX[f"{side}_elbow"]]
        ankle, foot = JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_foot"]
        toes = positions[foot] - positions[ankle]
        if np.hypot(toes[0], toes[2]) > 1e-4:
            aligned[ankle] = aligned[foot] = _turn_about_y(np.arctan2(-toes[0], -toes[2]))
    offsets = np.zeros_like(positions)
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        offsets[joint] = aligned[parent].T @ (positions[joint] - positions[parent])
    return Skeleton(offsets), aligned


def _turn_about_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
