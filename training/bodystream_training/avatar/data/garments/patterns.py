"""Patterns of clothes, cut to a body's measures: each garment a front and a back, flat, sewn at the sides.

Lengths that belong to the garment and not to the body are those for a person of 1.75 m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodystream.avatar.take.canonical import LEG_TURN_DEG
from bodystream.sources.synthetic.people import Clothes
from bodystream.types import Array
from bodystream_training.avatar.data.garments.panels import Panel
from bodystream_training.avatar.data.garments.wearer import Measures

__all__ = ["OUTFITS", "Garment", "Outfit"]

_Corner = tuple[float, float, bool]
"""x, y and whether the edge from here to the next corner is sewn."""


@dataclass(frozen=True, slots=True)
class Garment:
    """One piece of clothing.

    Attributes:
        name: of it.
        panels: from measures.
        spacing_m: length of its edges, for a person of 1.75 m.
        thickness_m: how far it lies off the skin, and layers off each other.
        colours: two shades, RGB; the second is of a pattern.
        pattern: of the shades. bend_n_m: resistance to folding.
        pinned: whether a flat point (x, y) is held by a band to the skin.
    """

    name: str
    panels: Callable[[Measures], list[Panel]]
    spacing_m: float
    thickness_m: float
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    pattern: str
    bend_n_m: float
    pinned: Callable[[Measures, Array], Array] | None = None


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears.

    Attributes:
        garments: that are simulated, inner ones first.
        paint: what is painted on the body below them.
    """

    garments: tuple[Garment, ...]
    paint: Clothes


def _both_sides(right: list[_Corner]) -> tuple[Array, tuple[bool, ...]]:
    """The whole outline of a piece from its right half, which runs clockwise from the middle's top to its bottom."""
    points = [(x, y) for x, y, _ in right]
    sewn = [flag for _, _, flag in right[:-1]]
    left = [(-x, y) for x, y in points[::-1]]
    left_sewn = sewn[::-1]
    # A corner in the middle is there once.
    if abs(points[-1][0]) < 1e-9:
        left = left[1:]
        flags = sewn + left_sewn
    else:
        flags = [*sewn, right[-1][2], *left_sewn]
    if abs(points[0][0]) < 1e-9:
        left = left[:-1]
    else:
        flags = [*flags, False]
    return np.array(points + left), tuple(flags)


def _front_and_back(right: list[_Corner]) -> list[Panel]:
    outline, seams = _both_sides(right)
    return [Panel(outline, seams, front=True), Panel(outline, seams, front=False)]


def _top_corners(m: Measures, sleeve: float, width: float, ease: float, scoop: float) -> list[_Corner]:
    """From the middle of the neckline to the armpit, for tops.

    Args:
        sleeve: how far along upper arm (0 to 1) and forearm (1 to 2) it reaches.
        width: of the flat sleeve at its end. ease: of the chest. scoop: depth of the neckline.
    """
    shoulder, elbow, wrist = (m.joint(f"right_{part}") for part in ("shoulder", "elbow", "wrist"))
    neck_x = 0.098 * m.scale
    neck_y = m.top(neck_x) + 0.022 * m.scale
    end = shoulder + min(sleeve, 1.0) * (elbow - shoulder) + max(sleeve - 1.0, 0.0) * (wrist - elbow)
    half = 0.5 * width * m.scale
    chest_y = shoulder[1] - 0.145 * m.scale
    chest = 0.5 * (1.0 + ease) * m.half_girth(chest_y)
    return [
        (0.0, neck_y - scoop * m.scale, False),
        (neck_x, neck_y, True),
        (float(end[0]), float(shoulder[1] + half), False),
        (float(end[0]), float(shoulder[1] - half), True),
        (chest, chest_y, True),
    ]


def _shirt(m: Measures) -> list[Panel]:
    hem_y = -0.10 * m.scale
    hip = 0.5 * 1.10 * m.half_girth(-0.06 * m.scale)
    return _front_and_back([*_top_corners(m, 0.66, 0.20, 0.16, 0.035), (hip, hem_y, False), (0.0, hem_y, False)])


def _shorts(m: Measures) -> list[Panel]:
    s = m.scale
    waist_y = _waist_y(m)
    hip_joint, knee = m.joint("right_hip"), m.joint("right_knee")
    turn = np.radians(LEG_TURN_DEG)
    along, out = np.array([np.sin(turn), -np.cos(turn)]), np.array([np.cos(turn), np.sin(turn)])
    half = 0.5 * 1.28 * m.thigh
    end = hip_joint[:2] + 0.80 * np.linalg.norm(knee - hip_joint) * along
    inner_start = hip_joint[:2] - half * out
    meet_y = float(inner_start[1] - inner_start[0] / along[0] * along[1])
    crotch_y = meet_y - 0.055 * s  # cloth goes around the trunk from front to back, which is no flat way
    corners = [
        (0.0, waist_y, False),
        (0.5 * m.half_girth(waist_y), waist_y, True),
        (0.5 * 1.10 * m.half_girth(-0.05 * s), -0.05 * s, True),
        (*(end + half * out), False),
        (*(end - half * out), True),
        (0.0, crotch_y, True),
    ]
    return _front_and_back([(float(x), float(y), sewn) for x, y, sewn in corners])


def _waist_y(m: Measures) -> float:
    return 0.10 * m.scale


def _at_waist(m: Measures, flat: Array) -> Array:
    return flat[:, 1] > _waist_y(m) - 0.02 * m.scale


def _dress(m: Measures) -> list[Panel]:
    s = m.scale
    knee, ankle = m.joint("right_knee"), m.joint("right_ankle")
    hem_y = float(knee[1] + 0.55 * (ankle[1] - knee[1]))
    waist_y = 0.14 * s
    corners = _top_corners(m, 0.42, 0.20, 0.12, 0.05)
    corners += [
        (0.5 * 1.16 * m.half_girth(waist_y), waist_y, True),
        (0.5 * 1.16 * m.half_girth(-0.06 * s), -0.06 * s, True),
        (0.5 * 1.22 * m.half_girth(hem_y), hem_y, False),
        (0.0, hem_y, False),
    ]
    return _front_and_back(corners)


def _jacket(m: Measures) -> list[Panel]:
    s = m.scale
    hem_y = -0.15 * s
    hip = 0.5 * 1.22 * m.half_girth(-0.08 * s)
    corners = [*_top_corners(m, 1.92, 0.17, 0.26, 0.03), (hip, hem_y, False), (0.0, hem_y, False)]
    outline, seams = _both_sides(corners)
    gap = 0.012 * s
    neck = corners[1]
    right = [(neck[0], neck[1], True), *corners[2:-1], (gap, hem_y, False), (gap, neck[1] - 0.12 * s, False)]
    points = np.array([(x, y) for x, y, _ in right])
    sewn = tuple(flag for _, _, flag in right)
    # The mirror image runs the other way around: each edge's flag belongs to its other end.
    mirrored = points[::-1] * (-1.0, 1.0)
    mirrored_sewn = (*sewn[::-1][1:], sewn[-1])
    return [
        Panel(outline, seams, front=False),
        Panel(points, sewn, front=True),
        Panel(mirrored, mirrored_sewn, front=True),
    ]


_SKIN = (198, 150, 122)
OUTFITS = {
    "shirt-and-shorts": Outfit(
        (
            Garment("shorts", _shorts, 0.030, 0.006, ((52, 62, 98), (66, 78, 118)), "plain", 6e-4, _at_waist),
            Garment("shirt", _shirt, 0.029, 0.014, ((196, 74, 52), (232, 214, 188)), "stripes", 4e-4),
        ),
        Clothes(top=(150, 60, 50), trousers=_SKIN, shoes=(90, 84, 80), skin=_SKIN),
    ),
    "dress": Outfit(
        (Garment("dress", _dress, 0.032, 0.009, ((44, 112, 98), (222, 214, 150)), "dots", 4e-4),),
        Clothes(top=_SKIN, trousers=_SKIN, shoes=(120, 40, 38), skin=_SKIN),
    ),
    "jacket": Outfit(
        (Garment("jacket", _jacket, 0.029, 0.012, ((96, 86, 64), (128, 116, 88)), "checks", 2e-3),),
        Clothes(top=(222, 222, 216), trousers=(58, 66, 92), shoes=(60, 44, 34), skin=_SKIN),
    ),
}
"""Three outfits."""
