"""A first guess for large motion: one affine map of the masked source, from sparse features."""

from __future__ import annotations

import cv2
import numpy as np

from bodystream.correspondence.images import pixel_grid
from bodystream.types import Array

__all__ = [
    "affine_flow",
    "aligning_flows",
    "better_of",
    "estimate_affine",
    "extend_flow",
    "local_flow",
    "match_features",
    "returning_guess",
]

_MIN_MATCHES = 12
_MIN_INLIERS = 10
_CONFIRMING_SHARE = 0.125  # of a match's neighbours; two thirds of all matches are wrong on a plain fabric


def match_features(source: Array, target: Array, mask: Array, *, features: int = 3000) -> tuple[Array, Array]:
    """Mutually nearest ORB features of the masked source and the target.

    Args:
        source, target: (H, W) uint8.
        mask: (H, W) bool of the source.

    Returns:
        (n, 2) source and (n, 2) target pixels; n = 0 where there is no texture. Many are wrong.
    """
    detector = cv2.ORB.create(nfeatures=features, fastThreshold=5)
    source_points, source_words = detector.detectAndCompute(source, mask.astype(np.uint8) * 255)
    target_points, target_words = detector.detectAndCompute(target, np.full_like(target, 255))
    if source_words is None or target_words is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(source_words, target_words)
    a = np.array([source_points[m.queryIdx].pt for m in matches]).reshape(-1, 2)
    b = np.array([target_points[m.trainIdx].pt for m in matches]).reshape(-1, 2)
    return a, b


def estimate_affine(a: Array, b: Array, *, threshold_px: float = 12.0, seed: int = 1) -> Array | None:
    """The (2, 3) affine map from source to target pixels that most matches agree with, by RANSAC.

    Deformation stays within `threshold_px` of the map for inliers, so the threshold is wide: the map only has to bring
    the rest within reach of a local search.

    Returns:
        None where too few matches agree, or the map is degenerate (mirrors, or changes area more than fourfold).
    """
    if len(a) < _MIN_MATCHES:
        return None
    cv2.setRNGSeed(seed)
    affine, inliers = cv2.estimateAffine2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=threshold_px, maxIters=5000)
    if affine is None or int(inliers.sum()) < _MIN_INLIERS:
        return None
    area = float(np.linalg.det(affine[:, :2]))
    return affine if 0.25 < area < 4.0 else None


def local_flow(a: Array, b: Array, shape: tuple[int, int], *, reach_px: float = 60.0, agree: int = 4) -> Array | None:
    """A smooth flow through the matches that their neighbours confirm: for motion that no single map describes.

    Two matches agree when their displacements differ by at most 3 px plus a quarter of their distance; a match needs
    `agree` such neighbours, and an eighth of all neighbours.

    Returns:
        (H, W, 2) float32, or None where fewer than 10 matches are confirmed.
    """
    if len(a) < _MIN_MATCHES:
        return None
    apart = np.linalg.norm(a[:, None] - a[None], axis=2)
    differ = np.linalg.norm((b - a)[:, None] - (b - a)[None], axis=2)
    near = (apart < reach_px) & ~np.eye(len(a), dtype=bool)
    confirmed = np.count_nonzero(near & (differ < 3.0 + 0.25 * apart), axis=1)
    good = (confirmed >= agree) & (confirmed > _CONFIRMING_SHARE * np.count_nonzero(near, axis=1))
    if good.sum() < _MIN_INLIERS:
        return None
    flow = np.zeros((*shape, 2), np.float32)
    weight = np.zeros(shape, np.float32)
    u, v = np.rint(a[good]).astype(int).T
    flow[v, u] = (b - a)[good]
    weight[v, u] = 1.0
    smooth = extend_flow(flow, weight)
    return cv2.GaussianBlur(smooth, (0, 0), reach_px / 6)


def affine_flow(affine: Array, shape: tuple[int, int]) -> Array:
    """The (H, W, 2) float32 flow of a (2, 3) affine map."""
    u = np.arange(shape[1], dtype=np.float32)
    v = np.arange(shape[0], dtype=np.float32)[:, None]
    m = affine.astype(np.float32)
    flow = np.empty((*shape, 2), np.float32)
    flow[..., 0] = (m[0, 0] - 1) * u + m[0, 1] * v + m[0, 2]
    flow[..., 1] = m[1, 0] * u + (m[1, 1] - 1) * v + m[1, 2]
    return flow


def aligning_flows(source: Array, target: Array, mask: Array) -> list[Array]:
    """First guesses from sparse features: of one affine map, and smooth through the matches; those that are found.

    Args:
        source, target: (H, W) uint8. mask: (H, W) bool of the source.

    Returns:
        up to two flows, (H, W, 2) float32.
    """
    a, b = match_features(source, target, mask)
    affine, smooth = estimate_affine(a, b), local_flow(a, b, source.shape[:2])
    found = [] if affine is None else [affine_flow(affine, source.shape[:2])]
    return found if smooth is None else [*found, smooth]


def better_of(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Flow (h, w, 2) and weight (h, w), each pixel from the search that its neighbourhood believes more."""
    take = cv2.blur(second[1], (31, 31)) > cv2.blur(first[1], (31, 31))
    return np.where(take[..., None], second[0], first[0]), np.where(take, second[1], first[1])


def extend_flow(flow_px: Array, weight: Array, *, smallest: int = 4) -> Array:
    """Fill a flow where it is not known, smoothly, from where it is (normalised pull and push over a pyramid).

    Args:
        flow_px: (H, W, 2); ignored where weight is 0, so it may be nan there.
        weight: (H, W) >= 0.

    Returns:
        (H, W, 2) float32, `flow_px` itself where weight >= 1; 0 if no weight is positive.
    """
    known = np.clip(weight, 0, 1).astype(np.float32)
    carried = np.where(known[..., None] > 0, flow_px, 0).astype(np.float32) * known[..., None]
    return _pull_push(carried, known, smallest)


def returning_guess(flow_px: Array, weight: Array, cell_px: int, *, step_px: int = 4) -> Array:
    """The flow that leads back, in cells, as the first guess of a search in the other direction.

    Args:
        flow_px: (H, W, 2), finite. weight: (H, W) >= 0, how much each pixel counts.
        step_px: every so manieth pixel is looked at.

    Returns:
        (H / cell_px, W / cell_px, 2) float32 [px]; 0 if no weight is positive.
    """
    rows, columns = (length // cell_px for length in weight.shape)
    flow, share = flow_px[::step_px, ::step_px], np.asarray(weight[::step_px, ::step_px], np.float32)
    at = (flow + pixel_grid(*weight.shape)[::step_px, ::step_px]) * np.float32(1 / cell_px)
    column, row = np.floor(at).astype(np.int64).transpose(2, 0, 1)
    counts = (share > 0) & (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
    place = row[counts] * columns + column[counts]
    sums = [
        np.bincount(place, values, rows * columns).reshape(rows, columns)
        for values in (share[counts], *(-flow[counts] * share[counts, None]).T)
    ]
    known = sums[0] > 0
    mean = np.stack([np.divide(part, sums[0], out=np.zeros((rows, columns)), where=known) for part in sums[1:]], axis=2)
    return extend_flow(mean, known.astype(np.float32))


def _pull_push(carried: Array, known: Array, smallest: int) -> Array:
    """The weighted mean of each level, and where its weight falls short of 1, that of the next coarser level."""
    own = np.divide(carried, known[..., None], out=np.zeros_like(carried), where=known[..., None] > 1e-6)
    height, width = known.shape
    if min(height, width) <= smallest:
        total = float(known.sum())
        mean = carried.sum(axis=(0, 1)) / total if total > 1e-6 else np.zeros(2, np.float32)
        return np.where(known[..., None] > 1e-6, own, mean).astype(np.float32)
    # A coarse pixel with one known pixel under it counts as known: mean of 4 pixels, weight up to 4 times.
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse_carried = cv2.resize(carried, half, interpolation=cv2.INTER_AREA)
    coarse_known = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    gain = np.minimum(4.0, 1.0 / np.maximum(coarse_known, 1e-6)).astype(np.float32)
    coarse = _pull_push(coarse_carried * gain[..., None], coarse_known * gain, smallest)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return own * known[..., None] + fine * (1 - known[..., None])
