"""A body fitted to a scan: a start is found, and then codes and placement are sought that lay it on the scan."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from bodystream.body.decoder import BodyDecoder
from bodystream.body.fitting.curvature import SeenCurvature
from bodystream.body.fitting.landmarks import KnownPlaces
from bodystream.body.fitting.placed import PlacedBody
from bodystream.body.fitting.result import FittedBody
from bodystream.body.fitting.scan import ScanPoints
from bodystream.body.fitting.search import minimised
from bodystream.body.fitting.start import Start, StartPoses
from bodystream.body.fitting.surface_loss import SurfaceLoss
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["SurfaceStage", "fit_surface", "stages_for"]


@dataclass(frozen=True, slots=True)
class SurfaceStage:
    """How far the search looks for a while.

    Attributes:
        scale_m: distances beyond it count less.
        weight: of the mean squared distance [1/m^2], beside the squares of the codes.
        landmark_share: what landmarks weigh beside the scan.
        evaluations: bodies that are made at most.
        step: every so many points of the scan are looked at.
        doubted: starts go on whose loss is less than so many times that of the best one; 1: only that one.
        curved: whether it goes on with the curvature that stages before have seen.
    """

    scale_m: float
    weight: float
    landmark_share: float
    evaluations: int
    step: int = 1
    doubted: float = 1.0
    curved: bool = True


_STAGES = (
    SurfaceStage(0.3, 5e4, 2.0, 7, 4, doubted=1.5, curved=False),
    SurfaceStage(0.15, 2e5, 2.0, 8, 4, doubted=1.15, curved=False),
    SurfaceStage(0.08, 1e6, 1.0, 9, 2),
    SurfaceStage(0.04, 5e6, 0.2, 11),
    SurfaceStage(0.03, 2e7, 0.05, 13),
)
_NEAR_STAGES = (SurfaceStage(0.04, 5e6, 0.2, 18), SurfaceStage(0.03, 2e7, 0.05, 18))
"""Of a body that is near: no curvature has been seen yet."""
_CAREFUL_STAGES = tuple(
    replace(stage, curved=False, evaluations=most) for stage, most in zip(_STAGES, (7, 8, 12, 18, 20), strict=True)
)
"""Where a surface may show one side only. How thick the body is it does not say: a search that goes on with what it has
seen makes leaps there, to bodies as thin as paper, so it is to begin each stage carefully."""
_SIDED_WEIGHT = 1e5
"""The most that distances weigh where one side is all that is shown: a closed surface holds the codes by all that is
around, a front alone does not, and half a millimetre of its noise would be paid for by a body a third too thin."""
_ONE_SIDED = 0.2
"""Of the normals' mean, which of a closed surface is nearly nothing."""
_FOLLOWED = 2
"""Starts that go on after the first stage."""
_WORST_MEAN_M = 0.04


def fit_surface(
    decoder: BodyDecoder, scan: ScanPoints, landmarks: KnownPlaces | None = None, *, start: Start | None = None,
    near: bool = False, poses: StartPoses | None = None, where: str = "the scan",
) -> FittedBody:  # fmt: skip
    """Codes and placement of the body that lies on a scan.

    Args:
        scan: see `scan_points`.
        landmarks: places of the body that are known on it.
        start: to begin with instead of looking for one. near: whether it is within some centimetres of the scan.
        poses: to choose a start from, for who fits many scans; None makes them.
        where: what to call the scan in messages.

    Raises:
        InputError: it stands along another axis than y, or no body lies on it.
        BundleError: the bundle has no derivatives.
    """
    began = time.perf_counter()
    decoder.open_gradient()
    made = 0
    if start is None:
        if poses is None:
            poses = StartPoses(decoder)
            made += poses.made
        poses.check_upright(scan, where)
        starts = poses.best(scan, landmarks)
    else:
        starts = [start]
    searches = [_Search(decoder, scan, landmarks, one) for one in starts]
    tried = searches
    for stage in stages_for(scan, near):
        for search in tried:
            search.run(stage)
        tried = sorted(tried, key=lambda search: search.best)
        tried = [one for one in tried[:_FOLLOWED] if one is tried[0] or one.best < stage.doubted * tried[0].best]
    search = tried[0]
    unknowns = search.unknowns
    vertices = search.body.vertices(unknowns)
    search.terms.surface.move(vertices)
    distances = search.terms.surface.distances(scan.points)
    _check_person(distances, scan, landmarks is not None, where)
    return FittedBody(
        search.body.codes(unknowns), search.body.placement(unknowns), vertices,
        distances, made + sum(each.body.evaluations for each in searches),
        time.perf_counter() - began,
    )  # fmt: skip


def stages_for(scan: ScanPoints, near: bool) -> tuple[SurfaceStage, ...]:
    """How a scan is searched for; `near`: see `fit_surface`. Of points without normals nobody knows which side of them
    is seen: they may be of all."""
    sided = scan.normals is not None and float(np.linalg.norm(scan.normals.mean(0))) > _ONE_SIDED
    if not sided and scan.normals is not None:
        return _NEAR_STAGES if near else _STAGES
    careful = tuple(replace(stage, curved=False) for stage in _NEAR_STAGES) if near else _CAREFUL_STAGES
    return tuple(replace(stage, weight=min(stage.weight, _SIDED_WEIGHT)) for stage in careful) if sided else careful


def _check_person(distances: Array, scan: ScanPoints, marked: bool, where: str) -> None:
    """Refuse what no body lies on.

    Raises:
        InputError: says how far the nearest body is off.
    """
    mean = float(distances.mean())
    if mean <= _WORST_MEAN_M:
        return
    remedy = "look whether landmarks are where they should be" if marked else "give --landmarks, if it is one"
    raise InputError(
        f"{where} seems to be no person: the nearest body that was found is {1e3 * mean:.0f} mm from its points on "
        f"average, at most {1e3 * _WORST_MEAN_M:.0f} are taken; leave out what is no person, as the floor, and {remedy}"
    )


class _Search:
    """The loss of one scan about one start.

    Attributes:
        unknowns: the best so far. best: its loss in the last stage.
    """

    def __init__(self, decoder: BodyDecoder, scan: ScanPoints, landmarks: KnownPlaces | None, start: Start) -> None:
        self.body = PlacedBody(decoder, start.placement)
        self.unknowns, self.best = self.body.unknowns(start.codes), np.inf
        self.terms = SurfaceLoss(scan, self.body.vertices(self.unknowns), decoder.space.faces, landmarks)
        self._codes = self.body.size - 6
        self._curvature = SeenCurvature(np.r_[np.full(self._codes, 2.0), np.zeros(6)])

    def run(self, stage: SurfaceStage) -> None:
        """Search for the length of a stage."""
        self.terms.weigh(self.body.vertices(self.unknowns))
        seen: list[Array] = []
        bars: list[Array] = []

        def loss(unknowns: Array) -> tuple[float, Array]:
            value, bar = self._loss(unknowns, stage)
            seen.append(unknowns.copy())
            bars.append(bar.copy())
            return value, bar

        curvature = self._curvature.at(stage.weight) if stage.curved else None
        self.unknowns, self.best = minimised(loss, self.unknowns, stage.evaluations, curvature)
        self._curvature.saw(seen, bars, stage.weight)

    def _loss(self, unknowns: Array, stage: SurfaceStage) -> tuple[float, Array]:
        """Weighted distances and squares of the codes, and derivatives."""
        vertices = self.body.vertices(unknowns)
        value, vertices_bar = self.terms(vertices, stage.scale_m, stage.landmark_share, stage.step)
        bar = self.body.pull_back(unknowns, stage.weight * vertices_bar)
        codes = unknowns[: self._codes]
        bar[: self._codes] += 2.0 * codes
        return stage.weight * value + float(codes @ codes), bar
