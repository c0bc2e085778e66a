"""Where to begin: bodies in a few poses, turned about the vertical, of which those are taken that lie best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.alignment import UPS, turn_onto
from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.jointed import JointedBodies, LaidBody
from bodystream.body.fitting.landmarks import KnownPlaces
from bodystream.body.fitting.lineup import SIDES, SIZES, Lineup, Tried, spread_of
from bodystream.body.fitting.placed import Placement
from bodystream.body.fitting.scan import ScanPoints, even_points
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["Start", "StartPoses", "neutral_start"]

_POSES, _SPREAD, _DRAWN_SEED = 40, 0.75, 0
_YAWS, _LOOKED_AT = 12, 16
"""Turns that bodies are compared in, and how many of each side are compared with more points."""
_SCAN_POINTS, _BODY_POINTS = 500, 700
_FAR_M = 0.3
_REFINED, _ROUNDS = 8, 8
_LAID, _FINE, _FOLLOWED = 6, 2, 2
_ROUGH_M, _FINE_M = (0.3, 0.3, 0.25, 0.2, 0.15, 0.1), (0.2, 0.15, 0.15, 0.1, 0.1, 0.08, 0.08, 0.06, 0.06)
"""Of each side so many are laid on the scan by their joints in a few rounds, so many of each in some more, and so many
of the best ones get codes."""
_FEW_POSES, _FEW_YAWS, _FEW_LOOKED_AT = 14, 8, 3
_BETTER_TURNED = 0.75
_ELSEWHERE_M, _MUCH_WORSE = 0.04, 1.3
"""How far apart two starts are at least on average, and how much worse than the best one another is at most."""
_AHEAD, _ALONG = np.array([0.0, 0.0, -1.0]), 0.3
_ENOUGH = 3
"""Landmarks that say where a body is."""


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
        self._lineup = Lineup(self.bodies)

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
        usual = self._lineup.best(points, _FEW_YAWS, _FEW_LOOKED_AT, _FEW_POSES)[0].score
        for axis, turn in UPS.items():
            found = self._lineup.best(points @ turn.T, _FEW_YAWS, _FEW_LOOKED_AT, _FEW_POSES)[0].score
            if found < _BETTER_TURNED * usual:
                raise InputError(
                    f"{where}: {axis} seems to be up, and y must be: say --up {axis}, or turn the scan, that of "
                    "somebody who lies, too"
                )

    def best(
        self, scan: ScanPoints, landmarks: KnownPlaces | None = None, *, facing: Array | None = None
    ) -> list[Start]:
        """The best starts of those that look to each side, best first; with three landmarks the best one of all.

        Of a bundle that knows joints they are two at most, in poses that differ, the second not much worse.

        Args:
            facing: (3,) a level unit vector along which somebody looks, roughly: of the surface that a camera sees,
                towards it. From one side people are hard to tell from those who look the other way. Starts that look
                elsewhere are left out, so that there may be none.
        """
        marked = landmarks is not None and len(landmarks.points) >= _ENOUGH
        some = slice(None, None, max(1, len(scan.chosen) // _SCAN_POINTS))
        points, normals = scan.chosen[some], None if scan.normals is None else scan.normals[some]
        if self._jointed is not None:
            return self._best_jointed(self._jointed, points, normals, landmarks, marked, facing)
        if marked and landmarks is not None:
            return [self._by_landmarks(landmarks)]
        tree, tried = KDTree(points), self._tried(points, facing)
        refined = []
        for side in range(SIDES):
            laid = []
            for found in [found for found in tried if found.side == side][:_REFINED]:
                body = found.size * self.bodies[found.number]
                score, rotation, move = _refined(tree, points, body, found.rotation, found.move)
                laid.append(Tried(score, found.number, rotation, move, found.size, side))
            refined += sorted(laid, key=lambda found: found.score)[:1]
        refined.sort(key=lambda found: found.score)
        return [self._start(found) for found in refined if _looks(found.rotation, facing)]

    def _tried(self, points: Array, facing: Array | None) -> list[Tried]:
        tried = self._lineup.best(points, _YAWS, _LOOKED_AT)
        return [found for found in tried if _looks(found.rotation, facing)]

    def _best_jointed(
        self, jointed: JointedBodies, points: Array, normals: Array | None, landmarks: KnownPlaces | None, marked: bool,
        facing: Array | None,
    ) -> list[Start]:  # fmt: skip
        if marked and landmarks is not None:
            best = [jointed.laid(jointed.by_landmarks(landmarks), points, normals, landmarks)]
        else:
            tried, fine = self._tried(points, facing), []
            for side in range(SIDES):
                mine = [found for found in tried if found.side == side][:_LAID]
                states = (jointed.state(found.number, found.rotation, found.move, found.size) for found in mine)
                laid = [jointed.laid(state, points, normals, reaches_m=_ROUGH_M) for state in states]
                laid.sort(key=lambda found: found.score_m)
                fine += [jointed.laid(one.state, points, normals, landmarks, reaches_m=_FINE_M) for one in laid[:_FINE]]
            fine = [one for one in fine if _looks(one.state.rotations[0], facing)]
            fine.sort(key=lambda found: found.score_m)
            best = _distinct(jointed, fine, _FOLLOWED)
        out = []
        for found in best[:_FOLLOWED]:
            codes, placement = jointed.codes(found.state)
            out.append(Start(codes, placement, found.score_m))
            self.made += 10
        return out

    def _by_landmarks(self, landmarks: KnownPlaces) -> Start:
        """The body whose own places of the landmarks lie best on them."""
        best: Tried | None = None
        everywhere = np.ones(len(landmarks.points), bool)
        wanted = landmarks.points - landmarks.points.mean(axis=0)
        for number, whole in enumerate(self._whole):
            own = landmarks.weights @ whole
            middle = own.mean(axis=0)
            size = float(np.clip(spread_of(wanted) / max(spread_of(own), 1e-6), *SIZES))
            rotation = turn_onto(own, wanted, everywhere).T
            off = size * (own - middle) @ rotation.T - wanted
            score = float(np.sqrt(np.vecdot(off, off).mean()))
            if best is None or score < best.score:
                best = Tried(score, number, rotation, landmarks.points.mean(axis=0) - size * rotation @ middle, size, 0)
        assert best is not None
        return self._start(best)

    def _start(self, found: Tried) -> Start:
        shape = ((found.size - 1.0) * self._grown).astype(np.float32)
        move = found.move - found.rotation @ self._middle
        return Start(BodyCodes(shape, self._codes[found.number].pose), Placement(found.rotation, move), found.score)


def _looks(rotation: Array, facing: Array | None) -> bool:
    """Whether a body that is turned so looks along a vector, roughly."""
    return facing is None or float(facing @ rotation @ _AHEAD) > _ALONG


def _distinct(jointed: JointedBodies, laid: Sequence[LaidBody], count: int) -> list[LaidBody]:
    """The first ones that are elsewhere than those before, and are not much worse than the very first."""
    out: list[LaidBody] = []
    placed: list[Array] = []
    for one in laid:
        at = jointed.placed(one.state)
        if one.score_m > _MUCH_WORSE * laid[0].score_m or len(out) == count:
            break
        if all(np.linalg.norm(at - other, axis=1).mean() > _ELSEWHERE_M for other in placed):
            out.append(one)
            placed.append(at)
    return out


def _growing(decoder: BodyDecoder, neutral: Array) -> Array:
    """(S,) change of the shape code by which the mean body grows as a whole, per share of its size: the shortest one,
    to first order."""
    about = neutral - neutral.mean(axis=0)
    bar, _ = decoder.pull_back(about / np.vecdot(about, about).sum())
    return bar / (bar @ bar)


def _some(scan: ScanPoints) -> Array:
    return scan.chosen[:: max(1, len(scan.chosen) // _SCAN_POINTS)]


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
