"""Where a body touches the floor: for each of its parts the points of its skin that can be the lowest."""

from __future__ import annotations

import functools
from copy import copy
from dataclasses import replace

import numpy as np

from bodystream.avatar.rig import load_rig
from bodystream.avatar.skin_heights import SkinHeights
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton
from bodystream.types import Array, Mesh, SkinnedMesh

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

    Kept are, of the vertices that a bone moves most, the outermost along 80 directions of the body in its own
    proportions; what is left out is lower by a few millimetres at most. A person may change in the middle of a
    recording: only what is kept is fitted to new proportions.

    Args:
        skeleton: the person's proportions.

    Raises:
        InputError: a skeleton that the shipped body cannot take on.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        heights = SkinHeights(skeleton, _outermost())
        self._parts: dict[str, Array] = {}
        for part, names in _BONES.items():
            of_part = np.isin(heights.bones, [JOINT_INDEX[name] for name in names])
            self._parts[part] = heights.matrix[np.flatnonzero(of_part)].toarray()

    def towards(self, other: BodyGround, share: float) -> BodyGround:
        """Of somebody on the way to another person: 0 = this one, 1 = the other."""
        out = copy(self)
        out._parts = {part: rows + share * (other._parts[part] - rows) for part, rows in self._parts.items()}
        return out

    def lowest_m(self, part: str, rows: Array) -> float:
        """Height of the lowest point of a part (`seat`, `left_leg`, `left_foot`...) above the floor [m].

        Args:
            rows: (88,) of the pose, from `avatar.skin_heights.rows_of`.
        """
        return float((self._parts[part] @ rows).min())


@functools.cache
def _outermost() -> SkinnedMesh:
    """Those vertices of the shipped body, without faces."""
    rig = load_rig()
    heights = SkinHeights(rig=rig)
    directions = _sphere(_DIRECTIONS)
    # the lowest of all stays: feet are made as high as it is below the toes
    kept = [np.array([rig.mesh.vertices[:, 1].argmin()])]
    for bone in range(len(JOINTS)):
        of_bone = np.flatnonzero(heights.bones == bone)
        if not len(of_bone):
            continue
        # Seen from the bone: the sum over a vertex's bones of weight and place, which is the place where all agree.
        terms = heights.matrix[of_bone][:, 4 * bone : 4 * bone + 4].toarray()
        places = terms[:, :3] / np.maximum(terms[:, 3:], 1e-6)
        kept.append(of_bone[np.unique((places @ directions.T).argmax(axis=0))])
    index = np.unique(np.concatenate(kept))
    mesh = Mesh(rig.mesh.vertices[index], np.zeros((0, 3), np.int32))
    return replace(rig, mesh=mesh, bones=rig.bones[index], weights=rig.weights[index])


def _sphere(count: int) -> Array:
    """(count, 3) unit vectors, spread evenly (Fibonacci's lattice)."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1.0 - 2.0 * index / count), np.pi * (1.0 + 5.0**0.5) * index
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)
