"""Where the markers of the usual full-body sets are, told by joints and directions: any body with a skin will do.

Labels are those of Vicon's Plug-in Gait and of CMU's 41 markers, which is an older name for nearly the same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.body.skin import BodySkin
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.types import Array

__all__ = ["MARKER_SPOTS", "MarkerSpot", "vertex_of_spot"]

_CARRIED = 0.4
"""What a vertex follows the spot's joints by at least."""
_SIDEWAYS = 0.3
"""What a metre farther out makes up for beside the line."""


@dataclass(frozen=True, slots=True)
class MarkerSpot:
    """A place on the skin of a neutral body: where a line from within comes out.

    Attributes:
        begin: joints and their shares, of which the line's begin is the mean; shares sum to one, and may be negative.
        towards: (out, up, ahead), the line's direction; out is to the marker's own side.
        carried: joints whose skin the marker sits on.
        shift: (out, up, ahead) of the begin, in lengths of the thigh.
        across: whether the direction is taken across the bone between the first two joints.
    """

    begin: tuple[tuple[str, float], ...]
    towards: tuple[float, float, float]
    carried: tuple[str, ...]
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    across: bool = False


def _bone(one: str, other: str, share: float, towards: tuple[float, float, float], *carried: str) -> MarkerSpot:
    return MarkerSpot(((one, 1.0 - share), (other, share)), towards, carried, across=True)


_TRUNK = ("spine1", "spine2", "spine3", "neck", "left_collar", "right_collar")
_HIPS = ("pelvis", "spine1", "left_hip", "right_hip")

_MIDDLE = {
    "C7": MarkerSpot((("neck", 1.0),), (0.0, 0.2, -1.0), (*_TRUNK, "head")),
    "T10": MarkerSpot((("spine2", 0.5), ("spine3", 0.5)), (0.0, 0.0, -1.0), _TRUNK),
    "CLAV": MarkerSpot((("neck", 1.0),), (0.0, -0.2, 1.0), _TRUNK, (0.0, -0.15, 0.0)),
    "STRN": MarkerSpot((("spine2", 0.5), ("spine3", 0.5)), (0.0, 0.0, 1.0), _TRUNK),
    "SACR": MarkerSpot((("left_hip", 0.5), ("right_hip", 0.5)), (0.0, 0.0, -1.0), _HIPS, (0.0, 0.22, 0.0)),
}  # fmt: skip
_SIDED = {
    "FHD": MarkerSpot((("head", 1.0),), (0.6, 0.0, 0.8), ("head",), (0.0, 0.26, 0.0)),
    "BHD": MarkerSpot((("head", 1.0),), (0.7, 0.0, -0.7), ("head",), (0.0, 0.26, 0.0)),
    "SHO": MarkerSpot(
        (("shoulder", 0.85), ("collar", 0.15)), (0.0, 1.0, 0.0), ("shoulder", "collar", *_TRUNK)
    ),
    "UPA": _bone("shoulder", "elbow", 0.5, (1.0, 0.6, 0.0), "shoulder", "collar", "elbow"),
    "ELB": _bone("elbow", "shoulder", 0.03, (1.0, 0.8, 0.0), "shoulder", "elbow"),
    "FRM": _bone("elbow", "wrist", 0.5, (1.0, 0.8, 0.0), "elbow", "wrist"),
    "WRA": _bone("wrist", "elbow", 0.05, (0.0, 0.0, 1.0), "elbow", "wrist"),
    "WRB": _bone("wrist", "elbow", 0.05, (0.0, 0.0, -1.0), "elbow", "wrist"),
    "FIN": _bone("wrist", "elbow", -0.3, (1.0, 0.8, 0.0), "wrist"),
    "ASI": MarkerSpot((("hip", 1.0),), (0.1, 0.0, 1.0), _HIPS, (0.05, 0.2, 0.0)),
    "PSI": MarkerSpot(
        (("left_hip", 0.5), ("right_hip", 0.5)), (0.1, 0.0, -1.0), _HIPS, (0.1, 0.22, 0.0)
    ),
    "THI": _bone("hip", "knee", 0.6, (1.0, 0.0, 0.0), "hip", "knee"),
    "KNE": _bone("knee", "hip", 0.02, (1.0, 0.0, 0.0), "hip", "knee"),
    "TIB": _bone("knee", "ankle", 0.5, (1.0, 0.0, 0.0), "knee", "ankle"),
    "ANK": _bone("ankle", "knee", 0.0, (1.0, 0.0, 0.0), "knee", "ankle", "foot"),
    "HEE": MarkerSpot((("ankle", 1.0),), (0.0, 0.0, -1.0), ("ankle", "foot"), (0.0, -0.1, 0.0)),
    "TOE": MarkerSpot((("foot", 0.85), ("ankle", 0.15)), (0.0, 1.0, 0.0), ("ankle", "foot")),
    "MT5": MarkerSpot((("foot", 0.85), ("ankle", 0.15)), (1.0, 0.0, 0.0), ("ankle", "foot")),
    "MT1": MarkerSpot((("foot", 0.9), ("ankle", 0.1)), (-1.0, 0.0, 0.0), ("ankle", "foot")),
}  # fmt: skip
_ALIASES = {"FWT": "ASI", "BWT": "PSI", "SHN": "TIB", "FRA": "FRM"}


def _spots() -> dict[str, MarkerSpot]:
    out = dict(_MIDDLE)
    for side, letter in (("left", "L"), ("right", "R")):

        def named(joint: str, side: str = side) -> str:
            return joint if joint in JOINT_INDEX else f"{side}_{joint}"

        sign = -1.0 if side == "left" else 1.0  # x is to the body's right
        for word, spot in _SIDED.items():
            out[letter + word] = MarkerSpot(
                tuple((named(joint), share) for joint, share in spot.begin), _flipped(spot.towards, sign),
                tuple(named(joint) for joint in spot.carried), _flipped(spot.shift, sign), spot.across,
            )  # fmt: skip
        out |= {letter + word: out[letter + of] for word, of in _ALIASES.items()}
        # On the shoulder blade, which by custom only the right one has.
        out[f"{letter}BAC"] = out[f"{letter}BAK"] = MarkerSpot(
            ((f"{side}_shoulder", 0.45), ("spine3", 0.55)), (0.0, 0.0, -1.0), (*_TRUNK, f"{side}_shoulder")
        )
    return out


def _flipped(way: tuple[float, float, float], sign: float) -> tuple[float, float, float]:
    return sign * way[0], way[1], way[2]


MARKER_SPOTS = _spots()
"""Of each label; directions with x to the body's right."""


def vertex_of_spot(spot: MarkerSpot, skin: BodySkin, neutral: Array) -> int:
    """The number of the vertex at a spot.

    Args:
        neutral: (V, 3) the mean neutral body, y up, -z where it looks [m].
    """
    joints = skin.joints(neutral)
    thigh = float(np.linalg.norm(joints[JOINT_INDEX["left_knee"]] - joints[JOINT_INDEX["left_hip"]]))
    ahead = np.array([1.0, 1.0, -1.0])  # (right, up, ahead) to the body's axes
    begin = sum(share * joints[JOINT_INDEX[name]] for name, share in spot.begin) + thigh * ahead * spot.shift
    way = ahead * spot.towards
    if spot.across:
        one, other = (joints[JOINT_INDEX[name]] for name, _ in spot.begin[:2])
        bone = (other - one) / max(float(np.linalg.norm(other - one)), 1e-9)
        way = way - (way @ bone) * bone
    way = way / np.linalg.norm(way)
    along = (neutral - begin) @ way
    beside = np.linalg.norm(neutral - begin - along[:, None] * way, axis=1)
    carried = skin.skin_weights[:, [JOINT_INDEX[name] for name in spot.carried]].sum(axis=1) >= _CARRIED
    cost = beside - _SIDEWAYS * along + np.where(carried & (along > 0.0), 0.0, 10.0)
    return int(cost.argmin())
