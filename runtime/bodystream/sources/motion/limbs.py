"""Limbs by the tree and the lengths of bones, for rigs whose names say too little.

Whatever a rig calls them, the two longest bones in a row of a leg are thigh and shin, and those of an arm the upper arm
and the forearm: a collar bone or a hand is shorter. Only the side must be in the names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from bodystream.sources.motion.naming import LIMB_PARTS, named_joints, side_of
from bodystream.sources.motion.rig import RigMotion
from bodystream.types import Array

__all__ = ["ancestors", "found_joints"]

_TWIST = re.compile(r"twist|roll|helper|(?:^|[\W_])ik(?:[\W_]|$)", re.IGNORECASE)
_TIP = re.compile(r"end|nub|tip|top|_?site|effector|null", re.IGNORECASE)
_HEEL = re.compile("heel", re.IGNORECASE)
_LEAST_RATIO, _NAMED_RATIO = 0.5, 0.35
"""Of the shorter of a limb's two long bones to the longer one: where only lengths say it, and where names do."""


def ancestors(parents: Sequence[int], joint: int) -> list[int]:
    """The joint's ancestors from its parent up to the root."""
    out = []
    while (joint := parents[joint]) >= 0:
        out.append(joint)
    return out


def found_joints(motion: RigMotion, rest_positions: Array) -> dict[str, int]:
    """Joints of the limbs and the head, by name where names say it, else by the tree: `left_hip`, `head`...

    Args:
        motion: names and tree.
        rest_positions: (J, 3) joints in the zero pose, in any unit: only lengths of bones are used.
    """
    found = named_joints(motion.joints)
    doubtful = [
        (side, limb)
        for side in ("left", "right")
        for limb, parts in LIMB_PARTS.items()
        if not _is_limb(motion, rest_positions, [found.get(f"{side}_{part}") for part in parts], limb)
    ]
    if doubtful:
        for (side, limb), chain in _chains(motion, rest_positions).items():
            if (side, limb) not in doubtful:
                continue
            limb_joints = _two_longest(motion, chain, rest_positions)
            if limb_joints is None:
                continue
            found.update({f"{side}_{part}": j for part, j in zip(LIMB_PARTS[limb], limb_joints, strict=True)})
            _forget_what_hangs_elsewhere(motion, found, side, limb)
    for side in ("left", "right"):
        ankle = found.get(f"{side}_ankle")
        if ankle is not None and f"{side}_foot" not in found:
            toe = _toe(motion, ankle)
            if toe is not None:
                found[f"{side}_foot"] = toe
    if "head" not in found:
        head = _head(motion, found)
        if head is not None:
            found["head"] = head
    return found


def _is_limb(motion: RigMotion, rest: Array, joints: list[int | None], limb: str) -> bool:
    """Whether three joints are a chain of two long bones, with nothing but twist joints between."""
    if any(joint is None for joint in joints):
        return False
    upper, middle, lower = (joint for joint in joints if joint is not None)
    lengths = []
    for above, below in ((upper, middle), (middle, lower)):
        line = [below, *ancestors(motion.parents, below)]
        if above not in line:
            return True  # names that mislead are told of by the check of limbs, which knows what to say
        lengths.append(_length(rest, line[: line.index(above) + 1]))
        between = line[1 : line.index(above)]
        if limb == "arm" and above == upper and any(_is_bone(motion, rest, j, lengths[-1]) for j in between):
            return False  # a collar bone that was taken for the upper arm
    return min(lengths) > _NAMED_RATIO * max(lengths)


def _is_bone(motion: RigMotion, rest: Array, joint: int, whole: float) -> bool:
    """Whether a joint inside an upper arm begins a bone of its own, and is no twist joint on the way."""
    first = float(np.linalg.norm(rest[joint] - rest[motion.parents[joint]]))
    return _TWIST.search(motion.joints[joint]) is None and 0.15 * whole < first < 0.85 * whole


def _length(rest: Array, line: list[int]) -> float:
    return float(np.linalg.norm(np.diff(rest[line], axis=0), axis=1).sum())


def _chains(motion: RigMotion, rest: Array) -> dict[tuple[str, str], list[int]]:
    """Of each side's leg and arm, its joints from the trunk outwards, without twist joints.

    Limbs are the longest lines of joints of one side. The two legs meet nearer to the root than the two arms.
    """
    children: list[list[int]] = [[] for _ in motion.joints]
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            children[parent].append(joint)
    lines: dict[str, list[list[int]]] = {"left": [], "right": []}
    sides = [side_of(name) for name in motion.joints]
    for leaf, below in enumerate(children):
        if below:
            continue
        line = [leaf, *ancestors(motion.parents, leaf)][::-1]
        sided = [j for j in line if sides[j]]
        if sided and len({sides[j] for j in sided}) == 1:
            lines[sides[sided[0]]].append(line)
    best: dict[tuple[str, int], tuple[float, list[int]]] = {}
    for side, other in (("left", "right"), ("right", "left")):
        for line in lines[side]:
            shared = max((_shared(line, theirs) for theirs in lines[other]), default=0)
            if shared == 0:
                continue
            branch = line[shared - 1]
            length = _length(rest, line[shared - 1 :])
            if (side, branch) not in best or length > best[side, branch][0]:
                best[side, branch] = length, line[shared:]
    # The two longest pairs are legs and arms; eyes and ears are pairs, too.
    pairs = {b: best["left", b][0] + best["right", b][0] for s, b in best if s == "left" and ("right", b) in best}
    branches = sorted(sorted(pairs, key=lambda b: pairs[b])[-2:], key=lambda b: len(ancestors(motion.parents, b)))
    if len(branches) < 2:
        return {}
    return {
        (side, limb): [j for j in best[side, branch][1] if _TWIST.search(motion.joints[j]) is None]
        for limb, branch in zip(("leg", "arm"), branches, strict=True)
        for side in ("left", "right")
    }


def _shared(line: list[int], other: list[int]) -> int:
    """How many joints two lines from the root have in common."""
    return next((k for k, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))


def _two_longest(motion: RigMotion, chain: list[int], rest: Array) -> list[int] | None:
    """The three joints of the two longest bones in a row, or None where there are none."""
    if len(chain) < 3:
        return None
    lengths = [
        _length(rest, [below, *ancestors(motion.parents, below)[: ancestors(motion.parents, below).index(above) + 1]])
        for above, below in zip(chain, chain[1:], strict=False)
    ]
    shorter = [min(pair) for pair in zip(lengths, lengths[1:], strict=False)]
    at = int(np.argmax(shorter))
    if not shorter[at] > _LEAST_RATIO * max(lengths[at], lengths[at + 1]):
        return None
    return chain[at : at + 3]


def _forget_what_hangs_elsewhere(motion: RigMotion, found: dict[str, int], side: str, limb: str) -> None:
    """Drop named ends (toes, fingers) that are not beyond the limb's end that the tree gave."""
    end, parts = ("ankle", ("foot",)) if limb == "leg" else ("wrist", ("hand", "thumb"))
    for part in parts:
        joint = found.get(f"{side}_{part}")
        if joint is not None and found[f"{side}_{end}"] not in ancestors(motion.parents, joint):
            del found[f"{side}_{part}"]


def _toe(motion: RigMotion, ankle: int) -> int | None:
    """The joint beyond the ankle, if there is one that is no heel."""
    beyond = [j for j, parent in enumerate(motion.parents) if parent == ankle]
    toes = [j for j in beyond if not _HEEL.search(motion.joints[j]) and not _TWIST.search(motion.joints[j])]
    return toes[0] if len(toes) == 1 else None


def _head(motion: RigMotion, found: dict[str, int]) -> int | None:
    """The last joint of the line that goes on from where the arms branch off, before the face's own joints."""
    arms = [[j, *ancestors(motion.parents, j)] for j in (found.get("left_wrist"), found.get("right_wrist")) if j]
    if len(arms) < 2:
        return None
    chest = next((j for j in arms[0] if j in arms[1]), None)
    if chest is None:
        return None
    joint: int | None = None
    at = chest
    while True:
        beyond = [
            j
            for j, parent in enumerate(motion.parents)
            if parent == at and not side_of(motion.joints[j]) and not any(j in arm for arm in arms)
        ]
        tips = [j for j in beyond if _TIP.search(motion.joints[j]) and j not in motion.parents]
        beyond = [j for j in beyond if j not in tips]
        if len(beyond) != 1:
            return joint
        at = joint = beyond[0]
