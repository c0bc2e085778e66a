"""Bodies fitted to sparse markers: one shape for a sequence, found in a few frames, then pose after pose.

DHNN (Jiang et al., 2020), sec. 8, "Reconstruction with Sparse Constraints": eq. 15 of the markers alone. That markers
stand off the skin, and sit where the person who put them on found the place, is as MoSh has it (Loper et al., 2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.body.alignment import turn_onto
from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.marker_places import MarkerPlaces
from bodystream.body.fitting.placed import Placement
from bodystream.body.fitting.rates import PlaceRates, place_rates
from bodystream.body.fitting.sequence import FollowedFrame, FrameLoss, PoseFollower, Steadiness, shared_shape
from bodystream.body.fitting.surface_loss import robust
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["FEWEST_MARKERS", "MarkerFit", "MarkerFrame", "key_frames", "marker_loss"]

FEWEST_MARKERS = 6
"""In a frame, with which a pose is told."""
_SIGMA_M = 0.006
"""How far markers are from their places on the right body: by the cameras, by skin that moves, by the embedding."""
_SCALES_M = (0.3, 0.08)
"""Beyond which markers count less, first and later."""
_KEYS = 4
_POSES, _SPREAD, _SEED = 32, 0.8, 0
_FIRST, _SECOND, _THIRD, _FOLLOWED = 40, 30, 50, 25
_STILL = 5e-3
_CURVED_M = 0.03
"""In the curvature of the searches, in the place of the markers' own deviation: farther steps than it allows are wrong,
since codes turn limbs."""
_LOST_M, _DOUBTED_M, _WORST_MEAN_M = 0.05, 0.015, 0.06
_MIRRORED = 0.6
_STEADINESS = Steadiness(pose=0.3, placement=0.02)


@dataclass(frozen=True)
class MarkerFrame:
    """A frame that was fitted.

    Attributes:
        number: of the given ones. codes, placement: of its body.
        distances_m: (M,) of each marker from its place, nan where it was not seen.
    """

    number: int
    codes: BodyCodes
    placement: Placement
    distances_m: Array


def marker_loss(places: MarkerPlaces, wanted: Array, scale_m: float = _SCALES_M[1]) -> FrameLoss:
    """Squared distances of the markers that were seen over their variance, of which far ones count less.

    Args:
        wanted: (M, 3) [m], nan where a marker was not seen. scale_m: distances beyond it count less.
    """
    seen = np.asarray(np.isfinite(wanted).all(axis=1))

    def loss(vertices: Array) -> tuple[float, Array]:
        off = np.where(seen[:, None], places(vertices) - wanted, 0.0)
        value, slope = robust(np.vecdot(off, off), scale_m)
        bar = places.pull_back(vertices, 2.0 / _SIGMA_M**2 * slope[:, None] * off)
        return float(value.sum()) / _SIGMA_M**2, bar

    return loss


def key_frames(points: Array, count: int = _KEYS) -> list[int]:
    """Frames that are spread over a sequence in which many markers were seen: of each part the one with most.

    Args:
        points: (T, M, 3), nan where a marker was not seen.

    Raises:
        InputError: none has enough.
    """
    seen = np.isfinite(points).all(axis=2).sum(axis=1)
    parts = np.array_split(np.arange(len(points)), min(count, len(points)))
    chosen = [int(part[seen[part].argmax()]) for part in parts]
    most = max(int(seen.max()), FEWEST_MARKERS)
    out = [number for number in chosen if seen[number] >= max(FEWEST_MARKERS, 0.6 * most)]
    if not out:
        raise InputError(
            f"no frame has {FEWEST_MARKERS} markers with a known place (at most {int(seen.max(initial=0))}): look at "
            "the labels, or give more of them places by --markers"
        )
    return out


class MarkerFit:
    """The fit of a sequence.

    Args:
        decoder: whose bundle has derivatives. places: of the markers. where: what to call the file in messages.
    """

    def __init__(self, decoder: BodyDecoder, places: MarkerPlaces, where: str = "the markers") -> None:
        decoder.open_gradient()
        self._decoder, self.places, self._where = decoder, places, where
        rng = np.random.default_rng(_SEED)
        facts = decoder.facts
        nobody = np.zeros(facts.shape, np.float32)
        drawn = _SPREAD * rng.standard_normal((_POSES, facts.pose)).astype(np.float32)
        self._poses = [BodyCodes(nobody, pose) for pose in (np.zeros(facts.pose, np.float32), *drawn)]
        self._own = [places(decoder.vertices(codes.shape, codes.pose)) for codes in self._poses]
        self.keys: list[int] = []

    def start(self, wanted: Array) -> tuple[BodyCodes, Placement, float]:
        """Of bodies in poses that are usual the one whose markers lie best on (M, 3) given ones, as it is; and their
        root mean square distance [m]."""
        seen = np.isfinite(wanted).all(axis=1)
        target = wanted[seen] - wanted[seen].mean(axis=0)
        best, everything = (np.inf, 0, np.eye(3)), np.ones(int(seen.sum()), bool)
        for number, own in enumerate(self._own):
            some = own[seen] - own[seen].mean(axis=0)
            turn = turn_onto(some, target, everything)
            away = some @ turn - target
            off = float(np.sqrt(np.vecdot(away, away).mean()))
            if off < best[0]:
                best = (off, number, turn.T)
        off, number, turn = best
        move = wanted[seen].mean(axis=0) - turn @ self._own[number][seen].mean(axis=0)
        return self._poses[number], Placement(turn, move), off

    def shape(self, points: Array) -> Array:
        """(S,) the shape, found in some frames that are spread out.

        Args:
            points: (T, M, 3) [m].

        Raises:
            InputError: no frame has enough markers, or they are mirrored, or nobody's.
        """
        self.keys = key_frames(points)
        found = self._found(points)
        self._rates = [place_rates(self._decoder, one.codes, self.places) for one in found]
        found = self._together(points, [(one.codes, one.placement) for one in found], _SCALES_M[1], _THIRD)
        mean = self._mean(points, found)
        if mean > _DOUBTED_M:
            self._check_mirrored(points, mean)
        if mean > _WORST_MEAN_M:
            raise InputError(
                f"{self._where}: the nearest body is {1e3 * mean:.0f} mm from its markers on average: look whether the "
                "labels are where they should be (--markers), and at the unit (--unit)"
            )
        self._keyed = dict(zip(self.keys, found, strict=True))
        return found[0].codes.shape

    def _found(self, points: Array) -> list[FollowedFrame]:
        """Bodies of the key frames, sought from usual poses."""
        starts = [self.start(points[key])[:2] for key in self.keys]
        self._rates = [place_rates(self._decoder, self._poses[0], self.places)] * len(starts)
        found = self._together(points, starts, _SCALES_M[0], _FIRST)
        self._rates = [place_rates(self._decoder, one.codes, self.places) for one in found]
        return self._together(points, [(one.codes, one.placement) for one in found], _SCALES_M[1], _SECOND)

    def _mean(self, points: Array, found: Sequence[FollowedFrame]) -> float:
        """Mean distance of the markers of the key frames [m]."""
        off = [self._off(one.vertices, points[key]) for key, one in zip(self.keys, found, strict=True)]
        return float(np.nanmean(off))

    def _check_mirrored(self, points: Array, mean: float) -> None:
        """Refuse markers that fit far better mirrored.

        Raises:
            InputError: they do.
        """
        other = points * (-1.0, 1.0, 1.0)
        mirrored = self._mean(other, self._found(other))
        if mirrored < _MIRRORED * mean:
            raise InputError(
                f"{self._where}: the markers are mirrored ({1e3 * mean:.0f} mm from the nearest body, and "
                f"{1e3 * mirrored:.0f} mm with the sign of an axis changed): labels of left and right are exchanged, "
                "or the axes are left-handed; change the sign of one axis where it was exported"
            )

    def _together(
        self, points: Array, starts: Sequence[tuple[BodyCodes, Placement]], scale_m: float, evaluations: int
    ) -> list[FollowedFrame]:
        losses = [marker_loss(self.places, points[key], scale_m) for key in self.keys]
        curvatures = [
            self._curvature(rates, placement, points[key])
            for rates, (_, placement), key in zip(self._rates, starts, self.keys, strict=True)
        ]
        return shared_shape(self._decoder, losses, starts, evaluations, curvatures)

    def _curvature(self, rates: PlaceRates, placement: Placement, wanted: Array) -> Array:
        return rates.curvature(placement, np.asarray(np.isfinite(wanted).all(axis=1), np.float64) / _CURVED_M**2)

    def _near(self, codes: BodyCodes) -> PlaceRates:
        """Of the key frame whose pose is nearest."""
        return min(self._rates, key=lambda rates: float(np.square(rates.codes.pose - codes.pose).sum()))

    def _off(self, vertices: Array, wanted: Array) -> Array:
        return np.linalg.norm(self.places(vertices) - wanted, axis=1)

    def frames(self, points: Array, t_s: Array, shape: Array) -> Iterator[MarkerFrame]:
        """The body in each frame that has enough markers, from the first key frame to the end and to the begin.

        Args:
            points: (T, M, 3) [m]. t_s: (T,). shape: of `shape`.
        """
        follower = PoseFollower(self._decoder, shape, _STEADINESS, _FOLLOWED, _STILL)
        first = self.keys[0]
        enough = np.isfinite(points).all(axis=2).sum(axis=1) >= FEWEST_MARKERS
        for order in (range(first, len(points)), range(first - 1, -1, -1)):
            found = self._keyed[first]
            follower.begin(float(t_s[first]), found.codes, found.placement)
            for number in order:
                if not enough[number]:
                    continue
                loss = marker_loss(self.places, points[number])
                bent = self._curvature(self._near(found.codes), found.placement, points[number])
                found = follower.tried(float(t_s[number]), loss, curvature=bent)
                if np.nanmean(self._off(found.vertices, points[number])) > _LOST_M:
                    found = self._anew(follower, float(t_s[number]), loss, points[number], found)
                follower.begin(float(t_s[number]), found.codes, found.placement)
                yield MarkerFrame(number, found.codes, found.placement, self._off(found.vertices, points[number]))

    def _anew(
        self, follower: PoseFollower, t_s: float, loss: FrameLoss, wanted: Array, found: FollowedFrame
    ) -> FollowedFrame:
        """The better one of what was followed and of a search from where bodies usually are."""
        codes, placement, _ = self.start(wanted)
        wide = marker_loss(self.places, wanted, _SCALES_M[0])
        for one, evaluations in ((wide, _FIRST), (loss, _SECOND)):
            bent = self._curvature(self._near(codes), placement, wanted)
            other = follower.tried(t_s, one, (codes, placement), evaluations, bent)
            codes, placement = other.codes, other.placement
        return other if other.loss < found.loss else found
