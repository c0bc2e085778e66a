"""How far the joints of the canonical skeleton turn, and how far beyond that a pose goes.

Each joint has three bounds on the direction `d = R b` of its bone `b` and on the turn about it:

- a cone: the angle between `d` and the cone's centre;
- a lateral range: the angle of `d` out of the plane of its main movement, `asin(s . d)` for the lateral axis `s`
  (what makes a hinge of knee and elbow, and tells abduction from flexion at the hip);
- a twist range: the turn about the bone, `2 atan2(q . b, q_w)` of the joint's quaternion q.

The ranges are the normal ranges of motion of the American Academy of Orthopaedic Surgeons (Greene and Heckman, The
Clinical Measurement of Joint Motion, 1994) and, for the spine's segments, of White and Panjabi (Clinical Biomechanics
of the Spine, 1990) shared out over three spine and two neck joints. They are widened, by 5 to 30 degrees, where motion
capture puts movement into a neighbouring joint (collar and shoulder, forearm and wrist, ankle and toes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["LIMITS", "JointLimits", "clamp", "excesses", "violate", "violations"]


@dataclass(frozen=True, slots=True)
class JointLimits:
    """Bounds of all 22 joints, in each joint's parent's frame.

    Attributes:
        bones: (22, 3) unit vectors along the bones at rest.
        centres: (22, 3) unit vectors in the middle of the cones.
        laterals: (22, 3) unit vectors across the plane of the main movement.
        cones: (22,) half angles [rad]; pi for a joint without bounds.
        lateral_ranges: (22, 2) lowest and highest lateral angle [rad].
        twist_ranges: (22, 2) lowest and highest twist [rad].
    """

    bones: Array
    centres: Array
    laterals: Array
    cones: Array
    lateral_ranges: Array
    twist_ranges: Array


# Of the right side, or the middle: the bone, then the cone as (axis that the main movement turns about, its lowest and
# highest angle), the lateral axis and its range, the twist range; all in degrees. Positive turns are right-handed.
_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_UP, _DOWN, _AHEAD, _OUT = _Y, (0.0, -1.0, 0.0), (0.0, 0.0, -1.0), _X
_RANGES = {
    "hip": (_DOWN, _X, (-35, 130), _X, (-35, 55), (-60, 60)),  # flexion 120, extension 30, abduction 45, rotation 45
    "knee": (_DOWN, _X, (-155, 10), _X, (-20, 20), (-40, 40)),  # flexion 135 to 150, hyperextension 10
    "ankle": (_AHEAD, _X, (-65, 35), _Y, (-40, 40), (-45, 45)),  # dorsiflexion 20, plantar flexion 50, inversion 35
    "foot": (_AHEAD, _X, (-45, 75), _Y, (-25, 25), (-25, 25)),  # toes: extension 70, flexion 45
    "spine1": (_UP, _X, (-55, 35), _X, (-30, 30), (-30, 30)),  # flexion 80, extension 25, bending 35, rotation 45
    "spine2": (_UP, _X, (-50, 30), _X, (-30, 30), (-35, 35)),  # in all, over three joints
    "spine3": (_UP, _X, (-50, 30), _X, (-30, 30), (-35, 35)),
    "neck": (_UP, _X, (-50, 45), _X, (-35, 35), (-60, 60)),  # flexion 45, extension 45 to 60, rotation 60 to 80
    "head": (_UP, _X, (-45, 45), _X, (-35, 35), (-60, 60)),
    "collar": (_OUT, _Y, (-35, 35), _Z, (-35, 35), (-40, 40)),
    "shoulder": (_OUT, _Y, (-75, 150), _Y, (-90, 90), (-130, 130)),  # horizontal flexion 130, extension 45
    "elbow": (_OUT, _Y, (-12, 157), _Y, (-25, 25), (-110, 110)),  # flexion 150, forearm's rotation 80 to 90
    "wrist": (_OUT, _Z, (-90, 85), _Z, (-50, 50), (-60, 60)),  # flexion 80, extension 70, deviation 20 and 30
}


def _build() -> JointLimits:
    count = len(JOINTS)
    bones, centres, laterals = (np.tile(np.array(axis), (count, 1)) for axis in (_Y, _Y, _X))
    cones = np.full(count, np.pi)
    lateral_ranges = np.tile((-np.pi, np.pi), (count, 1))
    twist_ranges = np.tile((-2.0 * np.pi, 2.0 * np.pi), (count, 1))
    mirror = np.array([-1.0, 1.0, 1.0])
    for joint, name in enumerate(JOINTS):
        part = name.split("_")[-1]
        if part not in _RANGES:
            continue
        bone, axis, (low, high), lateral, lateral_range, twist_range = _RANGES[part]
        turn = matrix_from_rotation_vector(np.array(axis) * np.radians(0.5 * (low + high)))
        bones[joint], centres[joint], laterals[joint] = bone, turn @ np.array(bone), lateral
        cones[joint] = np.radians(0.5 * (high - low))
        lateral_ranges[joint] = np.radians(lateral_range)
        twist_ranges[joint] = np.radians(twist_range)
        if name.startswith("left"):  # mirrored at x = 0: directions change x; a symmetric twist range stays
            bones[joint] *= mirror
            centres[joint] *= mirror
            laterals[joint] *= mirror
    for array in (bones, centres, laterals, cones, lateral_ranges, twist_ranges):
        array.setflags(write=False)
    return JointLimits(bones, centres, laterals, cones, lateral_ranges, twist_ranges)


LIMITS = _build()
"""The bounds that `excesses`, `clamp` and the refiner go by."""


def excesses(rotations: Array) -> Array:
    """How far each joint is beyond each of its three bounds.

    Args:
        rotations: (..., 22, 3, 3) in each parent's frame.

    Returns:
        (..., 22, 3) of cone, lateral range and twist [rad], 0 within.
    """
    rotations = _checked(rotations)
    direction = np.einsum("...jab,jb->...ja", rotations, LIMITS.bones)
    cone = np.arccos(np.clip(np.sum(direction * LIMITS.centres, axis=-1), -1.0, 1.0)) - LIMITS.cones
    lateral = _beyond(_lateral(direction, LIMITS.laterals), LIMITS.lateral_ranges)
    twist = _beyond(_twist(rotations, LIMITS.bones), LIMITS.twist_ranges)
    return np.stack([np.maximum(cone, 0.0), lateral, twist], axis=-1)


def violations(rotations: Array) -> Array:
    """(..., 22) the largest angle beyond a bound of each joint of (..., 22, 3, 3) rotations [rad], 0 within."""
    return excesses(rotations).max(axis=-1)


def clamp(rotations: Array) -> Array:
    """The poses (..., 22, 3, 3) with each joint turned back into its bounds; joints within stay as they are."""
    rotations = _checked(rotations)
    beyond = violations(rotations) > 1e-9
    if not beyond.any():
        return rotations.copy()
    out = rotations.copy()
    flat, where = out.reshape(-1, 3, 3), np.flatnonzero(beyond)
    joint = where % len(JOINTS)
    flat[where] = _clamped(flat[where], joint)
    return out


def violate(
    rotations: Array,
    rng: np.random.Generator,
    *,
    joints: int = 3,
    beyond_rad: tuple[float, float] = (0.35, 1.2),
) -> Array:
    """Poses that no body takes: some joints of each given pose are turned beyond their bounds, the others kept.

    Args:
        rotations: (N, 22, 3, 3) real poses.
        joints: how many joints of each pose at most; at least one is.
        beyond_rad: from and to how far they are turned beyond the bound, where the joint's geometry allows it.

    Returns:
        (N, 22, 3, 3) with `violations(...).max(-1)` above half of `beyond_rad[0]` for every pose.
    """
    rotations = _checked(rotations)
    if rotations.ndim != 4 or joints < 1 or not 0.0 < beyond_rad[0] <= beyond_rad[1]:
        raise InputError(
            f"violate takes (N, 22, 3, 3) poses, at least one joint and 0 < from <= to, got {rotations.shape}, "
            f"{joints} and {beyond_rad}"
        )
    out = rotations.copy()
    bounded = np.flatnonzero(LIMITS.cones < np.pi)
    for pose in out:
        while violations(pose).max() < 0.5 * beyond_rad[0]:
            for joint in rng.choice(bounded, size=rng.integers(1, joints + 1), replace=False):
                pose[joint] = _pushed(pose[joint], int(joint), rng, rng.uniform(*beyond_rad))
    return out


def _checked(rotations: Array) -> Array:
    rotations = np.asarray(rotations)
    if rotations.shape[-3:] != (len(JOINTS), 3, 3):
        raise InputError(f"a pose has rotations of shape (..., {len(JOINTS)}, 3, 3), got {rotations.shape}")
    return rotations.astype(np.float64, copy=False)


def _lateral(direction: Array, lateral: Array) -> Array:
    return np.arcsin(np.clip(np.sum(direction * lateral, axis=-1), -1.0, 1.0))


def _twist(rotations: Array, bones: Array) -> Array:
    quaternion = quaternion_from_matrix(rotations)
    return 2.0 * np.arctan2(np.sum(quaternion[..., :3] * bones, axis=-1), quaternion[..., 3])


def _beyond(angle: Array, ranges: Array) -> Array:
    return np.maximum(np.maximum(angle - ranges[..., 1], ranges[..., 0] - angle), 0.0)


def _clamped(rotations: Array, joint: Array) -> Array:
    """(N, 3, 3) rotations of the joints (N,) within their bounds: the bone's direction first, then its twist."""
    bone, centre, lateral = LIMITS.bones[joint], LIMITS.centres[joint], LIMITS.laterals[joint]
    direction = np.einsum("nab,nb->na", rotations, bone)
    low, high = LIMITS.lateral_ranges[joint].T
    margin = 1e-7  # so that rounding does not leave the result outside
    for _ in range(50):  # alternating projections onto two sets with a common interior
        across = _lateral(direction, lateral)
        direction = _with_lateral(direction, lateral, np.clip(across, low + margin, high - margin))
        angle = np.arccos(np.clip(np.sum(direction * centre, axis=-1), -1.0, 1.0))
        wanted = np.minimum(angle, LIMITS.cones[joint] - margin)
        if np.all(angle <= LIMITS.cones[joint]):
            break
        direction = _towards(centre, direction, wanted)
    twist = np.clip(_twist(rotations, bone), *(LIMITS.twist_ranges[joint].T + np.array([[margin], [-margin]])))
    return _swing(bone, direction) @ matrix_from_rotation_vector(bone * twist[:, None])


def _pushed(rotation: Array, joint: int, rng: np.random.Generator, beyond: float) -> Array:
    """One joint's rotation with one of its three measures set beyond its bound, the others kept."""
    bone, centre, lateral = LIMITS.bones[joint], LIMITS.centres[joint], LIMITS.laterals[joint]
    direction = rotation @ bone
    twist = float(_twist(rotation, bone))
    kind = rng.integers(3)
    side = int(rng.integers(2))
    sign = 1.0 if side else -1.0
    if kind == 0:
        away = direction[None]
        if np.linalg.norm(np.cross(direction, centre)) < 1e-3:  # in the middle: any way out will do
            away = _any_across(centre)[None]
        direction = _towards(centre[None], away, np.array([min(LIMITS.cones[joint] + beyond, np.pi - 0.02)]))[0]
    elif kind == 1:
        across = np.clip(LIMITS.lateral_ranges[joint, side] + sign * beyond, -1.5, 1.5)
        direction = _with_lateral(direction[None], lateral[None], np.array([across]))[0]
    else:
        twist = np.clip(LIMITS.twist_ranges[joint, side] + sign * beyond, -3.1, 3.1)
    return _swing(bone[None], direction[None])[0] @ matrix_from_rotation_vector(bone * twist)


def _with_lateral(direction: Array, lateral: Array, angle: Array) -> Array:
    """(N, 3) directions turned to have the given angle out of the plane across `lateral`."""
    inside = direction - np.sum(direction * lateral, axis=-1, keepdims=True) * lateral
    length = np.linalg.norm(inside, axis=-1, keepdims=True)
    inside = np.where(length > 1e-9, inside / np.maximum(length, 1e-9), _any_across(lateral))
    return np.cos(angle)[:, None] * inside + np.sin(angle)[:, None] * lateral


def _towards(start: Array, end: Array, angle: Array) -> Array:
    """(N, 3) unit vectors at `angle` from `start` on the way to `end`."""
    across = end - np.sum(start * end, axis=-1, keepdims=True) * start
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across = np.where(length > 1e-9, across / np.maximum(length, 1e-9), _any_across(start))
    return np.cos(angle)[:, None] * start + np.sin(angle)[:, None] * across


def _any_across(vector: Array) -> Array:
    """Some unit vector across each of (..., 3)."""
    other = np.eye(3)[np.abs(vector).argmin(axis=-1)]
    across = np.cross(vector, other)
    return across / np.linalg.norm(across, axis=-1, keepdims=True)


def _swing(start: Array, end: Array) -> Array:
    """(N, 3, 3) smallest rotations from unit vectors `start` to `end`, both (N, 3)."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.sum(start * end, axis=-1, keepdims=True))
    axis = np.where(sine > 1e-9, axis / np.maximum(sine, 1e-9), _any_across(start))
    return matrix_from_rotation_vector(axis * angle)
