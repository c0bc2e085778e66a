"""The trunk above the floor: who brings the head low leans, so that the seat stays out of the floor.

A network that guesses an upright trunk below a low head puts the pelvis into the floor. Here the trunk is turned as a
whole about the head until the seat is on the floor, towards where it leans already, or else backwards. Head and upper
arms keep their orientation in the world; what hands and collars have to give is left to refinement, the legs to
`pose.steps`.
"""

from __future__ import annotations

import math

import numpy as np

from bodystream.avatar.skin_heights import rows_of
from bodystream.geometry.rotations import turn_about
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, Skeleton, forward_kinematics
from bodystream.pose.ground import SEAT, BodyGround
from bodystream.types import Array

__all__ = ["lean_out_of_floor"]

_NECK = JOINT_INDEX["neck"]
_HIPS = (JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"])
_ARMS = tuple((JOINT_INDEX[f"{side}_collar"], JOINT_INDEX[f"{side}_shoulder"]) for side in ("left", "right"))
_AHEAD = np.array([0.0, 0.0, -1.0])
_BACKWARDS = 0.15
"""How much the way backwards counts beside the lean that there is, which is a sine."""
_FLESH_M = 0.045
"""The thighs' flesh, which sits beside the pelvis, is so much lower than what the pelvis carries."""
_EARLY_M, _EARLY_RAD = 0.12, 0.35
"""So far above the floor the lean begins, and so far from upright it is on the floor: a trunk that is upright until it
touches would have to swing aside at once. From there on it goes on as fast, which is more than the floor asks for."""
_MOST_RAD = 1.6
_ROUNDS = 2
"""The seat's lowest point is another one once the pelvis is turned: so often it is looked for again."""


def lean_out_of_floor(skeleton: Skeleton, ground: BodyGround, rotations: Array, root_m: Array) -> tuple[Array, Array]:
    """The pose with its seat on the floor, where it was below.

    Args:
        rotations: (22, 3, 3) float64 in the parents' frames.
        root_m: (3,) the pelvis in the world, the floor at y = 0 [m].

    Returns:
        Rotations and root; what was given where nothing is below the floor.
    """
    for number in range(_ROUNDS):
        if root_m[1] > 0.5 * skeleton.pelvis_height_m:
            return rotations, root_m
        positions, world = forward_kinematics(skeleton.offsets_m, rotations, root_m)
        sunk = _FLESH_M - ground.lowest_m(SEAT, rows_of(positions, world))
        early = _EARLY_RAD * (sunk / _EARLY_M + 1.0) if number == 0 else 0.0
        if max(sunk, early) <= 1e-4:
            return rotations, root_m
        turn = _turn_up(positions[0] - positions[HEAD], world[0], sunk, early)
        rotations = _turned(rotations, world, turn)
        root_m = positions[HEAD] + turn @ (positions[0] - positions[HEAD])
    return rotations, root_m


def _turn_up(away: Array, pelvis: Array, by_m: float, early_rad: float) -> Array:
    """(3, 3) the rotation of the trunk that lifts the pelvis, at `away` from the head, by so much, or earlier."""
    length = math.sqrt(float(away @ away))
    outwards = away / length - _BACKWARDS * (pelvis @ _AHEAD)
    outwards[1] = 0.0
    size = math.sqrt(float(outwards @ outwards))
    if size < 1e-6:
        return np.eye(3)
    outwards /= size
    # In the plane of the vertical and `outwards`; what is across stays as it is.
    along, down = float(away @ outwards), -float(away[1])
    radius = math.hypot(along, down)
    now = math.atan2(along, down)

    def lifting(by: float) -> float:
        return math.acos(min(max((down - by) / radius, -0.2), 1.0)) - now

    # The early lean is one from upright: who leans or lies already has it.
    angle = max(lifting(by_m) if by_m > 0.0 else 0.0, early_rad - now)
    axis = np.array([-outwards[2], 0.0, outwards[0]])  # turns "down" towards `outwards`
    return turn_about(axis, min(max(angle, 0.0), _MOST_RAD))


def _turned(rotations: Array, world: Array, turn: Array) -> Array:
    """The pose with its trunk turned in the world, head, upper arms and thighs not."""
    out = rotations.copy()
    out[0] = turn @ rotations[0]
    for hip in _HIPS:
        out[hip] = out[0].T @ world[hip]
    half = _half(turn)
    chest = turn @ world[JOINT_INDEX["spine3"]]
    neck = half @ world[_NECK]
    out[_NECK] = chest.T @ neck
    out[HEAD] = neck.T @ world[HEAD]
    for collar, shoulder in _ARMS:
        out[shoulder] = (turn @ world[collar]).T @ world[shoulder]
    return out


def _half(turn: Array) -> Array:
    """Half of a rotation that is less than half a turn."""
    middle = turn + np.eye(3)
    # Between identity and a rotation R lies the polar factor of R + I, which for one axis is this.
    u, _, v = np.linalg.svd(middle)
    return u @ v
