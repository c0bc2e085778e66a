"""A pose of a file's skeleton in which the person is known to stand: what its rotations are measured from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, MIRROR
from bodystream.sources.motion.mapping import JointMap
from bodystream.sources.motion.naming import normalised_name
from bodystream.sources.motion.neutral import neutral_orientations
from bodystream.sources.motion.references import STANDING_XYZW
from bodystream.sources.motion.rig import RigMotion, rig_kinematics
from bodystream.types import Array

__all__ = ["Rest", "find_rest", "zero_pose"]

_X_NEGATED = np.array([-1.0, 1.0, 1.0])
_MOST_FRAMES_TRIED = 300
_STRAIGHTNESS = ((0.9, 0.85), (0.9, 0.6), (0.75, 0.45))
"""Of legs and arms in the frame that serves as the rest: as a person stands, else as one runs."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A pose of the file in which the person stands.

    Attributes:
        positions: (22, 3) in the file's axes and unit; joints that the file lacks lie between their neighbours.
        orientations: of the file's joints, (3, 3) world orientations in that pose.
        ours_from_file: (3, 3) turns the file's world into ours.
        asymmetry: how far left and right differ, as a part of the stature.
    """

    positions: Array
    orientations: dict[int, Array]
    ours_from_file: Array
    asymmetry: float


def zero_pose(motion: RigMotion, orientations: dict[int, Array] | None = None) -> tuple[Array, dict[int, Array]]:
    """(J, 3) positions with the root at the origin, of given or zero rotations, and the orientations."""
    frames = dict.fromkeys(range(len(motion.joints)), np.eye(3)) if orientations is None else orientations
    positions = np.zeros((len(motion.joints), 3))
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            shift = (
                np.median(motion.translations[joint], axis=0) if joint in motion.translations else motion.offsets[joint]
            )
            positions[joint] = positions[parent] + frames[parent] @ shift
    return positions, frames


def find_rest(motion: RigMotion, joint_map: JointMap, notes: list[str]) -> Rest:
    """The zero pose if it is a person's, else a known rig's standing pose, else the most upright frame."""
    rest = _as_rest(motion, joint_map, *zero_pose(motion), snapped=True)
    if rest is not None:
        return rest
    names = [normalised_name(name) for name in motion.joints]
    known = []
    for table in STANDING_XYZW:
        if all(name in table for joint, name in enumerate(names) if joint in joint_map.used()):
            frames = {
                joint: Rotation.from_quat(table[name]).as_matrix() if name in table else np.eye(3)
                for joint, name in enumerate(names)
            }
            known.append(_as_rest(motion, joint_map, *zero_pose(motion, frames), snapped=True))
    candidates = [rest for rest in known if rest is not None and rest.asymmetry < 0.1]
    if candidates:
        return min(candidates, key=lambda rest: rest.asymmetry)
    positions, frames_of = rig_kinematics(motion)
    upright: dict[tuple[int, ...], list[tuple[float, int, Rest]]] = {}
    for straightness in _STRAIGHTNESS:
        for frame in range(0, len(motion), max(1, len(motion) // _MOST_FRAMES_TRIED)):
            at = np.stack([positions[joint][frame] for joint in range(len(motion.joints))])
            frames = {joint: frames_of[joint][frame] for joint in range(len(motion.joints))}
            rest = _as_rest(motion, joint_map, at, frames, snapped=False, straightness=straightness)
            if rest is not None:
                up = tuple(np.rint(rest.ours_from_file[1]).astype(int).tolist())
                upright.setdefault(up, []).append((rest.asymmetry, frame, rest))
        if upright:
            break
    if not upright:
        at, frames = zero_pose(motion)
        if _as_rest(_mirrored(motion), joint_map, at * _X_NEGATED, frames, snapped=True) is not None:
            raise InputError(
                f"{motion.name}: its toes point backwards: left and right are swapped in it, or it was written with "
                "left-handed axes; export it right-handed"
            )
        raise InputError(
            f"{motion.name}: with all rotations zero its skeleton is no standing person, and the motion has no upright "
            "frame to take in its place: export it with a T-pose as the zero pose or as the first frame"
        )
    notes.append("its zero pose is no standing person; the most upright frame was taken for one")
    # Somebody who lies down for a moment is as straight along another axis: the axis of most frames is up.
    _, frame, rest = min(max(upright.values(), key=len), key=lambda found: found[0])
    up, ahead = rest.ours_from_file[1], -rest.ours_from_file[2]
    orientations = neutral_orientations(motion, joint_map.joints, positions, frames_of, frame, up, ahead, notes)
    return replace(rest, orientations=orientations)


def _as_rest(
    motion: RigMotion,
    joint_map: JointMap,
    positions: Array,
    frames: dict[int, Array],
    snapped: bool,
    straightness: tuple[float, float] = (0.9, 0.85),
) -> Rest | None:
    """The pose as a rest pose, or None where it is not that of a person who stands and looks ahead."""
    ours = np.full((len(JOINTS), 3), np.nan)
    for joint, theirs in joint_map.joints.items():
        ours[joint] = positions[theirs]
    for foot, ankle in joint_map.feet_from_end_sites.items():
        ours[foot] = positions[ankle] + frames[ankle] @ motion.end_sites[ankle]
    index = JOINT_INDEX
    hips, ankles = ours[[index["left_hip"], index["right_hip"]]], ours[[index["left_ankle"], index["right_ankle"]]]
    tall = ours[HEAD] - ankles.mean(axis=0)
    stature = np.linalg.norm(tall)
    if not stature > 0:
        return None
    axis = int(np.abs(tall).argmax())
    up = np.eye(3)[axis] * np.sign(tall[axis])
    left = hips[0] - hips[1]
    left = left - up * (left @ up)
    width = np.linalg.norm(left)
    if not width > 1e-3 * stature or tall @ up < 0.9 * stature:
        return None
    left /= width
    nearest = np.eye(3)[np.abs(left).argmax()] * np.sign(left[np.abs(left).argmax()])
    if snapped and nearest @ left > np.cos(np.deg2rad(20.0)):
        left = nearest
    elif snapped:
        return None
    ahead = np.cross(left, up)
    ours_from_file = np.stack([-left, up, -ahead])  # rows: x to the right, y up, -z ahead
    _fill(ours, ahead, up, float(stature))
    flat = (ours - hips.mean(axis=0)) @ ours_from_file.T / stature
    if not _stands(flat, *straightness):
        return None
    mirrored = flat[list(MIRROR)]
    asymmetry = float(np.linalg.norm(flat - mirrored * _X_NEGATED, axis=1).mean())
    return Rest(ours, frames, ours_from_file, asymmetry)


def _stands(positions: Array, leg_straightness: float, arm_straightness: float) -> bool:
    """Whether (22, 3) joints in our axes, the stature 1, are those of a person who stands.

    A limb's straightness is the distance of its ends over the length of its bones.
    """
    at = {name: positions[joint] for name, joint in JOINT_INDEX.items()}

    def straight(first: str, middle: str, last: str) -> float:
        length = np.linalg.norm(at[middle] - at[first]) + np.linalg.norm(at[last] - at[middle])
        return float(np.linalg.norm(at[last] - at[first]) / max(length, 1e-9))

    for side, out in (("left", -1.0), ("right", 1.0)):
        leg = at[f"{side}_ankle"] - at[f"{side}_hip"]
        if (
            leg[1] > -0.85 * np.linalg.norm(leg)
            or straight(f"{side}_hip", f"{side}_knee", f"{side}_ankle") < leg_straightness
        ):
            return False
        if straight(f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist") < arm_straightness:
            return False
        arm = at[f"{side}_wrist"] - at[f"{side}_shoulder"]
        if at[f"{side}_shoulder"][0] * out <= 0.0 or arm[0] * out < -0.2 * np.linalg.norm(arm):
            return False
        if (at[f"{side}_foot"] - at[f"{side}_ankle"])[2] > 0.02:  # toes behind the heel: turned bones
            return False
    trunk = at["neck"] - at["pelvis"]
    return bool(trunk[1] > 0.8 * np.linalg.norm(trunk) and at["head"][1] > at["neck"][1] > at["pelvis"][1])


def _fill(positions: Array, ahead: Array, up: Array, stature: float) -> None:
    """Put joints that the file lacks on the straight line between their neighbours; in place."""
    at = JOINT_INDEX
    between = (
        ("spine1", ("pelvis",), ("spine2", "spine3"), 0.5),
        ("spine2", ("spine1",), ("spine3",), 0.5),
        ("spine3", ("spine2",), ("neck", "head"), 0.25),
        ("neck", ("spine3",), ("head",), 0.6),
        ("left_collar", ("spine3",), ("left_shoulder",), 0.4),
        ("right_collar", ("spine3",), ("right_shoulder",), 0.4),
    )
    for name, below, above, part in between:
        if np.isnan(positions[at[name]]).any():
            low = positions[at[below[0]]]
            high = next(positions[at[n]] for n in above if not np.isnan(positions[at[n]]).any())
            positions[at[name]] = low + part * (high - low)
    for side in ("left", "right"):
        if np.isnan(positions[at[f"{side}_foot"]]).any():
            positions[at[f"{side}_foot"]] = positions[at[f"{side}_ankle"]] + stature * (0.08 * ahead - 0.04 * up)


def _mirrored(motion: RigMotion) -> RigMotion:
    """The same with x negated in its zero pose; for finding out why it is no person's."""
    return replace(motion, end_sites={joint: site * _X_NEGATED for joint, site in motion.end_sites.items()})
