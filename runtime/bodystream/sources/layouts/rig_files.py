"""A calibration file with two cameras: which is depth's, which colour's, and what brings points from one to the other.

Cameras are known by their numbers (a matrix whose third row is 0 0 1), and told apart by the words of their keys:
depth, ir, infrared, tof against color, colour, rgb; nested, or in one word, as OpenCV, ROS, RGBDemo and iai_kinect2
write them. The transform must say its direction: `depth_to_color`, `color_from_depth` and the like. Nothing is
guessed: what is not understood is refused with what to give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.keyed import Entry, tokens
from bodystream.sources.layouts.lenses import GIVE_INSTEAD, LensParameters, Rig, lens, rigid
from bodystream.types import Array

__all__ = ["COLOUR", "DEPTH", "direction_of", "lens_of", "names_two_cameras", "rig_of", "role_of", "transform_of"]

DEPTH, COLOUR = "depth", "colour"

_ROLES = {
    **dict.fromkeys(("depth", "ir", "infrared", "infra", "tof"), DEPTH),
    **dict.fromkeys(("color", "colour", "rgb"), COLOUR),
}
_NOT_A_CAMERA = {"projection", "rectification", "rectified", "p", "q", "essential", "fundamental"}
_SIDES = {"0", "1", "2", "left", "right"}
_SCALARS = {"fx": "fx", "fy": "fy", "cx": "cx", "cy": "cy", "ppx": "cx", "ppy": "cy"}
_COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_ROTATION_WORDS = ({"rotation"}, {"r"}, {"rot"})
_TRANSLATION_WORDS = ({"translation"}, {"t"}, {"trans"})


def role_of(path: Sequence[str]) -> str:
    """`depth`, `colour`, or empty where the keys name neither or both."""
    roles = {_ROLES[word] for word in tokens(*path) if word in _ROLES}
    return roles.pop() if len(roles) == 1 else ""


def names_two_cameras(found: Sequence[Entry]) -> bool:
    """Whether a file is the calibration of two cameras rather than of one."""
    roles = {role_of(entry.path) for entry in found if _is_camera(entry)} - {""}
    roles |= {role_of(entry.path) for entry in found if _scalar(entry) == "fx"} - {""}
    if len(roles) == 2:
        return True
    numbered = [entry.path for entry in found if _is_camera(entry) and set(tokens(*entry.path)) & _SIDES]
    return len(set(numbered)) > 1


def rig_of(found: Sequence[Entry], origin: str, wants_colour: bool = True) -> Rig:
    """Both cameras of a file and the transform between them.

    Args:
        wants_colour: there are colour images; without, depth's camera is enough.

    Raises:
        InputError: what is not understood, and what to give instead.
    """
    cameras = {role: lens_of([e for e in found if role_of(e.path) == role], origin, role) for role in (DEPTH, COLOUR)}
    depth, colour = cameras[DEPTH], cameras[COLOUR]
    if depth is None or colour is None:
        named = ", ".join(".".join(entry.path) for entry in found if _is_camera(entry)) or "none"
        missing = " and ".join(role for role, camera in cameras.items() if camera is None)
        raise InputError(
            f"{origin}: holds two cameras ({named}), and their names do not tell which is the {missing} camera; name "
            f"them depth and colour; or {GIVE_INSTEAD}"
        )
    if not wants_colour:
        return Rig(depth, None, np.eye(4), origin)
    transform = transform_of(found, origin)
    if transform is None:
        raise InputError(
            f"{origin}: names a depth and a colour camera, and no transform between them whose direction is said "
            f"(depth_to_color, colour_from_depth, ...), so that colour cannot be registered to depth: {GIVE_INSTEAD}"
        )
    return Rig(depth, colour, transform, origin)


def lens_of(found: Sequence[Entry], origin: str, role: str = "") -> LensParameters | None:
    """The camera that these values describe; None where there is none.

    Raises:
        InputError: impossible values, or a lens that is not known.
    """
    origin = f"{origin} ({role})" if role else origin
    matrix = next((entry.numbers for entry in found if _is_camera(entry)), None)
    scalars = {_scalar(entry): entry.numbers[0] for entry in found if _scalar(entry)}
    if matrix is not None:
        columns = 3 if len(matrix) == 9 else 4
        values = (matrix[0], matrix[columns + 1], matrix[2], matrix[columns + 2])
    elif all(name in scalars for name in ("fx", "fy", "cx", "cy")):
        values = tuple(scalars[name] for name in ("fx", "fy", "cx", "cy"))
    else:
        return None
    if not all(math.isfinite(value) and abs(value) < 1e9 for value in values) or min(values[:2]) <= 0:
        raise InputError(f"{origin}: expected finite values with positive focal lengths, got {list(values)}")
    width, height = _size(found)
    pinhole = PinholeParameters(*values, origin=origin, width=width, height=height)
    model = next((e.text for e in found if e.text and "model" in tokens(e.path[-1])), "")
    return lens(pinhole, _distortion(found), model)


def transform_of(found: Sequence[Entry], origin: str) -> Array | None:
    """colour_from_depth (4, 4) [m]; None where there is none whose direction is said.

    Raises:
        InputError: it is said, and no rigid transform.
    """
    groups: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {}
    for entry in found:
        direction = direction_of(entry.path)
        if direction and entry.numbers:
            kind = _part(entry)
            if kind:
                groups.setdefault((direction, _group(entry.path)), {})[kind] = entry.numbers
    for (direction, _), parts in groups.items():
        if "whole" in parts:
            whole = np.array(parts["whole"]).reshape(-1, 4)
            matrix = rigid(whole[:3, :3].ravel(), whole[:3, 3], origin)
        elif "rotation" in parts and "translation" in parts:
            matrix = rigid(parts["rotation"], parts["translation"], origin)
        else:
            continue
        return matrix if direction == "colour_from_depth" else np.linalg.inv(matrix)
    bare = {entry.path: entry.numbers for entry in found}
    if ("rgb_intrinsics",) in bare and ("depth_intrinsics",) in bare and len(bare.get(("R",), ())) == 9:
        # RGBDemo: the file takes points of the colour camera to the depth camera (its T is about +20 mm along x, and
        # the colour camera of a Kinect stands on that side).
        if len(bare.get(("T",), ())) == 3:
            return np.linalg.inv(rigid(bare[("R",)], bare[("T",)], origin))
    return None


def _is_camera(entry: Entry) -> bool:
    if len(entry.numbers) not in (9, 12, 16) or set(tokens(entry.path[-1])) & _NOT_A_CAMERA:
        return False
    matrix = np.array(entry.numbers).reshape(-1, 3 if len(entry.numbers) == 9 else 4)
    third = matrix[2, :3]
    return bool(np.isfinite(matrix).all() and matrix[0, 0] > 2 and matrix[1, 1] > 2 and (third == (0, 0, 1)).all())


def _scalar(entry: Entry) -> str:
    words = tokens(entry.path[-1])
    return _SCALARS.get("".join(words[-1:]), "") if len(entry.numbers) == 1 else ""


def _distortion(found: Sequence[Entry]) -> tuple[float, ...]:
    named: dict[str, float] = {}
    for entry in found:
        last = entry.path[-1]
        words = tokens(last)
        key = last.lower().replace("_", "")
        if len(entry.numbers) > 1 and (any(w.startswith("dist") for w in words) or key in ("d", "coeffs")):
            return entry.numbers
        name = "".join(words[-2:])
        if len(entry.numbers) == 1 and name in _COEFFICIENTS:
            named[name] = entry.numbers[0]
    if not named:
        return ()
    count = 8 if any(name in named for name in _COEFFICIENTS[5:]) else 5
    return tuple(named.get(name, 0.0) for name in _COEFFICIENTS[:count])


def _size(found: Sequence[Entry]) -> tuple[int | None, int | None]:
    for entry in found:
        if len(entry.numbers) == 2 and set(tokens(entry.path[-1])) & {"size", "resolution"}:
            return _pixels(entry.numbers[0]), _pixels(entry.numbers[1])
    sides = {tokens(e.path[-1])[-1]: e.numbers[0] for e in found if len(e.numbers) == 1 and tokens(e.path[-1])}
    return _pixels(sides.get("width", math.nan)), _pixels(sides.get("height", math.nan))


def _pixels(value: float) -> int | None:
    return int(value) if 1 <= value <= 1 << 20 else None


def direction_of(path: Sequence[str]) -> str:
    """`colour_from_depth`, `depth_from_colour`, or empty where the keys say neither."""
    words = tokens(*path)
    roles = [(index, _ROLES[word]) for index, word in enumerate(words) if word in _ROLES]
    for (i, first), (j, second) in zip(roles, roles[1:], strict=False):
        between = set(words[i + 1 : j])
        if first != second:
            if between & {"to", "2"}:
                return f"{second}_from_{first}"
            if "from" in between:
                return f"{first}_from_{second}"
    return ""


def _part(entry: Entry) -> str:
    count = len(entry.numbers)
    words = set(tokens(entry.path[-1]))
    if count in (12, 16):
        return "whole"
    if count == 9 and (any(name <= words for name in _ROTATION_WORDS) or direction_of(entry.path[-1:])):
        return "rotation"
    if count == 3 and (any(name <= words for name in _TRANSLATION_WORDS) or direction_of(entry.path[-1:])):
        return "translation"
    return ""


def _group(path: Sequence[str]) -> str:
    """What a rotation and its translation have in common: the keys without those words."""
    dropped = set().union(*_ROTATION_WORDS, *_TRANSLATION_WORDS)
    return ".".join(word for word in tokens(*path) if word not in dropped)
