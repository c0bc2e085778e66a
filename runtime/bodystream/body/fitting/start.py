"""Where to begin: bodies in a few poses, turned about the vertical, of which those are taken that lie best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from bodystream.body.alignment import UPS, turn_onto
from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.jointed import JointedBodies
from bodystream.body.fitting.landmarks import KnownPlaces
from bodystream.body.fitting.placed import Placement
from bodystream.body.fitting.scan import ScanPoints, even_points
from bodystream.errors import InputError
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array

__all__ = ["Start", "StartPoses", "neutral_start"]

_POSES, _SPREAD, _DRAWN_SEED = 40, 0.75, 0
_SIZES = (0.7, 1.15)
"""Of people, beside the mean one."""
_YAWS = 24
_SCAN_POINTS, _BODY_POINTS = 500, 700
_FAR_M = 0.3
_REFINED, _ROUNDS = 8, 8
_LAID, _FINE, _FOLLOWED = 4, 2, 2
_ROUGH_M, _FINE_M = (0.3, 0.3, 0.25, 0.2, 0.15, 0.1), (0.2, 0.15, 0.15, 0.1, 0.1, 0.08, 0.08, 0.06, 0.06)
"""Of each side so many are laid on the scan by their joints in a few rounds, so many of each in some more, and so many
of the best ones get codes."""
_SIDES = 4
"""To each of which a start looks: people are hard to tell from behind, and from the side."""
_CELL_M = 0.04
_FEW_POSES, _FEW_YAWS = 14, 8
_BETTER_TURNED = 0.75
_ENOUGH = 3
"""Landmarks that say where a body is."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """A body of `StartPoses`, made larger and laid on points by `size * body @ rotation.T + move`."""

    score: float
    number: int
    rotation: Array
    move: Array
    size: float
    side: int


@dataclass(frozen=True, slots=True)
class Start:
    """A body to begin with.

    Attributes:
        codes: of it. placement: of it. score_m: mean distance of both from each other, far ones cut [m].
    """

    codes: BodyCodes
    placement: Placement
    score_m: float


def neutral_start(decoder: BodyDecoder, points: Array) -> Start:
    """The mean body in the neutral pose, in the middle of (N, 3) points [m], looking along +z, as who faces a camera
    that looks along -z."""
    turn = np.diag([-1.0, 1.0, -1.0])
    codes = BodyCodes(np.zeros(decoder.facts.shape, np.float32), np.zeros(decoder.facts.pose, np.float32))
    body = decoder.vertices(codes.shape) @ turn.T
    low, high = np.percentile(points, (1.0, 99.0), axis=0)
    move = 0.5 * (low + high) - 0.5 * (body.min(axis=0) + body.max(axis=0))
    return Start(codes, Placement(turn, move), np.inf)


class StartPoses:
    """Bodies in poses to begin with, made once: the mean body posed by its joints, or, of a bundle that knows none, out
    of pose codes as they are usual in the embedding, the neutral one first.

    Args:
        decoder: makes them.

    Attributes:
        made: how many bodies were decoded.
    """

    def __init__(self, decoder: BodyDecoder) -> None:
        self._jointed = None if decoder.skin is None else JointedBodies(decoder)
        if self._jointed is not None:
            self.bodies, self.made = self._jointed.bodies(), 1
        else:
            self._draw(decoder)
        self._spreads = [_spread(body) for body in self.bodies]
        self._near = [_Nearness(body) for body in self.bodies]

    def _draw(self, decoder: BodyDecoder) -> None:
        rng = np.random.default_rng(_DRAWN_SEED)
        facts = decoder.facts
        drawn = _SPREAD * rng.standard_normal((_POSES, facts.pose)).astype(np.float32)
        shape = np.zeros(facts.shape, np.float32)
        self._codes = [BodyCodes(shape, pose) for pose in (np.zeros(facts.pose, np.float32), *drawn)]
        neutral = decoder.vertices(shape)
        self._grown = _growing(decoder, neutral)
        bodies = [neutral, *(decoder.vertices(codes.shape, codes.pose) for codes in self._codes[1:])]
        self._middle = decoder.space.reference.mean(axis=0)
        self._whole = [body - self._middle for body in bodies]
        some = even_points(neutral, _BODY_POINTS)
        self.bodies = [body[some] for body in self._whole]
        self.made = len(self._codes)

    def check_upright(self, scan: ScanPoints, where: str) -> None:
        """Refuse a scan on which bodies lie far better when it is turned.

        Raises:
            InputError: says which axis seems to be up.
        """
        points = _some(scan)
        usual = self._tried(points, _FEW_POSES, _FEW_YAWS)[0].score
        for axis, turn in UPS.items():
            found = self._tried(points @ turn.T, _FEW_POSES, _FEW_YAWS)[0].score
            if found < _BETTER_TURNED * usual:
                raise InputError(
                    f"{where}: {axis} seems to be up, and y must be: say --up {axis}, or turn the scan, that of "
                    "somebody who lies, too"
                )

    def best(self, scan: ScanPoints, landmarks: KnownPlaces | None = None) -> list[Start]:
        """The best start of those that look to each side, best first; with three landmarks the best one of all."""
        marked = landmarks is not None and len(landmarks.points) >= _ENOUGH
        some = slice(None, None, max(1, len(scan.chosen) // _SCAN_POINTS))
        points, normals = scan.chosen[some], None if scan.normals is None else scan.normals[some]
        if self._jointed is not None:
            return self._best_jointed(self._jointed, points, normals, landmarks, marked)
        if marked and landmarks is not None:
            return [self._by_landmarks(landmarks)]
        tree, tried = KDTree(points), self._tried(points, len(self.bodies), _YAWS)
        refined = []
        for side in range(_SIDES):
            laid = []
            for found in [found for found in tried if found.side == side][:_REFINED]:
                body = found.size * self.bodies[found.number]
                score, rotation, move = _refined(tree, points, body, found.rotation, found.move)
                laid.append(_Tried(score, found.number, rotation, move, found.size, side))
            refined.append(min(laid, key=lambda found: found.score))
        refined.sort(key=lambda found: found.score)
        return [self._start(found) for found in refined]

    def _best_jointed(
        self, jointed: JointedBodies, points: Array, normals: Array | None, landmarks: KnownPlaces | None, marked: bool
    ) -> list[Start]:  # fmt: skip
        if marked and landmarks is not None:
            best = [jointed.laid(jointed.by_landmarks(landmarks), points, normals, landmarks)]
        else:
            tried, best = self._tried(points, len(self.bodies), _YAWS), []
            for side in range(_SIDES):
                mine = [found for found in tried if found.side == side][:_LAID]
                states = (jointed.state(found.number, found.rotation, found.move, found.size) for found in mine)
                laid = [jointed.laid(state, points, normals, reaches_m=_ROUGH_M) for state in states]
                laid.sort(key=lambda found: found.score_m)
                fine = [jointed.laid(one.state, points, normals, landmarks, reaches_m=_FINE_M) for one in laid[:_FINE]]
                best.append(min(fine, key=lambda found: found.score_m))
            best.sort(key=lambda found: found.score_m)
        out = []
        for found in best[:_FOLLOWED]:
            codes, placement = jointed.codes(found.state)
            out.append(Start(codes, placement, found.score_m))
            self.made += 10
        return out

    def _tried(self, points: Array, poses: int, yaws: int) -> list[_Tried]:
        """Bodies laid on points, turned about the vertical, best first."""
        near, spread = _Nearness(points), _spread(points)
        # A scan may have strays, which its extent is without.
        middle = 0.5 * (np.percentile(points, (2.0, 98.0), axis=0).mean(axis=0) + points.mean(axis=0))
        out = []
        for number in range(min(poses, len(self.bodies))):
            size = float(np.clip(spread / self._spreads[number], *_SIZES))
            for turn in range(yaws):
                rotation = turn_about(np.array([0.0, 1.0, 0.0]), turn * (2.0 * np.pi / yaws))
                placed = size * self.bodies[number] @ rotation.T
                move = middle - _middle(placed)
                back = size * self._near[number]((points - move) @ rotation / size)
                score = float(back.mean() + 0.5 * near(placed + move).mean())
                out.append(_Tried(score, number, rotation, move, size, turn * _SIDES // yaws))
        return sorted(out, key=lambda found: found.score)

    def _by_landmarks(self, landmarks: KnownPlaces) -> Start:
        """The body whose own places of the landmarks lie best on them."""
        best: _Tried | None = None
        everywhere = np.ones(len(landmarks.points), bool)
        wanted = landmarks.points - landmarks.points.mean(axis=0)
        for number, whole in enumerate(self._whole):
            own = landmarks.weights @ whole
            middle = own.mean(axis=0)
            size = float(np.clip(_spread(wanted) / max(_spread(own), 1e-6), *_SIZES))
            rotation = turn_onto(own, wanted, everywhere).T
            off = size * (own - middle) @ rotation.T - wanted
            score = float(np.sqrt(np.vecdot(off, off).mean()))
            if best is None or score < best.score:
                best = _Tried(
                    score, number, rotation, landmarks.points.mean(axis=0) - size * rotation @ middle, size, 0
                )
        assert best is not None
        return self._start(best)

    def _start(self, found: _Tried) -> Start:
        shape = ((found.size - 1.0) * self._grown).astype(np.float32)
        move = found.move - found.rotation @ self._middle
        return Start(BodyCodes(shape, self._codes[found.number].pose), Placement(found.rotation, move), found.score)


def _growing(decoder: BodyDecoder, neutral: Array) -> Array:
    """(S,) change of the shape code by which the mean body grows as a whole, per share of its size: the shortest one,
    to first order."""
    about = neutral - neutral.mean(axis=0)
    bar, _ = decoder.pull_back(about / np.vecdot(about, about).sum())
    return bar / (bar @ bar)


def _spread(points: Array) -> float:
    """Root mean square distance from the mean [m]."""
    return float(np.sqrt(np.vecdot(points - points.mean(axis=0), points - points.mean(axis=0)).mean()))


def _some(scan: ScanPoints) -> Array:
    return scan.chosen[:: max(1, len(scan.chosen) // _SCAN_POINTS)]


class _Nearness:
    """Distances from points, cut at `_FAR_M`, looked up in a grid: to within a cell."""

    def __init__(self, points: Array) -> None:
        self._low = points.min(axis=0) - _FAR_M
        self._shape = np.ceil((points.max(axis=0) + _FAR_M - self._low) / _CELL_M).astype(np.int64) + 1
        free = np.ones(self._shape, bool)
        free[tuple(((points - self._low) / _CELL_M + 0.5).astype(np.int64).T)] = False
        away = np.asarray(distance_transform_edt(free, sampling=_CELL_M))
        self._away = np.minimum(away, _FAR_M).ravel()

    def __call__(self, points: Array) -> Array:
        """(N,) distances of (N, 3) points [m]."""
        cell = np.floor((points - self._low) / _CELL_M + 0.5).astype(np.int64)
        inside = ((cell >= 0) & (cell < self._shape)).all(axis=1)
        out = np.full(len(points), _FAR_M)
        out[inside] = self._away[np.ravel_multi_index(tuple(cell[inside].T), tuple(self._shape))]
        return out


def _middle(points: Array) -> Array:
    """(3,) in the middle of the extent of points that stray nowhere, and of their mean."""
    return 0.25 * (points.min(axis=0) + points.max(axis=0)) + 0.5 * points.mean(axis=0)


def _score(tree: KDTree, scan: Array, body: Array) -> float:
    there, back = np.asarray(tree.query(body)[0]), np.asarray(KDTree(body).query(scan)[0])
    return float(np.minimum(back, _FAR_M).mean() + 0.5 * np.minimum(there, _FAR_M).mean())


def _refined(tree: KDTree, scan: Array, body: Array, rotation: Array, move: Array) -> tuple[float, Array, Array]:
    """Score, rotation and move after a few rounds of ICP of the body as it is, far pairs left out."""
    for _ in range(_ROUNDS):
        placed = body @ rotation.T + move
        away, nearest = (np.asarray(found) for found in KDTree(placed).query(scan))
        other, back = (np.asarray(found) for found in tree.query(placed))
        p = np.concatenate([placed[nearest], placed])
        q = np.concatenate([scan, scan[back]])
        d = np.concatenate([away, other])
        weight = 1.0 / (1.0 + (d / 0.1) ** 2) ** 2
        weight[len(scan) :] *= 0.5
        weight /= weight.sum()
        p0, q0 = weight @ p, weight @ q
        left, _, right = np.linalg.svd(((p - p0) * weight[:, None]).T @ (q - q0))
        left[:, 2] *= np.sign(np.linalg.det(left @ right))
        turn = (left @ right).T
        rotation, move = turn @ rotation, turn @ (move - p0) + q0
    return _score(tree, scan, body @ rotation.T + move), rotation, move
