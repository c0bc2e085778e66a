"""Axes of other programs, by what x, y and z point to: `RUB` is right, up, back.

Streams come from programs whose vertical axis is z (Unreal, ROS, Vicon, Blender) or points down (cameras, aircraft).
Often the poses were converted as a whole, the devices' own axes included, and each rotation then looks as good as
before: an upright head that turns about z is as plausible as one that turns about y. Only the places tell. Hands are
below the head most of the time, and a head is at the height of a person.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, excerpt
from bodystream.types import Array, HandJoints

__all__ = [
    "CONVENTIONS",
    "OUR_AXES",
    "AxesEvidence",
    "AxesVerdict",
    "AxisConversion",
    "axis_matrix",
    "conversion",
    "hand_in_our_axes",
    "mirrored",
]

OUR_AXES = "RUB"
CONVENTIONS = {
    "RUB": "OpenXR, WebXR, glTF",
    "RUF": "Unity",
    "FRU": "Unreal",
    "FLU": "ROS",
    "RFU": "Vicon, Blender",
    "RDF": "a camera, OpenCV",
    "FRD": "aircraft",
}
_DIRECTIONS = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "U": (0.0, 1.0, 0.0),
    "D": (0.0, -1.0, 0.0),
    "B": (0.0, 0.0, 1.0),
    "F": (0.0, 0.0, -1.0),
}
_ORDERS = {"xyzw": [4, 5, 6, 7], "wxyz": [5, 6, 7, 4]}
"""Columns of a row that hold x, y, z and w."""
_OPPOSITE = dict(zip("RLUDFB", "LRDUBF", strict=True))

_WINDOW = 600
_LEAST, _LEAST_S = 30, 2.0
_HEIGHT_M = (0.6, 2.3)
_FULL_DROP_M = 0.3
"""Hands that far below the head are as good evidence as hands further below it."""
# Shares from which an axis is believed to be up: of heads at the height of people, of hands below it, and of heads that
# are upright; and those below which it is doubted that y is.
_HIGH, _ABOVE, _UPRIGHT = 0.8, 0.2, 0.8
_HIGH_DOUBT, _ABOVE_DOUBT, _UPRIGHT_DOUBT = 0.3, 0.0, 0.7
_UPRIGHT_Y = 0.55
_WALK_M_S = 0.5


def axis_matrix(axes: str) -> Array:
    """(3, 3) with what `axes` names as its rows: takes points of our axes to points of those.

    Raises:
        ConfigurationError: not one letter of each of R/L, U/D and F/B.
    """
    if len(axes) != 3 or any(sum(axes.count(c) for c in pair) != 1 for pair in ("RL", "UD", "FB")):
        known = ", ".join(f"{code} ({whose})" for code, whose in CONVENTIONS.items())
        raise ConfigurationError(
            "axes are three letters for where x, y and z point, one of R and L (right, left), one of U and D (up, "
            f"down), one of F and B (forward, back), got {excerpt(axes)}; for example {known}"
        )
    return np.array([_DIRECTIONS[c] for c in axes])


def mirrored(axes: str, *, right: bool = False) -> str:
    """The same axes with the forward one the other way round, and the right one, too, where that is asked for."""
    return "".join(_OPPOSITE[c] if c in ("FBRL" if right else "FB") else c for c in axes)


class AxisConversion:
    """Poses of other axes to ours: `p = W^T p'` and `R = W^T R' D`, exactly.

    Args:
        axes: of the world.
        device_axes: of the devices themselves; None takes those of the world, as programs convert both.

    Raises:
        ConfigurationError: no such axes, or one of the two is left-handed and the other is not.
    """

    def __init__(self, axes: str, device_axes: str | None = None) -> None:
        world = axis_matrix(axes)
        device = axis_matrix(axes if device_axes is None else device_axes)
        sign = np.linalg.det(device)
        if np.linalg.det(world) * sign < 0:
            raise ConfigurationError(
                f"axes {axes} are {'right' if sign < 0 else 'left'}-handed and device axes {device_axes} are "
                f"{'left' if sign < 0 else 'right'}-handed: no rotation leads from one to the other"
            )
        self.identity = axes == OUR_AXES and device_axes in (None, OUR_AXES)
        self._places = [int(np.abs(world[:, k]).argmax()) for k in range(3)]
        self._signs = [float(world[place, k]) for k, place in enumerate(self._places)]
        self._own_places = [int(np.abs(device[:, k]).argmax()) for k in range(3)]
        self._own_signs = [float(device[place, k]) * round(sign) for k, place in enumerate(self._own_places)]
        turn = world.T @ device
        self._turn = None if np.allclose(turn, np.eye(3)) else Rotation.from_matrix(turn).as_quat()

    def position(self, p: list[float]) -> list[float]:
        return [sign * p[place] for place, sign in zip(self._places, self._signs, strict=True)]

    def rotation(self, q: list[float]) -> list[float]:
        """Of a quaternion x, y, z, w of any length."""
        x, y, z = (sign * q[place] for place, sign in zip(self._own_places, self._own_signs, strict=True))
        w = q[3]
        if self._turn is None:
            return [x, y, z, w]
        a, b, c, d = self._turn.tolist()
        return [
            d * x + a * w + b * z - c * y,
            d * y - a * z + b * w + c * x,
            d * z + a * y - b * x + c * w,
            d * w - a * x - b * y - c * z,
        ]


@dataclass(frozen=True, slots=True)
class AxesVerdict:
    """Attributes:
    up: which axis is vertical: `z up`, `y down`, ...
    axes: of the world, or None where they cannot be told. order: of the quaternions.
    device_axes: of the devices, where they are others.
    otherwise: options for what is as possible: nothing was seen of what lies ahead, or of which way a head nods.
    """

    up: str
    axes: str | None
    order: str
    device_axes: str | None = None
    otherwise: str = ""

    @property
    def options(self) -> str:
        """What to give to be sure."""
        return f"--axes {self.axes}" + (f" --device-axes {self.device_axes}" if self.device_axes else "")


@dataclass(frozen=True, slots=True)
class _Hypothesis:
    """That axis `k`, times `sign`, is up, and quaternions are of `order`.

    Attributes:
        kind: `y` for ours; `wholly` where the devices' axes were converted along with the world's, else `turned`.
    """

    score: float
    kind: str
    k: int
    sign: float
    order: str


class AxesEvidence:
    """The last samples as they came, and what they say about the vertical axis.

    Attributes:
        says_y: whether y was the best in the last verdict.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._added = 0
        self._agreed = 0
        self.says_y = False

    @property
    def settled(self) -> bool:
        """Whether y was found to be up so often that nothing else will be found."""
        return self._agreed >= 3

    def add(self, t_s: float, head: list[float], q_xyzw: list[float], left: list[float], right: list[float]) -> None:
        """Add one sample: raw numbers of any unit, three nan for a hand that is not there."""
        if len(self._rows) >= 2 * _WINDOW:
            del self._rows[:_WINDOW]
        self._rows.append((t_s, *head, *q_xyzw, *left, *right))
        self._added += 1

    def due(self) -> bool:
        """Whether it is time to ask again."""
        return not self.settled and (self._added in (_LEAST, 60) or self._added % 90 == 0)

    def verdict(self, scale: float, orders: tuple[str, ...]) -> AxesVerdict | None:
        """What the window says, with positions times `scale` in metres; None where y is up or nothing can be said.

        Args:
            orders: of quaternions, `xyzw` or `wxyz`: what is possible.
        """
        self.says_y = False
        rows = np.array(self._rows[-_WINDOW:])
        # Arms swing: one is ahead and the other behind for half a step.
        if len(rows) < _LEAST or rows[-1, 0] - rows[0, 0] < _LEAST_S:
            return None
        head = rows[:, 1:4] * scale
        hands = np.stack([rows[:, 8:11], rows[:, 11:14]], axis=1) * scale - head[:, None]
        hands[np.linalg.norm(hands, axis=2) > 2.0] = np.nan
        turns = {order: Rotation.from_quat(rows[:, _ORDERS[order]]).as_matrix() for order in orders}
        found: list[_Hypothesis] = []
        for order in orders:
            of_order = _hypotheses(head, hands, turns[order], order)
            if order == "xyzw" and of_order is None:
                return None
            found += of_order or []
        if not found:
            return None
        # The simpler one, where two are as good.
        best = max(found, key=lambda h: h.score - 0.4 * (h.order != "xyzw" and h.kind != "y") - 0.15 * (h.kind != "y"))
        self.says_y = best.kind == "y"
        if self.says_y:
            self._agreed += best.order == "xyzw" and self._added >= _WINDOW
            return None
        up = f"{'xyz'[best.k]} {'up' if best.sign > 0 else 'down'}"
        if best.kind == "wholly":
            return _whole(up, best, rows[:, 0], head, turns[best.order], hands)
        if best.k == 1:  # which way is ahead tells the head's own axes
            return AxesVerdict(up, "RDF", best.order, OUR_AXES, "--axes RDF --quaternion-order wxyz")
        return None  # or somebody lies: nothing tells the two apart


def _hypotheses(head: Array, hands: Array, turns: Array, order: str) -> list[_Hypothesis] | None:
    """What is possible; None where there is little reason to doubt that y is up."""
    # A quarter of the hands is enough to say where hands are; without them, only the height speaks.
    seen = np.isfinite(hands[..., 0])
    above = np.full(3, np.nan)
    if seen.any(axis=1).mean() > 0.25:
        above = np.clip(-hands[seen] / _FULL_DROP_M, -1.0, 1.0).mean(axis=0)
    own = np.einsum("nii->ni", turns).mean(axis=0)  # of each axis of the head, along the world's of that name
    heads_y = turns[:, :, 1].mean(axis=0)  # of the head's y axis, along each of the world's

    def high(k: int, sign: float) -> float:
        return float(((sign * head[:, k] > _HEIGHT_M[0]) & (sign * head[:, k] < _HEIGHT_M[1])).mean())

    as_y = high(1, 1.0)
    drop_y = above[1] if np.isfinite(above[1]) else 0.0
    steadiest = int(np.ptp(head, axis=0).argmin())
    in_head = np.einsum("nji,nhj->nhi", turns, hands)
    across = in_head[:, 1] - in_head[:, 0]
    across = across[np.isfinite(across[:, 0])]
    found: list[_Hypothesis] = []
    for k, sign in itertools.product(range(3), (1.0, -1.0)):
        ours = (k, sign) == (1, 1.0)
        turned = not own[k] > _UPRIGHT
        upright = sign * heads_y[k] if turned else own[k]
        if upright <= (_UPRIGHT_Y if ours else _UPRIGHT):
            continue
        floor = high(k, sign)
        # A camera's origin is anywhere: hands are enough then, if they cannot be raised hands of a person.
        placed = floor > _HIGH or (sign < 0 and as_y < _HIGH_DOUBT)
        drop = sign * above[k]
        below = drop > _ABOVE if np.isfinite(drop) else floor > _HIGH and (ours or as_y < _HIGH_DOUBT)
        if placed and below:
            score = floor + (drop if np.isfinite(drop) else 0.0) + upright + 0.3 * (k == steadiest)
            kind = "y" if ours else "turned" if turned else "wholly"
            found.append(_Hypothesis(score + 0.5 * _sided(across, k, kind), kind, k, sign, order))
    if order != "xyzw" or any(h.kind == "y" for h in found):
        return found
    doubted = as_y < _HIGH_DOUBT or drop_y < _ABOVE_DOUBT or own[1] < _UPRIGHT_DOUBT
    better = max((h.score for h in found), default=0.0) > as_y + drop_y + own[1] + 0.4
    return found if doubted and (better or not found) else None


def _sided(across: Array, k: int, kind: str) -> float:
    """How much the right hand keeps to one side of the left one, in the head's frame: -1 to 1."""
    if not len(across):
        return 0.0
    # Hands far apart say most: crossed arms reach 0.3 m, and hanging ones are further apart.
    shares = (across * np.abs(across)).mean(axis=0) / max(float((across**2).sum(axis=1).mean()), 1e-9)
    if kind == "wholly":
        return float(np.abs(np.delete(shares, k)).max())
    return float(shares[0])


def _whole(up: str, best: _Hypothesis, t: Array, head: Array, turns: Array, hands: Array) -> AxesVerdict:
    """Which way is right, and which ahead, in the head's own frame."""
    k, sign, order = best.k, best.sign, best.order
    own = np.einsum("nji,nhj->nhi", turns, hands)
    both = own[np.isfinite(own).all(axis=(1, 2))]
    if len(both) < _LEAST:
        return AxesVerdict(up, None, order)
    level = [axis for axis in range(3) if axis != k]
    apart = both[:, 1] - both[:, 0]
    across = (apart * np.abs(apart)).mean(axis=0)
    aside, ahead = sorted(level, key=lambda axis: -abs(across[axis]))
    if abs(across[aside]) < max(0.01, 0.2 * float((apart[:, aside] ** 2).mean()), 1.5 * abs(across[ahead])):
        return AxesVerdict(up, None, order)
    # Of what lies ahead: raised hands, hands at all, and the way that somebody walks.
    drop = sign * both[..., k]
    reach = np.clip(both[..., ahead] / 0.2, -1.0, 1.0)
    evidence = float((reach * np.where(drop > -0.35, 1.0, 0.3)).mean())
    dt = np.diff(t)
    moves = np.einsum("nji,nj->ni", turns[1:], np.diff(head, axis=0))[dt > 1e-4] / dt[dt > 1e-4, None]
    walks = np.linalg.norm(moves[:, level], axis=1) > _WALK_M_S
    if walks.mean() > 0.1:
        evidence += 2.0 * float(np.clip(moves[walks, ahead] / _WALK_M_S, -1.0, 1.0).mean())
    letters = ["", "", ""]
    letters[k] = "U" if sign > 0 else "D"
    letters[aside] = "R" if across[aside] > 0 else "L"
    sure = abs(evidence) > 0.1
    for letter in "FB" if evidence > 0 else "BF":
        letters[ahead] = letter
        if sure or np.linalg.det(axis_matrix("".join(letters))) > 0:
            break
    axes = "".join(letters)
    return AxesVerdict(up, axes, order, None, "" if sure else f"--axes {mirrored(axes)}, if the person walks backwards")


@cache
def conversion(axes: str, device_axes: str | None = None) -> AxisConversion:
    """The same conversion again for the same axes."""
    return AxisConversion(axes, device_axes)


def hand_in_our_axes(hand: HandJoints, scale: float, device_axes: str) -> HandJoints:
    """The joints of a hand, whose wrist and bones had these axes, in metres and with ours.

    Args:
        scale: metres per unit of what came.
    """
    turn = conversion(device_axes)  # of wrist and bone alike: R = D^T R' D
    return HandJoints(
        np.array([turn.position(p) for p in hand.in_wrist_m.tolist()], np.float32) * np.float32(scale),
        np.array([turn.rotation(q) for q in hand.wrist_from_joint_xyzw.tolist()], np.float32),
        hand.radii_m * np.float32(scale),
    )
