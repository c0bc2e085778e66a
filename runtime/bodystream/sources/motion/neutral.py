"""Where head and hands point in a frame that has to serve as the pose at rest.

A rig whose zero pose is no person has no pose in which the head is known to look ahead: the most upright frame may be
of somebody who looks at the ground. Where a bone ends says more: the head's bone points to the crown, and a hand's
along the forearm when the wrist is straight. The turn about the vertical is what the shoulders have on average over the
take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.geometry.skeleton import HEAD, JOINT_INDEX
from bodystream.sources.motion.rig import RigMotion
from bodystream.types import Array

__all__ = ["neutral_orientations"]

_TIP = re.compile(r"end|nub|tip|top|crown", re.IGNORECASE)
_MOST_TILT = np.cos(np.deg2rad(65.0))
"""A bone that ends further than this from up, on the median, does not point to the crown."""
_MOST_BEND = np.cos(np.deg2rad(75.0))
_LEAST_LENGTH = 0.02
"""Of a bone's end from its joint, as a part of the stature, for its direction to mean something."""
_HANDS = tuple((JOINT_INDEX[f"{side}_elbow"], JOINT_INDEX[f"{side}_wrist"]) for side in ("left", "right"))
_SHOULDERS = (JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"])


def neutral_orientations(
    motion: RigMotion,
    joints: Mapping[int, int],
    positions: Mapping[int, Array],
    orientations: Mapping[int, Array],
    frame: int,
    up: Array,
    ahead: Array,
    notes: list[str],
) -> dict[int, Array]:
    """The file's joints' orientations of a frame, (3, 3) each, with those of head and hands as if they were straight.

    Args:
        motion: T frames.
        joints: of our joints, the file's.
        positions, orientations: of the file's joints, (T, 3) and (T, 3, 3) in the world.
        frame: which one serves as the pose at rest.
        up, ahead: (3,) unit vectors in that frame.
        notes: what is known of the head's direction is appended.
    """
    out = {joint: frames[frame] for joint, frames in orientations.items()}
    tall = positions[joints[HEAD]][frame] - positions[joints[JOINT_INDEX["left_ankle"]]][frame]
    stature = float(np.linalg.norm(tall))
    for elbow, wrist in _HANDS:
        end = _end_of(motion, joints[wrist])
        forearm = positions[joints[wrist]][frame] - positions[joints[elbow]][frame]
        if end is not None and np.linalg.norm(end) > _LEAST_LENGTH * stature:
            along = _unit(out[joints[wrist]] @ end)
            if along @ _unit(forearm) > _MOST_BEND:
                out[joints[wrist]] = _smallest(along, _unit(forearm)) @ out[joints[wrist]]
    head, crown = joints[HEAD], _end_of(motion, joints[HEAD])
    if crown is None or not np.linalg.norm(crown) > _LEAST_LENGTH * stature or _tilt(orientations[head], crown, up):
        notes.append(
            "the direction in which the head looks is unknown: its bone has no end that is above it; it was taken to "
            "look ahead in the most upright frame, and is off by as much as it does not (export with a T-pose as the "
            "zero pose)"
        )
        return out
    straight = _smallest(_unit(out[head] @ crown), up) @ out[head]
    yaw = _mean_yaw(positions, orientations[head] @ straight.T, joints, up, ahead)
    out[head] = Rotation.from_rotvec(yaw * up).as_matrix() @ straight
    notes.append(
        "the direction in which the head looks was worked out: up and down and sidewards from where its bone ends, to "
        "the sides from the shoulders' over the whole take; it may be off by some degrees"
    )
    return out


def _end_of(motion: RigMotion, joint: int) -> Array | None:
    """Where the bone of a joint ends in its frame: its End Site, a joint that is named so, or its only joint beyond."""
    if joint in motion.end_sites:
        return motion.end_sites[joint]
    beyond = [child for child, parent in enumerate(motion.parents) if parent == joint]
    tips = [child for child in beyond if _TIP.search(motion.joints[child])]
    chosen = tips if len(tips) == 1 else beyond
    return motion.offsets[chosen[0]] if len(chosen) == 1 else None


def _tilt(frames: Array, crown: Array, up: Array) -> bool:
    """Whether a head's bone ends elsewhere than above it, on the median of all frames."""
    return bool(np.median(frames @ _unit(crown) @ up) < _MOST_TILT)


def _mean_yaw(
    positions: Mapping[int, Array], turns: Array, joints: Mapping[int, int], up: Array, ahead: Array
) -> float:
    """Mean angle about the vertical of the head to the shoulders [rad]."""
    left = positions[joints[_SHOULDERS[0]]] - positions[joints[_SHOULDERS[1]]]
    body, head = np.cross(left, up), turns @ ahead
    head = head - (head @ up)[:, None] * up
    sine = np.cross(body, head) @ up
    cosine = np.einsum("ti,ti->t", body, head)
    return float(np.arctan2(sine.sum(), cosine.sum())) if np.hypot(sine.sum(), cosine.sum()) > 0 else 0.0


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _smallest(start: Array, end: Array) -> Array:
    """The smallest rotation that takes one unit vector to another, less than half a turn."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, start @ end)
    return Rotation.from_rotvec(axis * (angle / max(sine, 1e-12))).as_matrix()
