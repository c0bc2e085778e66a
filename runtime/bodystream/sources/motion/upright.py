"""Which way is up in a motion, and where its floor is.

A zero pose with y up says nothing about the motion: exporters turn the one and not the other, and a camera's axes have
y down. The way from the feet to the head over the whole take does, as long as the person stands: somebody who lies has
a floor beneath all of the body and goes nowhere, while a person who is upright along another axis walks across it.
"""

from __future__ import annotations

import numpy as np

from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, Skeleton, forward_kinematics, local_rotations
from bodystream.types import Array

__all__ = ["axis_named", "turn_upright", "floor_shift_m"]

_AXES = {f"{sign}{letter}": s * np.eye(3)[k] for sign, s in (("", 1), ("+", 1), ("-", -1))
         for k, letter in enumerate("xyz")}  # fmt: skip
_ANKLES = (JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"])
_ARMS = tuple((JOINT_INDEX[f"{side}_shoulder"], JOINT_INDEX[f"{side}_wrist"]) for side in ("left", "right"))
_FEET = (JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"])
_BODY = tuple(joint for joint in range(len(JOINTS)) if joint not in _ANKLES + _FEET)
_PELVIS = JOINT_INDEX["pelvis"]
_LEAST_SHARE, _SIDEWAYS_SHARE, _WITHIN = 0.6, 0.8, np.cos(np.deg2rad(40.0))
"""A take is upright along an axis where the body is within that angle of it, in so large a part of the frames; more of
them for an axis across, along which people lie, too."""
_LEAST_LENGTH = 0.35
"""From the feet to the head, as a part of the stature: somebody who crouches counts, somebody rolled up does not."""
_ALONG_AN_AXIS = 0.9
_OTHER_AXIS = 0.5
"""A mean direction whose part along the vertical is less than this is another axis."""
_WALK_M, _BOB_M, _LIE_M = 0.7, 0.35, 0.25
_TURN_RAD = np.deg2rad(150.0)
_SOLE_M, _BODY_M = 0.02, 0.08
"""Heights of a standing foot's toe joint, and of other joints of a body that lies, above the floor."""
_MOST_SHIFT_M = 0.15
_NO_BUILDING_M = 6.0
"""Feet that never come nearer to the floor than this, at changing heights, are hardly somebody's who climbs."""
_FLOOR_BAND_M = (-0.05, 0.08)
_ON_FLOOR = 0.5
"""The lowest foot is at one height where it is within the band about it in so large a part of the frames."""


def axis_named(name: str) -> Array | None:
    """(3,) of `x`, `-y`, `+z`..., or None where it is no axis."""
    axis = _AXES.get(name.strip().lower())
    return None if axis is None else axis.copy()


def turn_upright(
    positions: dict[int, Array], stature_m: float, file_from_ours: Array, up: str | None, notes: list[str]
) -> Array:
    """(3, 3) that turns a motion of which another axis than ours is up; identity for nearly all.

    Args:
        positions: of the joints that the file has, (T, 3) in our axes [m].
        stature_m: from the toes to the head at rest [m].
        file_from_ours: (3, 3) the file's axes, for messages and for `up`.
        up: the file's axis that is up, where an index says it; None to find out.
        notes: what was found or is in doubt is appended.
    """
    stated = axis_named(up) if up else None
    if stated is not None:
        return _turn(file_from_ours.T @ stated)
    head_up = positions[HEAD] - (positions[_ANKLES[0]] + positions[_ANKLES[1]]) / 2
    lengths = np.linalg.norm(head_up, axis=1)
    standing = lengths > _LEAST_LENGTH * stature_m
    if standing.sum() < _LEAST_SHARE * len(standing):
        return np.eye(3)
    directions = head_up[standing] / lengths[standing, None]
    mean = directions.mean(axis=0)
    if mean[1] > _OTHER_AXIS * np.linalg.norm(mean):
        return np.eye(3)
    in_file = file_from_ours @ mean
    axis = np.zeros(3)
    axis[np.abs(in_file).argmax()] = np.sign(in_file[np.abs(in_file).argmax()])
    ours = file_from_ours.T @ axis
    along = directions @ ours
    is_down = ours[1] < -_ALONG_AN_AXIS
    share = float(np.sum(along > _WITHIN)) / len(standing)
    if np.abs(in_file).max() < _ALONG_AN_AXIS * np.linalg.norm(mean) or share < (
        _LEAST_SHARE if is_down else _SIDEWAYS_SHARE
    ):
        return np.eye(3)
    name = ("-" if axis.sum() < 0 else "") + "xyz"[int(np.abs(axis).argmax())]
    straight = np.flatnonzero(standing)[along > _WITHIN]
    while_straight = {joint: at[straight] for joint, at in positions.items()}
    certain = _is_upside_down(while_straight, ours) if is_down else _stands_along(while_straight, ours)
    if certain is None:
        notes.append(
            f"the body is stretched out along the file's {name} axis all the time: either the person lies, which was "
            f"taken, or its motion has other axes than its zero pose; up={name} in an index.csv beside it settles that"
        )
        return np.eye(3)
    if not certain:
        return np.eye(3)
    notes.append(
        f"its motion has other axes than its zero pose: the person is upright along the file's {name} axis, which was "
        "taken for up (a column up in an index.csv beside it overrules that)"
    )
    return _turn(ours)


def _turn(up: Array) -> Array:
    """The smallest rotation that makes `up` the y axis; half a turn is about x, as from a camera's axes."""
    if up[1] < -1.0 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    axis = np.cross(up, [0.0, 1.0, 0.0])
    k = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + k + k @ k / (1.0 + up[1])


def _is_upside_down(positions: dict[int, Array], up: Array) -> bool:
    """Whether a body with its head below is no handstand: then arms would be stretched beyond the head."""
    reach = np.stack([(positions[wrist] - positions[shoulder]) @ up for shoulder, wrist in _ARMS])
    length = np.stack([np.linalg.norm(positions[wrist] - positions[shoulder], axis=1) for shoulder, wrist in _ARMS])
    return bool(np.mean(reach > 0.7 * length) < 0.5)


def _stands_along(positions: dict[int, Array], up: Array) -> bool | None:
    """Whether a body that is stretched out sideways stands along `up`; None where that cannot be told."""
    pelvis = positions[_PELVIS]
    along, vertical = pelvis @ up, pelvis[:, 1]
    across = pelvis - along[:, None] * up
    votes = 0
    if _spread(vertical) > _BOB_M:
        votes += 2  # nobody who lies is carried up and down by so much
    if np.linalg.norm([_spread(across[:, k]) for k in range(3)]) > _WALK_M and _spread(along) < _BOB_M:
        votes += 1
    left = positions[_ARMS[0][0]] - positions[_ARMS[1][0]]
    ahead = np.cross(np.broadcast_to(up, left.shape), left)
    first = left[0] - (left[0] @ up) * up
    turn = np.unwrap(np.arctan2(ahead @ first, left @ first))
    if _spread(turn) > _TURN_RAD:
        votes += 1
    ankles = np.minimum(positions[_ANKLES[0]] @ up, positions[_ANKLES[1]] @ up)
    if -0.05 < np.percentile(ankles, 5.0) < _LIE_M and _spread(ankles) < _LIE_M:
        votes += 1
    lowest = np.min([at[:, 1] for at in positions.values()], axis=0)
    if -0.05 < np.median(lowest) < _LIE_M and _spread(lowest) < _LIE_M:
        votes -= 1
    return None if votes == 0 else votes > 0


def _spread(values: Array) -> float:
    low, high = np.percentile(values, [5.0, 95.0])
    return float(high - low)


def floor_shift_m(
    skeleton: Skeleton, world: Array, roots: Array, offsets_up_m: tuple[float, ...], notes: list[str]
) -> Array:
    """What to add to the heights of the pelvis so that the floor is at y = 0, (T,) or (1,) [m].

    Args:
        skeleton, world: the person and (T, 22, 3, 3) orientations.
        roots: (T, 3) pelvis [m].
        offsets_up_m: heights that the root's positions may be meant on top of.
        notes: what was found or is in doubt is appended.
    """
    joints, _ = forward_kinematics(skeleton.offsets_m, local_rotations(world), roots)
    feet = joints[:, _FEET, 1].min(axis=1)
    if len(roots) > 1 and np.ptp(roots, axis=0).max() < 1e-6 and np.ptp(feet) > 1e-6:
        notes.append(
            "its root never moves: the person stays in one place, and in each frame what is lowest was put on the floor"
        )
        return -np.minimum(feet - _SOLE_M, joints[:, _BODY, 1].min(axis=1) - _BODY_M)
    height = float(np.percentile(feet, 5.0))
    shift = _SOLE_M - height
    if abs(shift) <= _MOST_SHIFT_M:
        return np.array([shift])
    on_top = next((up for up in offsets_up_m if abs(shift - up) <= _MOST_SHIFT_M), None)
    if on_top is not None:
        notes.append(
            f"the positions of its root are relative to the root's OFFSET, which is {100 * on_top:.0f} cm up and was "
            "added"
        )
        return np.array([shift])
    low, high = _FLOOR_BAND_M
    if np.mean((feet > height + low) & (feet < height + high)) >= _ON_FLOOR:
        notes.append(f"its feet stand {-100 * shift:.0f} cm above the file's zero: the floor was taken to be there")
        return np.array([shift])
    high = (
        "; if no tower is climbed, its root's positions are in another unit than its bones: scale them to it"
        if abs(shift) > _NO_BUILDING_M
        else ""
    )
    notes.append(
        f"its feet come down to {-100 * shift:.0f} cm above the file's zero, at different heights, so the file's own "
        f"floor was kept{high}"
    )
    return np.zeros(1)
