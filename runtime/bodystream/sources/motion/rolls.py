"""How limbs are turned about themselves, by what the motion shows and not by what a rig calls zero.

Where joints are says nothing of how the bone between two of them is turned about its own axis. Rigs differ in it by 15
to 50 degrees: one has elbows that bend ahead in the T-pose, another ahead and up; one turns the forearm with the hand,
another only the hand; one has soles at rest that are level, another feet as its legs are splayed. What is the same for
everybody is how people are built:

- elbows and knees are hinges: where forearm and shank go as they bend says how upper arm and thigh are turned, so that
  in the canonical frames they go ahead (-z) and behind (+z);
- a shank does not turn against the thigh; of the turn of a hand about its forearm, the forearm's middle has half;
- soles are level when a foot stands flat, and toes are ahead of the ankle;
- shoulders are at rest when the arms hang, whether or not a rig's T-pose lifts them: then collars are not turned.

No joint moves by any of it, and pelvis, trunk, head and hands keep their orientation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, local_rotations
from bodystream.types import Array

__all__ = ["LimbRolls", "RollEvidence", "find_rolls", "roll_evidence", "rolled"]

_SAMPLES_HZ, _SHORT = 20.0, 600
"""How many frames per second are looked at, and how many frames at least: of a short clip more per second."""
_LEAST_SAMPLES = 10
_LEAST_BEND_RAD = np.radians(30.0)
"""Below it, where the lower bone goes is mostly noise."""
_NEAR_RAD = np.radians(40.0)
"""Of the middle, what counts as the hinge's direction; a shoulder that slips under its marker is farther."""
_LEAST_SHARE = 0.6
_LEVEL_RAD = np.radians(20.0)
_MOST_TILT_RAD = np.radians(60.0)
_LOWEST_PERCENTILE = 5.0
_FLAT_HEIGHT = 0.016
"""Above its lowest height, how far ankle and toes of a foot that stands flat may be, as a part of the stature."""
_FLAT_SPEED_M_S = 0.25
_HANGS = np.cos(np.radians(25.0))
"""Of the angle of an upper arm that hangs to the trunk."""
_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, eq=False)
class _Limb:
    """Joints of an arm or a leg; `bone` along it at rest, `flexed` where the lower bone goes as it bends."""

    upper: int
    lower: int
    end: int
    bone: Array
    flexed: Array


def _limb(side: str, arm: bool) -> _Limb:
    names = ("shoulder", "elbow", "wrist") if arm else ("hip", "knee", "ankle")
    upper, lower, end = (JOINT_INDEX[f"{side}_{name}"] for name in names)
    bone = np.array([-1.0 if side == "left" else 1.0, 0.0, 0.0]) if arm else -_UP
    return _Limb(upper, lower, end, bone, np.array([0.0, 0.0, -1.0 if arm else 1.0]))


_ARMS = tuple(_limb(side, arm=True) for side in ("left", "right"))
_LEGS = tuple(_limb(side, arm=False) for side in ("left", "right"))
_LIMBS = (*_ARMS, *_LEGS)
_FEET = tuple((JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_foot"]) for side in ("left", "right"))
_COLLARS = tuple(
    (JOINT_INDEX[f"{side}_collar"], JOINT_INDEX[f"{side}_shoulder"], JOINT_INDEX[f"{side}_elbow"])
    for side in ("left", "right")
)
# What is said where a motion does not tell, of one side and of both.
_ELBOWS = ("elbow bends too little, or not as a hinge does", "elbows bend too little, or not as hinges do")
_KNEES = ("knee bends too little, or not as a hinge does", "knees bend too little, or not as hinges do")
_SOLES = ("foot never stands flat for long", "feet never stand flat for long")
_SHOULDERS = ("arm never hangs for long", "arms never hang for long")
_CHEST = PARENTS[_COLLARS[0][0]]
_MIRRORED = np.outer([-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class RollEvidence:
    """What a motion, or several of one person on one rig, shows of the limbs' rolls.

    Attributes:
        creases: of left and right arm, left and right leg, (N,) each: where the lower bone goes as it bends, as an
            angle about the upper bone from where it goes in the canonical frames [rad].
        levels: of the left and the right foot that stands flat, (N, 3): the vertical in the ankle's frame.
        toes: of the same samples, (N, 3, 3): the toes' orientation in the ankle's frame.
        collars: of the left and the right arm that hangs, (N, 3, 3): the collar's orientation in the chest's frame.
    """

    creases: tuple[Array, ...]
    levels: tuple[Array, ...]
    toes: tuple[Array, ...]
    collars: tuple[Array, ...]

    @classmethod
    def joined(cls, parts: Sequence[RollEvidence]) -> RollEvidence:
        """All of them together."""
        return cls(
            *(
                tuple(np.concatenate(values) for values in zip(*(getattr(part, name) for part in parts), strict=True))
                for name in ("creases", "levels", "toes", "collars")
            )
        )


@dataclass(frozen=True, slots=True)
class LimbRolls:
    """Of a person on a rig, the canonical frames of the limbs' bones.

    Attributes:
        turns: (22, 3, 3) canonical orientations in the bones' own frames; identity where nothing is turned.
        notes: of limbs of which the motion does not tell, what was taken in place of it.
    """

    turns: Array
    notes: tuple[str, ...]


def roll_evidence(clip: MotionClip) -> RollEvidence:
    """What a clip shows.

    Args:
        clip: as read; its elbows, knees and feet.
    """
    stride = max(1, min(round(clip.rate_hz / _SAMPLES_HZ), len(clip) // _SHORT))
    clip = clip.sliced(0, len(clip), stride)
    positions, world = clip.joints()
    creases = []
    for limb in _LIMBS:
        along = _along(world, limb)
        ahead, aside = along @ limb.flexed, along @ np.cross(limb.bone, limb.flexed)
        bend = np.arctan2(np.hypot(ahead, aside), along @ limb.bone)
        creases.append(np.arctan2(aside, ahead)[bend > _LEAST_BEND_RAD])
    levels, toes = [], []
    for ankle, foot in _FEET:
        flat = _stands_flat(clip, positions, (ankle, foot))
        levels.append(world[flat, ankle, 1])  # the world's y in the ankle's frame
        toes.append(np.swapaxes(world[flat, ankle], -1, -2) @ world[flat, foot])
    collars = []
    for collar, shoulder, elbow in _COLLARS:
        arm = positions[:, elbow] - positions[:, shoulder]
        hangs = -np.einsum("ti,ti->t", arm, world[:, _CHEST, :, 1]) > _HANGS * np.linalg.norm(arm, axis=1)
        collars.append(np.swapaxes(world[hangs, _CHEST], -1, -2) @ world[hangs, collar])
    return RollEvidence(tuple(creases), tuple(levels), tuple(toes), tuple(collars))


def find_rolls(evidence: RollEvidence, skeleton: Skeleton) -> LimbRolls:
    """The canonical frames of a person's limbs on a rig.

    Where the motion does not tell of one side, the other side's mirror image serves, and where it tells of none, the
    rig's rest does.

    Args:
        evidence: of all that is known of the person on this rig.
        skeleton: of the rig, as read.
    """
    turns = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    notes: list[str] = []
    for words, limbs, creases in ((_ELBOWS, _ARMS, evidence.creases[:2]), (_KNEES, _LEGS, evidence.creases[2:])):
        found: list[tuple[Array, ...] | None] = []
        for limb, angles in zip(limbs, creases, strict=True):
            angle = _middle_angle(angles)
            found.append(None if angle is None else (matrix_from_rotation_vector(limb.bone * angle),))
        _put(turns, [(limb.upper,) for limb in limbs], found, words, notes)
    found = []
    for (_, foot), levels, toes in zip(_FEET, evidence.levels, evidence.toes, strict=True):
        frame = _level_frame(levels, skeleton.offsets_m[foot])
        found.append(None if frame is None else (frame, Rotation.from_matrix(toes).mean().as_matrix().T @ frame))
    _put(turns, _FEET, found, _SOLES, notes)
    found = [
        (Rotation.from_matrix(turned).mean().as_matrix().T,) if len(turned) >= _LEAST_SAMPLES else None
        for turned in evidence.collars
    ]
    _put(turns, [(collar,) for collar, _, _ in _COLLARS], found, _SHOULDERS, notes)
    return LimbRolls(turns, tuple(notes))


def _put(
    turns: Array,
    joints: Sequence[tuple[int, ...]],
    found: Sequence[tuple[Array, ...] | None],
    words: tuple[str, str],
    notes: list[str],
) -> None:
    """Write what was found of the left and the right joints into `turns`, or what serves in its place."""
    for side, (here, there) in enumerate((tuple(found), tuple(found[::-1]))):
        if here is not None:
            chosen = here
        elif there is not None:
            chosen = tuple(turn * _MIRRORED for turn in there)
            notes.append(f"its {('left', 'right')[side]} {words[0]}: the mirror image of the other side was taken")
        else:
            continue
        for joint, turn in zip(joints[side], chosen, strict=True):
            turns[joint] = turn
    if found[0] is None and found[1] is None:
        notes.append(
            f"its {words[1]}: how the bones there are turned about themselves was taken from the file's pose at rest"
        )


def rolled(clip: MotionClip, rolls: LimbRolls) -> MotionClip:
    """The same motion with limbs turned about themselves as people are; no joint moves.

    Args:
        clip: as read.
        rolls: of its person and rig.
    """
    _, world = clip.joints()
    lower = {limb: _along(world, limb, rolls.turns[limb.upper]) for limb in _LIMBS}
    world = world @ rolls.turns
    for limb in _LIMBS:
        hinged = world[:, limb.upper] @ _swing(limb.bone, lower[limb])
        if limb in _ARMS:
            turn = np.swapaxes(hinged, -1, -2) @ world[:, limb.end]
            hinged = hinged @ matrix_from_rotation_vector(limb.bone * _shared(_twist(turn, limb.bone))[:, None])
        world[:, limb.lower] = hinged
    offsets = clip.skeleton.offsets_m.copy()
    for ankle, foot in _FEET:
        offsets[foot] = rolls.turns[ankle].T @ offsets[foot]
    for collar, shoulder, _ in _COLLARS:
        offsets[shoulder] = rolls.turns[collar].T @ offsets[shoulder]
    return replace(
        clip,
        skeleton=Skeleton(offsets),
        rotations_xyzw=quaternion_from_matrix(local_rotations(world)).astype(np.float32),
    )


def _along(world: Array, limb: _Limb, turn: Array | None = None) -> Array:
    """(T, 3) directions of the lower bone in the upper one's frame, turned by `turn`."""
    upper = world[:, limb.upper] if turn is None else world[:, limb.upper] @ turn
    return np.einsum("tji,tj->ti", upper, world[:, limb.lower] @ limb.bone)


def _stands_flat(clip: MotionClip, positions: Array, joints: tuple[int, int]) -> Array:
    """(T,) whether ankle and toes are both as low as they come, and at rest."""
    flat = np.full(len(positions), len(positions) > 2)
    for joint in joints if len(positions) > 2 else ():
        height = positions[:, joint, 1]
        speed = np.linalg.norm(np.gradient(positions[:, joint], 1.0 / clip.rate_hz, axis=0), axis=1)
        flat &= height < np.percentile(height, _LOWEST_PERCENTILE) + _FLAT_HEIGHT * clip.skeleton.stature_m
        flat &= speed < _FLAT_SPEED_M_S
    return flat


def _middle_angle(angles: Array) -> float | None:
    """The direction that most of the angles are near [rad], or None where they have none."""
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    middle = _middle(around, _NEAR_RAD)
    return None if middle is None else float(np.arctan2(middle[1], middle[0]))


def _level_frame(levels: Array, toes: Array) -> Array | None:
    """(3, 3) the frame whose y is the vertical that most samples are near, and whose -z is where the toes are."""
    up = _middle(levels, _LEVEL_RAD)
    if up is None:
        return None
    ahead = toes - (toes @ up) * up
    length = np.linalg.norm(ahead)
    if up @ _UP < np.cos(_MOST_TILT_RAD) or length < 0.3 * np.linalg.norm(toes) or length == 0.0:
        return None  # a foot that points down is no foot that stands
    ahead /= length
    return np.stack([np.cross(ahead, up), up, -ahead], axis=1)


def _middle(directions: Array, near_rad: float) -> Array | None:
    """The unit vector that most of the (N, D) unit vectors are near, or None where there is none."""
    if len(directions) < _LEAST_SAMPLES:
        return None
    middle = np.median(directions, axis=0)
    for _ in range(5):
        length = np.linalg.norm(middle)
        if length < 1e-6:
            return None
        near = directions @ (middle / length) > np.cos(near_rad)
        if near.mean() < _LEAST_SHARE or near.sum() < _LEAST_SAMPLES:
            return None
        middle = directions[near].mean(axis=0)
    return middle / np.linalg.norm(middle)


def _swing(bone: Array, along: Array) -> Array:
    """(T, 3, 3) the smallest rotations from the unit vector `bone` to the (T, 3) unit vectors."""
    axis = np.cross(bone, along)
    sine = np.linalg.norm(axis, axis=1)
    angle = np.arctan2(sine, along @ bone)
    return matrix_from_rotation_vector(axis * (angle / np.maximum(sine, 1e-12))[:, None])


def _twist(rotations: Array, bone: Array) -> Array:
    """(T,) turns about the bone, from -pi to pi [rad]."""
    q = quaternion_from_matrix(rotations)
    return 2.0 * np.arctan2(q[:, :3] @ bone, q[:, 3])


def _shared(twist: Array) -> Array:
    """What the forearm has of it: half, and towards half a turn less, where left and right round are the same."""
    return np.sign(twist) * np.minimum(0.5 * np.abs(twist), np.pi - np.abs(twist))
