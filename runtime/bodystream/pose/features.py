"""What the networks see of a headset and a person: `x_H` and beta, and how their answer becomes a pose.

Everything is relative to the head's projection on the floor and to its heading, and lengths are in units of the
person's stature (`Skeleton.stature_m`), so that neither the place, nor the direction, nor the size of a person changes
the answer. Training and runtime share this file.
"""

from __future__ import annotations

import msgspec
import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, LEFT_HAND, PARENTS, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.types import Array

__all__ = [
    "BETA_SIZE",
    "DEVICES",
    "POSE_SIZE",
    "FeatureConfig",
    "beta_of_skeleton",
    "decode_poses",
    "device_features",
    "encode_poses",
    "heading_rotation",
    "place_by_head",
]

DEVICES = (HEAD, LEFT_HAND, RIGHT_HAND)
"""The joints that a headset observes."""
POSE_SIZE = 3 * len(PARENTS)
"""Rotation vectors of 22 joints."""
BETA_SIZE = 10
_STATE = 9


_MOST_STATES = 64
_OLDEST_S = 10.0


class FeatureConfig(msgspec.Struct, frozen=True):
    """How much of the past the networks see.

    Attributes:
        history_s: ages of the earlier states [s], ascending; empty for single frames as in the paper.
    """

    history_s: tuple[float, ...] = (2 / 60, 4 / 60, 8 / 60, 16 / 60, 32 / 60)

    def __post_init__(self) -> None:
        if any(not age > 0 for age in self.history_s) or list(self.history_s) != sorted(self.history_s):
            raise InputError(f"history must be ascending positive ages in seconds, got {excerpt(self.history_s)}")
        # Live, as many samples as this is old are kept.
        if len(self.history_s) > _MOST_STATES or any(age > _OLDEST_S for age in self.history_s):
            raise InputError(
                f"history must have at most {_MOST_STATES} ages of at most {_OLDEST_S:g} s, "
                f"got {excerpt(self.history_s)}"
            )

    @property
    def ages_s(self) -> tuple[float, ...]:
        """Ages of all states, the present one first [s]."""
        return (0.0, *self.history_s)

    @property
    def token_size(self) -> int:
        """Numbers per device: present state, whether it is tracked, changes since each earlier state."""
        return _STATE + 1 + _STATE * len(self.history_s)

    @property
    def observation_size(self) -> int:
        """Numbers of `x_H`."""
        return len(DEVICES) * self.token_size

    @property
    def condition_size(self) -> int:
        """Numbers of the condition `[x_H, beta]`."""
        return self.observation_size + BETA_SIZE


def heading_rotation(rotation: Array) -> Array:
    """The part of rotations (..., 3, 3) that turns about the vertical: (..., 3, 3).

    It is the twist of the swing-twist decomposition, which is smooth wherever the head is not upside down; the
    projection of the line of sight on the floor would jump when someone looks at their feet.
    """
    sine = rotation[..., 0, 2] - rotation[..., 2, 0]
    cosine = rotation[..., 0, 0] + rotation[..., 2, 2]
    length = np.hypot(sine, cosine)
    upside_down = length < 1e-9
    if upside_down.any():
        length = np.where(upside_down, 1.0, length)
        sine, cosine = np.where(upside_down, 0.0, sine), np.where(upside_down, 1.0, cosine)
    s, c = sine / length, cosine / length
    out = np.zeros_like(rotation)
    out[..., 0, 0], out[..., 0, 2] = c, s
    out[..., 1, 1] = 1.0
    out[..., 2, 0], out[..., 2, 2] = -s, c
    return out


def device_features(positions_m: Array, rotations: Array, tracked: Array, stature_m: Array) -> tuple[Array, Array]:
    """`x_H` (..., 3, token_size) of head, left and right hand, and the (..., 3, 3) heading that it is relative to.

    Args:
        positions_m: (..., A, 3, 3) world positions of the three joints at the ages of `FeatureConfig.ages_s` [m].
        rotations: (..., A, 3, 3, 3) their world orientations.
        tracked: (..., A, 3) bool; a state that is not tracked is seen as zeros, a change from or to it as none.
        stature_m: (...) of the person [m].
    """
    heading = heading_rotation(rotations[..., 0, 0, :, :])  # (..., 3, 3)
    origin = positions_m[..., :1, :1, :] * (1.0, 0.0, 1.0)
    local = (positions_m - origin) @ heading[..., None, :, :] / stature_m[..., None, None, None]
    turned = heading.mT[..., None, None, :, :] @ rotations
    state = np.concatenate([local, turned[..., 0], turned[..., 1]], axis=-1)  # (..., A, 3, 9)
    seen = tracked[..., None]
    now = state[..., 0, :, :] * seen[..., 0, :, :]
    change = (state[..., 1:, :, :] - state[..., :1, :, :]) * (seen[..., 1:, :, :] & seen[..., :1, :, :])
    change = change.swapaxes(-3, -2)  # (..., 3, A - 1, 9)
    x = np.concatenate([now, seen[..., 0, :, :], change.reshape(*change.shape[:-2], -1)], axis=-1)
    return x, heading


def beta_of_skeleton(skeleton: Skeleton) -> Array:
    """(10,) proportions: lengths of both sides' mean over the stature.

    Pelvis to hips down and aside, thigh, shin, ankle above the sole, pelvis to neck, neck to head, neck to shoulder
    aside, upper arm, forearm.
    """
    rest, o = skeleton.rest_positions_m, skeleton.offsets_m

    def both(part: str) -> Array:
        left, right = o[JOINT_INDEX[f"left_{part}"]], o[JOINT_INDEX[f"right_{part}"]]
        return (left * (-1.0, 1.0, 1.0) + right) / 2

    def length(part: str) -> float:
        left, right = o[JOINT_INDEX[f"left_{part}"]], o[JOINT_INDEX[f"right_{part}"]]
        return float(np.linalg.norm(left) + np.linalg.norm(right)) / 2

    shoulders = rest[JOINT_INDEX["right_shoulder"], 0] - rest[JOINT_INDEX["left_shoulder"], 0]
    values = [
        -both("hip")[1],
        both("hip")[0],
        length("knee"),
        length("ankle"),
        -both("foot")[1],
        np.linalg.norm(rest[JOINT_INDEX["neck"]]),
        np.linalg.norm(o[HEAD]),
        shoulders / 2,
        length("elbow"),
        length("wrist"),
    ]
    return np.asarray(values) / skeleton.stature_m


def encode_poses(rotations: Array, heading: Array) -> Array:
    """Poses as the networks see them: (..., 66) rotation vectors [rad], the pelvis' relative to the head's heading.

    Rotation vectors rather than the 6D representation: 66 numbers for 66 degrees of freedom, so that the density of
    the flow is one of poses; 6D vectors lie on a thin manifold, where a likelihood has no scale. Body joints stay
    well below half a turn from the T-pose.

    Args:
        rotations: (..., 22, 3, 3) in the parents' frames, the pelvis' in the world.
        heading: (..., 3, 3) of `heading_rotation` of the head joint.
    """
    relative = rotations.copy()
    relative[..., 0, :, :] = np.swapaxes(heading, -1, -2) @ rotations[..., 0, :, :]
    vectors = rotation_vector_from_matrix(relative)
    return vectors.reshape(*vectors.shape[:-2], POSE_SIZE)


def decode_poses(vectors: Array, heading: Array) -> Array:
    """Undoes `encode_poses`: (..., 66) to (..., 22, 3, 3)."""
    rotations = matrix_from_rotation_vector(vectors.reshape(*vectors.shape[:-1], len(PARENTS), 3))
    rotations[..., 0, :, :] = heading @ rotations[..., 0, :, :]
    return rotations


def place_by_head(offsets_m: Array, rotations: Array, head_position_m: Array) -> Array:
    """(..., 3) pelvis positions [m] that put the head joint of poses (..., 22, 3, 3) at `head_position_m` (..., 3)."""
    zero = np.zeros((*rotations.shape[:-3], 3))
    positions, _ = forward_kinematics(offsets_m, rotations, zero)
    return head_position_m - positions[..., HEAD, :]
