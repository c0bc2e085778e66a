"""Which pieces of surface are one person, where an arm, a leg or the lap hides what joins them."""

from __future__ import annotations

import cv2
import numpy as np

from bodystream.foreground.components import Component
from bodystream.types import Array

__all__ = ["come_off", "grown", "is_whole"]

_GAPS_CELLS = (2, 4)  # the cut takes one, and a camera measures nothing just beside an edge
_LEAST_CONTACT = 6  # pairs of cells
_REACH_M = 0.8  # of an arm before the body
_MOST_AREA_M2, _MOST_LENGTH_M = 0.8, 2.2  # of one person
_WHOLE_AREA_M2, _WHOLE_LENGTH_M = 0.25, 1.2  # what is as large as that may stand alone
_MOST_LIMBS = 0.5  # of the rest of the body: arms and hands before it
_TWO_AREA_M2, _TWO_RATIO, _TWO_OVERLAP = 0.3, 0.4, 0.6  # what is so large, alike and side by side is two people
_KNOWN = 0.3  # of its cells: what was there before is no part that has just come off
_ASIDE_M = 0.25  # so far beside the larger piece may the middle of the smaller be


def is_whole(members: list[Component]) -> bool:
    """Whether pieces together are as large as most of a standing person, so that they need not be a part of one."""
    return _area(members) >= _WHOLE_AREA_M2 and _length(_points(members)) >= _WHOLE_LENGTH_M


def grown(group: list[Component], others: list[Component], labels: Array, depth_m: Array) -> list[Component]:
    """The others that are one person with a group of pieces, across the jumps of depth between them.

    They adjoin in the image, with less than an arm's reach of depth between them, and are together no larger than one
    person. A whole person takes only limbs before it; a part of one takes the rest. Two wholes, and two alike that are
    side by side, stay apart.

    Args:
        labels: (h, w) int32, of the pieces. depth_m: (h, w) [m].
    """
    if not others:
        return []
    pieces, n = [*group, *others], len(group)
    contact, jump_m = _contacts(pieces, labels, depth_m)
    own, waiting = list(range(n)), list(range(n, len(pieces)))
    while True:
        touching = contact[own].sum(axis=0)
        behind_m = jump_m[own].sum(axis=0) / np.maximum(touching, 1)
        for i in sorted((i for i in waiting if touching[i] >= _LEAST_CONTACT), key=lambda i: abs(behind_m[i])):
            if _belongs([pieces[j] for j in own], pieces[i], behind_m[i]):
                own.append(i)
                waiting.remove(i)
                break
        else:
            return [pieces[j] for j in own[n:]]


def come_off(
    group: list[Component], others: list[Component], labels: Array, depth_m: Array, beside: Array
) -> list[Component]:
    """The others that a group of pieces has lost since the frame before: limbs that moved before it, however fast.

    They adjoin it in the image, less than an arm's reach nearer, and nothing else was there: what was hidden behind the
    body is farther, and what comes in from elsewhere was seen before it comes near.

    Args:
        labels, depth_m: as for `grown`. beside: (n,) flat indices of what was beside the body a frame ago.
    """
    if not others:
        return []
    known = np.zeros(labels.shape, np.uint8)
    known.ravel()[beside] = 1
    known = cv2.dilate(known, np.ones((9, 9), np.uint8))
    rim = np.ones(labels.shape, bool)
    rim[1:-1, 1:-1] = False
    contact, jump_m = _contacts([*group, *others], labels, depth_m)
    n = len(group)
    found = []
    for i, piece in enumerate(others, n):
        touching = contact[:n, i].sum()
        if touching < _LEAST_CONTACT or not -_REACH_M < jump_m[:n, i].sum() / touching < 0:
            continue
        own = labels == piece.label
        if not (own & rim).any() and np.count_nonzero(known[own]) < _KNOWN * piece.pixels:
            found.append(piece)
    return found


def _contacts(pieces: list[Component], labels: Array, depth_m: Array) -> tuple[Array, Array]:
    """(n, n) pairs of neighbouring cells of two pieces within reach, and the sum of how far the second is behind."""
    n = len(pieces)
    order = np.zeros(int(labels.max()) + 1, np.uint8)
    order[[c.label for c in pieces]] = np.arange(1, n + 1)
    rank = order[labels]
    x, y, width, height = cv2.boundingRect(rank)
    crop = slice(y, y + height), slice(x, x + width)
    rank, depth_m = rank[crop], depth_m[crop]
    count, total = np.zeros((n + 1) ** 2), np.zeros((n + 1) ** 2)
    for k in _GAPS_CELLS:
        for here, there in ((np.s_[k:], np.s_[:-k]), (np.s_[:, k:], np.s_[:, :-k])):
            a, b = rank[here], rank[there]
            at = np.nonzero((a != b) & (np.minimum(a, b) > 0))
            behind = (depth_m[there][at] - depth_m[here][at]).astype(np.float64)
            near = np.abs(behind) < _REACH_M
            key = (a[at].astype(np.intp) * (n + 1) + b[at])[near]
            count += np.bincount(key, minlength=len(count))
            total += np.bincount(key, weights=behind[near], minlength=len(total))
    count, total = count.reshape(n + 1, n + 1)[1:, 1:], total.reshape(n + 1, n + 1)[1:, 1:]
    return count + count.T, total - total.T


def _belongs(group: list[Component], piece: Component, behind_m: float) -> bool:
    """Whether a piece that adjoins the group, so far behind it, is of the same person."""
    own, other = _points(group), piece.points
    area, both = _area(group), _area([*group, piece])
    along = _axis(np.concatenate([own, other]))
    across = np.array([-along[1], along[0]])
    a, b = _span(own[:, :2] @ along), _span(other[:, :2] @ along)
    if both > _MOST_AREA_M2 or max(a[1], b[1]) - min(a[0], b[0]) > _MOST_LENGTH_M:
        return False
    large, small = (own, other) if area >= piece.area_m2 else (other, own)
    left, right = _span(large[:, :2] @ across)
    if not left - _ASIDE_M < np.median(small[:, :2] @ across) < right + _ASIDE_M:
        return False
    if is_whole(group):
        return behind_m < 0 and piece.area_m2 < _MOST_LIMBS * area
    if is_whole([piece]):
        return behind_m > 0 and area < _MOST_LIMBS * piece.area_m2
    overlap = (min(a[1], b[1]) - max(a[0], b[0])) / max(min(a[1] - a[0], b[1] - b[0]), 1e-6)
    alike = min(area, piece.area_m2) > _TWO_RATIO * max(area, piece.area_m2)
    return not (both > _TWO_AREA_M2 and alike and overlap > _TWO_OVERLAP)


def _area(pieces: list[Component]) -> float:
    return sum(c.area_m2 for c in pieces)


def _points(pieces: list[Component]) -> Array:
    return np.concatenate([c.points for c in pieces])


def _axis(points: Array) -> Array:
    """(2,) unit vector across the image along which the points spread most."""
    return np.linalg.eigh(np.cov(points[:, :2].T))[1][:, 1]


def _span(values: Array) -> tuple[float, float]:
    ranked = np.sort(values)
    return float(ranked[int(0.05 * len(ranked))]), float(ranked[int(0.95 * len(ranked))])


def _length(points: Array) -> float:
    low, high = _span(points[:, :2] @ _axis(points))
    return high - low
