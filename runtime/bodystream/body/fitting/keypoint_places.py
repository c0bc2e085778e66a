"""Where the keypoints of pose detectors are on a body, and which way its elbows and knees bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.body.decoder import BodyDecoder
from bodystream.body.fitting.joint_rings import around_joint, joint_rings
from bodystream.body.fitting.marker_sets import MARKER_SPOTS, MarkerSpot, vertex_of_spot
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.types import Array

__all__ = ["HINGES", "HingeLoss", "keypoint_weights"]

_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_HEAD = ("head",)
_FACE = {
    "nose": MarkerSpot((("head", 1.0),), (0.0, 0.0, 1.0), _HEAD, (0.0, 0.14, 0.0)),
    "eye": MarkerSpot((("head", 1.0),), (0.0, 0.0, 1.0), _HEAD, (0.075, 0.21, 0.0)),
    "ear": MarkerSpot((("head", 1.0),), (1.0, 0.0, 0.0), _HEAD, (0.0, 0.17, 0.0)),
}
_FOOT = {"heel": "HEE", "small_toe": "MT5"}
HINGES = tuple(
    (f"{side}_{upper}", f"{side}_{joint}", f"{side}_{end}", sign)
    for side in ("left", "right")
    for upper, joint, end, sign in (("hip", "knee", "ankle", -1.0), ("shoulder", "elbow", "wrist", 1.0))
)
"""Joints of each, and whether it bends ahead (1) or behind (-1) in the neutral pose."""


def keypoint_weights(decoder: BodyDecoder, names: Sequence[str]) -> Array:
    """(K, V) float64 weights by which keypoints are means of a posed body's vertices.

    Args:
        names: as `sources.keypoints` has them.

    Raises:
        InputError: the bundle has no skin.
    """
    rings = joint_rings(decoder)
    skin = decoder.skin
    assert skin is not None
    neutral = decoder.vertices(np.zeros(decoder.facts.shape))
    out = np.zeros((len(names), len(neutral)))
    for row, name in enumerate(names):
        side, _, part = name.partition("_")
        if name in ("neck", "middle_hip"):  # OpenPose's neck is between the shoulders
            joint = "shoulder" if name == "neck" else "hip"
            out[row] = 0.5 * (rings[JOINT_INDEX[f"left_{joint}"]] + rings[JOINT_INDEX[f"right_{joint}"]])
        elif part in _LIMBS:
            out[row] = rings[JOINT_INDEX[name]]
        else:
            out[row, vertex_of_spot(_spot(name, side, part), skin, neutral)] = 1.0
    return out


def _spot(name: str, side: str, part: str) -> MarkerSpot:
    if name == "nose":
        return _FACE["nose"]
    letter, sign = ("L", -1.0) if side == "left" else ("R", 1.0)
    if part in _FOOT:
        return MARKER_SPOTS[letter + _FOOT[part]]
    if part == "big_toe":
        return MarkerSpot(
            ((f"{side}_foot", 1.0),), (0.0, 0.0, 1.0), (f"{side}_foot", f"{side}_ankle"), (-0.05 * sign, 0.0, 0.0)
        )
    spot = _FACE[part]
    return MarkerSpot(
        spot.begin, (sign * spot.towards[0], *spot.towards[1:]), spot.carried, (sign * spot.shift[0], *spot.shift[1:])
    )


@dataclass(frozen=True)
class _Hinge:
    """(V,) weights of the three joints, and of what is ahead of the middle one and behind it in the neutral pose."""

    upper: Array
    joint: Array
    end: Array
    ahead: Array
    behind: Array
    sign: float


class HingeLoss:
    """What it costs that elbows and knees bend the wrong way (E_g of eq. 16).

    The two bones of a limb, as unit vectors from the joint, sum to a vector that points to where it is bent to, the
    longer the farther. Along the way from the joint's back to its front, in the skin, it must point ahead at an elbow
    and behind at a knee; the square of what points the other way is the cost.

    Args:
        decoder: whose bundle has a skin.
    """

    def __init__(self, decoder: BodyDecoder) -> None:
        rings, skin = joint_rings(decoder), decoder.skin
        assert skin is not None
        neutral = decoder.vertices(np.zeros(decoder.facts.shape))
        self._hinges = []
        for upper, joint, end, sign in HINGES:
            rows = [rings[JOINT_INDEX[name]] for name in (upper, joint, end)]
            places = [row @ neutral for row in rows]
            bone = places[2] - places[0]
            bone = bone / max(float(np.linalg.norm(bone)), 1e-9)
            way = np.array([0.0, 0.0, -1.0])
            way = way - (way @ bone) * bone
            chosen = around_joint(skin, JOINT_INDEX[joint], neutral, places[1])
            off = (neutral[chosen] - places[1]) @ (way / max(float(np.linalg.norm(way)), 1e-9))
            sides = []
            for side in (1.0, -1.0):
                weights = np.zeros(len(neutral))
                weights[chosen] = np.maximum(side * off, 0.0)
                sides.append(weights / max(float(weights.sum()), 1e-12))
            self._hinges.append(_Hinge(rows[0], rows[1], rows[2], sides[0], sides[1], sign))

    def bends(self, vertices: Array) -> Array:
        """(4,) of each hinge of `HINGES` how far it bends the right way: 0 is straight, 1 about 60 degrees."""
        return np.array([self._bend(hinge, vertices)[0] for hinge in self._hinges])

    def __call__(self, vertices: Array) -> tuple[float, Array]:
        """The cost, and its (V, 3) derivatives."""
        total, out = 0.0, np.zeros_like(vertices)
        for hinge in self._hinges:
            bend, bars = self._bend(hinge, vertices)
            if bend >= 0.0:
                continue
            total += bend * bend
            weights = (hinge.upper, hinge.joint, hinge.end, hinge.ahead, hinge.behind)
            for weight, bar in zip(weights, bars, strict=True):
                out += 2.0 * bend * weight[:, None] * bar
        return total, out

    @staticmethod
    def _bend(hinge: _Hinge, vertices: Array) -> tuple[float, tuple[Array, ...]]:
        """The bend, and its derivatives by the places of upper, joint, end, ahead and behind."""
        upper, joint, end, ahead, behind = (
            weight @ vertices for weight in (hinge.upper, hinge.joint, hinge.end, hinge.ahead, hinge.behind)
        )
        one, one_bar = _unit(upper - joint)
        other, other_bar = _unit(end - joint)
        front, front_bar = _unit(ahead - behind)
        bend = hinge.sign * float((one + other) @ front)
        of_one, of_other = hinge.sign * one_bar @ front, hinge.sign * other_bar @ front
        of_front = hinge.sign * front_bar @ (one + other)
        return bend, (of_one, -of_one - of_other, of_other, of_front, -of_front)


def _unit(vector: Array) -> tuple[Array, Array]:
    """A unit vector, and the (3, 3) symmetric derivative by the vector."""
    length = max(float(np.linalg.norm(vector)), 1e-9)
    unit = vector / length
    return unit, (np.eye(3) - np.outer(unit, unit)) / length
