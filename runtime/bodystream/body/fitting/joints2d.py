"""A body fitted to the joints of somebody in a picture (DHNN, Jiang et al., 2020, eq. 16)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.keypoint_places import HingeLoss, keypoint_weights
from bodystream.body.fitting.placed import PlacedBody, Placement
from bodystream.body.fitting.rates import PlaceRates, place_rates
from bodystream.body.fitting.search import minimised
from bodystream.body.fitting.surface_loss import robust
from bodystream.errors import InputError
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FEWEST_KEYPOINTS", "PictureFit", "fit_keypoints", "reprojection_loss"]

FEWEST_KEYPOINTS = 6
_TORSO = (("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"))
_SIGMA_SHARE = 0.01
"""How far a detector's keypoints are off, as a share of the person's extent in the picture."""
_SCALE_SHARES = (0.2, 0.06)
"""Beyond which keypoints count less, first and later; the same shares."""
_HINGE_WEIGHT = 400.0
"""lambda_g of eq. 16."""
_CURVED = 4.0
"""Times as far off as they are in the curvature of the searches."""
_POSES, _SPREAD, _SEED, _YAWS, _SIDES = 24, 0.8, 0, 12, 4
_DEPTH_WEIGHT = 0.05
_STEPS = (20, 25, 60)
_FOLLOWED = 2
_NEAREST_M = 0.2
_FACING = np.diag([-1.0, -1.0, 1.0])
"""From the embedding's axes (y up, -z ahead) to a camera's (y down, z forward) of somebody who looks into it."""


@dataclass(frozen=True)
class PictureFit:
    """A body in a picture.

    Attributes:
        codes: of it. placement: in the camera's axes. vertices: (V, 3) in these [m].
        projected_px: (K, 2) of the keypoints' places on it. distances_px: (K,) of the keypoints from these.
        evaluations: bodies that were made. seconds: it took.
    """

    codes: BodyCodes
    placement: Placement
    vertices: Array
    projected_px: Array
    distances_px: Array
    evaluations: int
    seconds: float


def reprojection_loss(
    weights: Array, points_px: Array, confidence: Array, camera: CameraIntrinsics, sigma_px: float, scale_px: float
) -> Callable[[Array], tuple[float, Array]]:
    """The first term of eq. 16: squared distances in the picture over their variance, by the penalty of Geman and
    McClure, each as much as it is confident.

    Args:
        weights: (K, V) of `keypoint_weights`. points_px: (K, 2). confidence: (K,).
        sigma_px: deviation. scale_px: distances beyond it count less.

    Returns:
        Of (V, 3) vertices in the camera's axes the loss and its (V, 3) derivatives.
    """
    focal = np.array([camera.fx, camera.fy])

    def loss(vertices: Array) -> tuple[float, Array]:
        places = weights @ vertices
        depth = np.maximum(places[:, 2], _NEAREST_M)[:, None]
        off = focal * places[:, :2] / depth + (camera.cx, camera.cy) - points_px
        value, slope = robust(np.vecdot(off, off), scale_px)
        share = confidence / sigma_px**2
        off_bar = 2.0 * (share * slope)[:, None] * off
        bar = np.empty_like(places)
        bar[:, :2] = off_bar * focal / depth
        inside = places[:, 2] > _NEAREST_M
        bar[:, 2] = np.where(inside, -np.vecdot(off_bar, focal * places[:, :2]) / depth[:, 0] ** 2, 0.0)
        return float(share @ value), weights.T @ bar

    return loss


def fit_keypoints(
    decoder: BodyDecoder, names: tuple[str, ...], points_px: Array, confidence: Array, camera: CameraIntrinsics,
    where: str = "the picture",
) -> PictureFit:  # fmt: skip
    """Codes and placement of the body whose joints are seen at given points of a picture.

    Bodies in usual poses, turned about the vertical, are moved to where their joints come nearest in the picture, which
    is a linear system, held by the depth at which the trunk is as long as it is seen. The best one that looks to each
    of four sides is fitted, and the best two of these for longer.

    Args:
        names: (K,) of the keypoints. points_px: (K, 2). confidence: (K,). where: what to call them in messages.

    Raises:
        InputError: too few keypoints, or these all in one place, or the bundle knows no joints.
        BundleError: the bundle has no derivatives.
    """
    began = time.perf_counter()
    if len(names) < FEWEST_KEYPOINTS:
        raise InputError(
            f"{where}: {len(names)} keypoints were found of the person, at least {FEWEST_KEYPOINTS} are needed"
        )
    extent = float(np.linalg.norm(np.ptp(points_px, axis=0)))
    if extent < 10.0:
        raise InputError(
            f"{where}: all keypoints are within {extent:.1f} px: give those of somebody who is seen larger"
        )
    decoder.open_gradient()
    search = _Search(decoder, names, points_px, confidence, camera, extent)
    starts = search.starts()
    rates = place_rates(decoder, starts[0][0], lambda vertices: search.weights @ vertices)
    tried = []
    for codes, placement in starts:
        tried.append(search.fitted(codes, placement, rates, _SCALE_SHARES[0], _STEPS[0]))
    tried.sort(key=lambda one: one[0])
    tried = [search.fitted(*one[1:], rates, _SCALE_SHARES[1], _STEPS[1]) for one in tried[:_FOLLOWED]]
    _, codes, placement = min(tried, key=lambda one: one[0])
    rates = place_rates(decoder, codes, lambda vertices: search.weights @ vertices)
    _, codes, placement = search.fitted(codes, placement, rates, _SCALE_SHARES[1], _STEPS[2])
    vertices = placement.applied(decoder.vertices(codes.shape, codes.pose))
    projected = project(search.weights @ vertices, camera)
    return PictureFit(
        codes, placement, vertices, projected, np.linalg.norm(projected - points_px, axis=1), search.evaluations,
        time.perf_counter() - began,
    )  # fmt: skip


class _Search:
    """What all searches of one picture share."""

    def __init__(
        self, decoder: BodyDecoder, names: tuple[str, ...], points_px: Array, confidence: Array,
        camera: CameraIntrinsics, extent: float,
    ) -> None:  # fmt: skip
        self._decoder, self._names, self._camera, self._extent = decoder, names, camera, extent
        self._points, self._confidence = points_px, confidence
        self.weights = keypoint_weights(decoder, names)
        self._hinges = HingeLoss(decoder)
        self.evaluations = 0

    def starts(self) -> list[tuple[BodyCodes, Placement]]:
        """The best body in a usual pose that looks to each side."""
        rng, facts = np.random.default_rng(_SEED), self._decoder.facts
        nobody = np.zeros(facts.shape, np.float32)
        poses = [np.zeros(facts.pose, np.float32)]
        poses += list(_SPREAD * rng.standard_normal((_POSES, facts.pose)).astype(np.float32))
        best: dict[int, tuple[float, BodyCodes, Placement]] = {}
        for pose in poses:
            own = self.weights @ self._decoder.vertices(nobody, pose)
            for turn in range(_YAWS):
                rotation = _FACING @ turn_about(np.array([0.0, 1.0, 0.0]), turn * (2.0 * np.pi / _YAWS))
                placed = Placement(rotation, self._moved(own @ rotation.T))
                off = project(placed.applied(own), self._camera) - self._points
                off = np.where(np.isfinite(off), off, self._extent)
                value, _ = robust(np.vecdot(off, off), _SCALE_SHARES[0] * self._extent)
                score, side = float(self._confidence @ value), turn * _SIDES // _YAWS
                if side not in best or score < best[side][0]:
                    best[side] = score, BodyCodes(nobody, pose), placed
        return [(codes, placement) for _, codes, placement in sorted(best.values(), key=lambda one: one[0])]

    def _moved(self, own: Array) -> Array:
        """(3,) where a body whose keypoints are (K, 3) in the camera's axes comes nearest to the picture: of each
        keypoint x + t_x = u (z + t_z), and alike for y."""
        camera = self._camera
        u = (self._points - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        rows, right = np.zeros((2 * len(own) + 1, 3)), np.zeros(2 * len(own) + 1)
        for axis in range(2):
            part = slice(axis * len(own), (axis + 1) * len(own))
            rows[part, axis], rows[part, 2] = self._confidence, -self._confidence * u[:, axis]
            right[part] = self._confidence * (u[:, axis] * own[:, 2] - own[:, axis])
        rows[-1, 2] = _DEPTH_WEIGHT
        right[-1] = _DEPTH_WEIGHT * self._depth(own, u)
        found = np.linalg.lstsq(rows, right, rcond=None)[0]
        found[2] = max(found[2], _NEAREST_M - own[:, 2].min() + 0.1)
        return found

    def _depth(self, own: Array, u: Array) -> float:
        """At which the trunk, or else the whole person, is as large as it is seen."""
        rows = {name: row for row, name in enumerate(self._names)}
        pairs = [(rows[a], rows[b]) for a, b in _TORSO if a in rows and b in rows]
        if pairs:
            long = max(float(np.linalg.norm(own[a] - own[b])) for a, b in pairs)
            seen = max(float(np.linalg.norm(u[a] - u[b])) for a, b in pairs)
        else:
            long, seen = (float(np.linalg.norm(np.ptp(points, axis=0))) for points in (own[:, :2], u))
        return long / max(seen, 1e-6) - float(own[:, 2].mean())

    def fitted(
        self, codes: BodyCodes, placement: Placement, rates: PlaceRates, scale_share: float, evaluations: int
    ) -> tuple[float, BodyCodes, Placement]:
        """What so many evaluations find from a start, and its loss."""
        sigma = _SIGMA_SHARE * self._extent
        term = reprojection_loss(
            self.weights, self._points, self._confidence, self._camera, sigma, scale_share * self._extent
        )
        body = PlacedBody(self._decoder, placement)
        count = body.size - 6

        def loss(unknowns: Array) -> tuple[float, Array]:
            vertices = body.vertices(unknowns)
            value, vertices_bar = term(vertices)
            bent, bent_bar = self._hinges(vertices)
            bar = body.pull_back(unknowns, vertices_bar + _HINGE_WEIGHT * bent_bar)
            own = unknowns[:count]
            bar[:count] += 2.0 * own
            return value + _HINGE_WEIGHT * bent + float(own @ own), bar

        start = body.unknowns(codes)
        best, value = minimised(loss, start, evaluations, self._curvature(rates, placement, sigma, count))
        self.evaluations += body.evaluations
        return value, body.codes(best), body.placement(best)

    def _curvature(self, rates: PlaceRates, placement: Placement, sigma_px: float, count: int) -> Array:
        """Second derivatives of the first term, as Gauss and Newton have them, and of the codes' squares."""
        camera, places = self._camera, placement.applied(rates.places)
        depth = np.maximum(places[:, 2], _NEAREST_M)
        seen = np.zeros((len(places), 2, 3))
        seen[:, 0, 0], seen[:, 1, 1] = camera.fx / depth, camera.fy / depth
        seen[:, :, 2] = -places[:, :2] * (camera.fx, camera.fy) / depth[:, None] ** 2
        by_unknowns = seen @ rates.by_unknowns(placement)
        weights = np.sqrt(2.0 * self._confidence) / (_CURVED * sigma_px)
        rows = (weights[:, None, None] * by_unknowns).reshape(2 * len(places), -1)
        return rows.T @ rows + 2.0 * np.diag(np.r_[np.ones(count), np.full(6, 1e-4)])
