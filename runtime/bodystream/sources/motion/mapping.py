"""Which joints of a file are which of the 22: names of the usual rigs, then the chains between them.

The ends of the limbs are found by name, else by their bones (`limbs`). What lies between (spine, neck, collars) is
found by the tree, since the same word means different joints in different rigs: `Spine` is the second joint of CMU's
back and the first of Mixamo's, and `LeftShoulder` is a collar in one file and the upper arm in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sources.motion.limbs import ancestors, found_joints
from bodystream.sources.motion.rig import RigMotion
from bodystream.types import Array

__all__ = ["JointMap", "map_joints"]

_SPINE_FRACTIONS = {"spine1": 0.22, "spine2": 0.49, "spine3": 0.60}
"""Where SMPL's template has its spine joints, as fractions of the height from the pelvis to the neck."""
_NEEDED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


@dataclass(frozen=True, slots=True)
class JointMap:
    """Joints of a file by what they are in ours.

    Attributes:
        joints: of our 22 joints by index, the file's; those that the file lacks are absent.
        feet_from_end_sites: the joint `foot` is the End Site of the ankle (of our joint index, the file's ankle).
        hands: of our wrists, the joint that holds the hand's own rotation, where that is another one.
        thumbs: of our wrists, the first joint of the thumb.
    """

    joints: dict[int, int]
    feet_from_end_sites: dict[int, int]
    hands: dict[int, int]
    thumbs: dict[int, int]

    def used(self) -> set[int]:
        """The file's joints that matter."""
        return {*self.joints.values(), *self.hands.values(), *self.thumbs.values()}


def map_joints(motion: RigMotion, rest_positions: Array) -> JointMap:
    """Find the 22 joints.

    Args:
        motion: names and tree.
        rest_positions: (J, 3) joints in the zero pose, in any unit: only lengths along chains are used.

    Raises:
        InputError: a hip, knee, ankle, shoulder, elbow, wrist or the head is not there; the message lists names.
    """
    found = found_joints(motion, rest_positions)
    needed = [f"{side}_{part}" for side in ("left", "right") for part in _NEEDED] + ["head"]
    missing = [name for name in needed if name not in found]
    if missing:
        raise InputError(
            f"{motion.name}: the skeleton has no joint for {', '.join(missing)}. Found: "
            f"{', '.join(sorted(set(needed) - set(missing))) or 'nothing'}. Its joints are "
            f"{', '.join(motion.joints[:60])}. Rename them as CMU, Mixamo, Daz or SMPL "
            "do, or at least begin those of each side with Left and Right"
        )
    _check_limbs(motion, found)
    joints = {JOINT_INDEX[name]: index for name, index in found.items() if name in JOINT_INDEX}
    _trunk(motion, rest_positions, found, joints)
    ends = {}
    for side in ("left", "right"):
        ankle = found[f"{side}_ankle"]
        if f"{side}_foot" not in found and ankle in motion.end_sites:
            ends[JOINT_INDEX[f"{side}_foot"]] = ankle
    hands, thumbs = {}, {}
    for side in ("left", "right"):
        wrist = JOINT_INDEX[f"{side}_wrist"]
        if f"{side}_thumb" in found:
            thumbs[wrist] = found[f"{side}_thumb"]
        hand = found.get(f"{side}_hand")
        if hand is not None and motion.parents[hand] == joints[wrist]:
            if _only_twists(motion, joints[wrist], hand):
                joints[wrist] = hand
            else:
                hands[wrist] = hand
    return JointMap(joints, ends, hands, thumbs)


def _only_twists(motion: RigMotion, joint: int, child: int) -> bool:
    """Whether the joint turns about the line to its child only.

    CMU's `LeftHand` is such a joint two thirds down the forearm: it holds the forearm's twist, and the wrist, where the
    hand bends and the thumb begins, is its child `LeftFingerBase`. (Some conversions give that child no length.)
    """
    shift = motion.translations[child] if child in motion.translations else motion.offsets[child]
    at = np.einsum("tij,j->ti" if shift.ndim == 1 else "tij,tj->ti", motion.rotations[:, joint], shift)
    return bool(np.abs(at - np.median(at, axis=0)).max() <= 1e-4 * max(np.abs(motion.offsets[joint]).max(), 1e-9))


def _check_limbs(motion: RigMotion, found: dict[str, int]) -> None:
    """Each limb must be one chain, or names mislead."""
    for side in ("left", "right"):
        for chain in (("hip", "knee", "ankle", "foot"), ("shoulder", "elbow", "wrist")):
            for above, below in zip(chain, chain[1:], strict=False):
                upper, lower = found[f"{side}_{above}"], found.get(f"{side}_{below}")
                if lower is not None and upper not in ancestors(motion.parents, lower):
                    raise InputError(
                        f"{motion.name}: {motion.joints[lower]} (taken for the {side} {below}) does not hang on "
                        f"{motion.joints[upper]} (taken for the {side} {above}): the skeleton's names or its tree are "
                        "unusual; rename the joints as CMU, Mixamo, Daz or SMPL do"
                    )


def _trunk(motion: RigMotion, rest: Array, found: dict[str, int], joints: dict[int, int]) -> None:
    """Pelvis, spine, neck and collars from the tree; written into `joints`."""
    lines = {name: ancestors(motion.parents, found[name]) for name in ("left_hip", "right_hip", "head")}
    arms = {side: ancestors(motion.parents, found[f"{side}_shoulder"]) for side in ("left", "right")}
    pelvis = next((j for j in lines["head"] if j in lines["left_hip"] and j in lines["right_hip"]), None)
    chest = next((j for j in lines["head"] if j in arms["left"] and j in arms["right"]), None)
    if pelvis is None or chest is None or pelvis not in [chest, *ancestors(motion.parents, chest)]:
        raise InputError(
            f"{motion.name}: legs, arms and head do not hang on one spine; its root is {motion.joints[0]!r}. "
            "The export must hold the whole skeleton as one tree"
        )
    joints[JOINT_INDEX["pelvis"]] = pelvis
    head = found["head"]
    neck = lines["head"][lines["head"].index(chest) - 1] if lines["head"][0] != chest else None
    if neck is not None:
        joints[JOINT_INDEX["neck"]] = neck
    for side, line in arms.items():
        if line[0] != chest:
            joints[JOINT_INDEX[f"{side}_collar"]] = line[line.index(chest) - 1]
    spine = lines["head"][lines["head"].index(chest) : lines["head"].index(pelvis)][::-1]
    if not spine:
        raise InputError(
            f"{motion.name}: no joint between the pelvis ({motion.joints[pelvis]}) and the arms: at least one joint of "
            "the spine is needed"
        )
    joints.update(_spine(spine, [pelvis, *spine, head if neck is None else neck], rest))


def _spine(spine: list[int], line: list[int], rest: Array) -> dict[int, int]:
    """Which of our spine joints each of the file's is; the last one, which carries the arms, is always taken."""
    names = list(_SPINE_FRACTIONS)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rest[line], axis=0), axis=1))])
    if along[-1] <= 0.0:
        raise InputError("the spine of the skeleton has no length")
    fraction = {joint: along[1 + i] / along[-1] for i, joint in enumerate(spine)}
    count = min(len(spine), 3)
    best: tuple[float, dict[int, int]] | None = None
    for ours in combinations(names, count):
        for theirs in combinations(spine, count):
            if theirs[-1] != spine[-1]:
                continue
            cost = sum(abs(_SPINE_FRACTIONS[o] - fraction[t]) for o, t in zip(ours, theirs, strict=True))
            if best is None or cost < best[0] - 1e-9:
                best = cost, {JOINT_INDEX[o]: t for o, t in zip(ours, theirs, strict=True)}
    assert best is not None
    return best[1]
