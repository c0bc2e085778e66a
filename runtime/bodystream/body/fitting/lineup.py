"""Bodies in poses beside points: which lie best on them, in which turn about the vertical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.body.fitting.scan import even_points
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array

__all__ = ["SIDES", "SIZES", "Lineup", "Tried", "spread_of"]

SIDES = 4
"""To each of which a start looks: people are hard to tell from behind, and from the side."""
SIZES = (0.7, 1.15)
"""Of people, beside the mean one."""
_FAR_M, _BACK = 0.3, 0.5
_FEW_BODY, _FEW_POINTS = 160, 100
"""Of bodies and of what they are compared with, at first."""
_FINE_BODY, _FINE_POINTS = 400, 350
_AT_ONCE = 1 << 18
"""Pairs of points whose distances are in the processor's cache together."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A body made larger and laid on points by `size * body @ rotation.T + move`.

    Attributes:
        score: mean distance of both from each other, far ones cut [m]. number: of the body.
        side: of `SIDES`, to which it looks.
    """

    score: float
    number: int
    rotation: Array
    move: Array
    size: float
    side: int


class Lineup:
    """Bodies that are compared with points, with few of these at first and those that seem best with more.

    Distances are those of points from each other, of all pairs at once: products of matrices, which are faster than a
    tree or a grid for each of some thousand bodies.

    Args:
        bodies: (N, 3) points of each [m], the same ones of all.
    """

    def __init__(self, bodies: Sequence[Array]) -> None:
        whole = np.stack(bodies).astype(np.float32)
        self._few, self._fine = (whole[:, even_points(bodies[0], count)] for count in (_FEW_BODY, _FINE_BODY))
        self._spreads = np.array([spread_of(body) for body in bodies])

    def best(self, points: Array, yaws: int, count: int, poses: int | None = None) -> list[Tried]:
        """Those that lie best, of bodies in turns about the vertical that move their middle onto that of the points.

        Args:
            points: (N, 3) [m]. yaws: how many turns. count: how many of each side are looked at with more points, in
                that turn and in the two that are half a step beside it.
            poses: the first ones only.

        Returns:
            All that were looked at with more points, best first.
        """
        # A scan may have strays, which its extent is without.
        middle = 0.5 * (np.percentile(points, (2.0, 98.0), axis=0).mean(axis=0) + points.mean(axis=0))
        sizes = np.clip(spread_of(points) / self._spreads[:poses], *SIZES).astype(np.float32)
        few, fine = (
            (points[even_points(points, size)] - middle).astype(np.float32) for size in (_FEW_POINTS, _FINE_POINTS)
        )
        rough = np.stack(
            [_scores(_placed(self._few[:poses], sizes, _yaw(turn, yaws))[0], few) for turn in range(yaws)], axis=1
        )
        chosen: set[tuple[int, int]] = set()  # of a body and a turn in halves of steps
        for side in range(SIDES):
            turns = [turn for turn in range(yaws) if turn * SIDES // yaws == side]
            order = np.argsort(rough[:, turns], axis=None, kind="stable")[:count]
            for number, place in zip(*np.unravel_index(order, (len(rough), len(turns))), strict=True):
                chosen |= {(int(number), (2 * turns[place] + beside) % (2 * yaws)) for beside in (-1, 0, 1)}
        out = []
        for turn in range(2 * yaws):
            numbers = sorted(number for number, its in chosen if its == turn)
            if not numbers:
                continue
            rotation = _yaw(turn, 2 * yaws)
            placed, moves = _placed(self._fine[numbers], sizes[numbers], rotation)
            side = turn * SIDES // (2 * yaws)
            out += [
                Tried(float(score), number, rotation, middle + move, float(sizes[number]), side)
                for number, score, move in zip(numbers, _scores(placed, fine), moves, strict=True)
            ]
        return sorted(out, key=lambda found: found.score)


def spread_of(points: Array) -> float:
    """Root mean square distance from the mean [m]."""
    away = points - points.mean(axis=0)
    return float(np.sqrt(np.vecdot(away, away).mean()))


def _yaw(turn: int, turns: int) -> Array:
    return turn_about(np.array([0.0, 1.0, 0.0]), turn * (2.0 * np.pi / turns))


def _placed(bodies: Array, sizes: Array, rotation: Array) -> tuple[Array, Array]:
    """(B, N, 3) bodies, larger and turned, whose middle is in the origin, and the (B, 3) moves there: a middle is that
    of the extent of points that stray nowhere, and of their mean."""
    turned = sizes[:, None, None] * (bodies @ rotation.T.astype(np.float32))
    moves = -0.25 * (turned.min(axis=1) + turned.max(axis=1)) - 0.5 * turned.mean(axis=1)
    return turned + moves[:, None], moves.astype(np.float64)


def _scores(bodies: Array, points: Array) -> Array:
    """(B,) of (B, N, 3) bodies: mean distance of (M, 3) points from each, and half that of the other way."""
    ones = np.ones((*bodies.shape[:2], 1), np.float32)
    left = np.concatenate([bodies, np.vecdot(bodies, bodies)[..., None], ones], axis=2)  # (B, N, 5)
    right = np.concatenate([-2.0 * points, np.ones((len(points), 1)), np.vecdot(points, points)[:, None]], axis=1)
    right = np.ascontiguousarray(right.T, np.float32)
    out = np.empty(len(bodies))
    step = max(1, _AT_ONCE // (bodies.shape[1] * len(points)))
    for begin in range(0, len(bodies), step):
        some = left[begin : begin + step]
        square = (some.reshape(-1, 5) @ right).reshape(*some.shape[:2], -1)  # (B, N, M)
        out[begin : begin + step] = _mean(square.min(axis=1)) + _BACK * _mean(square.min(axis=2))
    return out


def _mean(square: Array) -> Array:
    """(B,) means of distances, far ones cut, of (B, K) squares."""
    return np.sqrt(np.clip(square, 0.0, _FAR_M**2)).mean(axis=1)
