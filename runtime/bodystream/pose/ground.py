"""Where a body touches the floor: for each of its parts the points of its skin that can be the lowest."""

from __future__ import annotations

from copy import copy

import numpy as np

from bodystream.avatar.skin_heights import SkinHeights
from bodystream.geometry.skeleton import JOINT_INDEX, Skeleton
from bodystream.types import Array

__all__ = ["SEAT", "SIDES", "BodyGround"]

SIDES = ("left", "right")
SEAT = "seat"

_DIRECTIONS = 80
_BONES = {
    SEAT: ("pelvis", "spine1"),
    **{f"{side}_leg": (f"{side}_hip", f"{side}_knee") for side in SIDES},
    **{f"{side}_foot": (f"{side}_ankle", f"{side}_foot") for side in SIDES},
}
"""Of each part, the bones that move it most."""


class BodyGround:
    """Heights of the lowest point of each part of the skin, from a few hundred of its 13,492 vertices.

    Kept are, of the vertices that a bone moves most, the outermost along 80 directions; what is left out is lower by
    a few millimetres at most.

    Args:
        skeleton: the person's proportions.
        like: of another person, whose points are kept; `towards` leads from one to the other.

    Raises:
        InputError: a skeleton that the shipped body cannot take on.
    """

    def __init__(self, skeleton: Skeleton, like: BodyGround | None = None) -> None:
        heights = SkinHeights(skeleton)
        self._chosen = _outermost(heights, len(skeleton.offsets_m)) if like is None else like._chosen
        self._parts = {part: heights.matrix[points].toarray() for part, points in self._chosen.items()}

    def towards(self, other: BodyGround, share: float) -> BodyGround:
        """Of somebody on the way to another person: 0 = this one, 1 = the other; that one where it is not like this."""
        if other._chosen is not self._chosen:
            return other
        out = copy(self)
        out._parts = {part: rows + share * (other._parts[part] - rows) for part, rows in self._parts.items()}
        return out

    def lowest_m(self, part: str, rows: Array) -> float:
        """Height of the lowest point of a part (`seat`, `left_leg`, `left_foot`...) above the floor [m].

        Args:
            rows: (88,) of the pose, from `avatar.skin_heights.rows_of`.
        """
        return float((self._parts[part] @ rows).min())


def _outermost(heights: SkinHeights, bones: int) -> dict[str, Array]:
    """Of each part, the vertices that can be the lowest."""
    matrix, directions = heights.matrix, _sphere(_DIRECTIONS)
    outermost: dict[int, Array] = {}
    for bone in range(bones):
        of_bone = np.flatnonzero(heights.bones == bone)
        if not len(of_bone):
            outermost[bone] = of_bone
            continue
        # Seen from the bone: the sum over a vertex's bones of weight and place, which is the place where all agree.
        terms = matrix[of_bone][:, 4 * bone : 4 * bone + 4].toarray()
        places = terms[:, :3] / np.maximum(terms[:, 3:], 1e-6)
        outermost[bone] = of_bone[np.unique((places @ directions.T).argmax(axis=0))]
    return {part: np.concatenate([outermost[JOINT_INDEX[name]] for name in names]) for part, names in _BONES.items()}


def _sphere(count: int) -> Array:
    """(count, 3) unit vectors, spread evenly (Fibonacci's lattice)."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1.0 - 2.0 * index / count), np.pi * (1.0 + 5.0**0.5) * index
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)
