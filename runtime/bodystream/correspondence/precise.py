"""Flow to a fraction of a pixel: what a network says to within a pixel or two is aligned where it can be.

The method of Lucas and Kanade (1981) on a grid of points, by OpenCV: each point's window of the source is shifted until
it fits the target, and from there back, which should lead to where it began. A network compares features of several
pixels, which tells places that are far apart from one another, and not a tenth of a pixel; the images themselves do.
"""

from __future__ import annotations

from concurrent.futures import Executor

import cv2
import numpy as np

from bodystream.correspondence.images import pixel_grid
from bodystream.types import Array

__all__ = ["STRIDE_PX", "flattened", "precise_flow"]

STRIDE_PX = 4
"""Of the points; what lies between them moves with them."""

_WINDOW_PX = 7
_FLAT_PX = 15  # light changes over more than so many pixels
_STEPS = 3
_FARTHEST_PX = 3.0  # a window that went farther found something else
_LEAST_EIGENVALUE = 1e-4  # of the window's gradients, in OpenCV's units: less of them and noise decides
_RETURN_PX = 0.5  # standard deviation of where a window comes back to
_NOISE = 5.0  # of a camera [grey levels]
_UNKNOWN = np.float32(0.5)  # agreement of windows that show nothing
_CONTRAST = 0.5  # of a window's deviation, that is believed beside it


def flattened(image: Array, mask: Array) -> Array:
    """An image (h, w) uint8 without slow changes of light, of a subject alone.

    128 and what differs from the mean of the subject's pixels around; 128 beside the subject, whose background does not
    move with it.

    Args:
        mask: (h, w) bool, the subject.
    """
    size = (_FLAT_PX, _FLAT_PX)
    inside = mask.astype(np.float32)
    own = cv2.multiply(image, inside, dtype=cv2.CV_32F)
    mean = cv2.blur(own, size) / (cv2.blur(inside, size) + np.float32(1e-6))
    return cv2.addWeighted(own, 1.0, mean * inside, -1.0, 128.0, dtype=cv2.CV_8U)


def precise_flow(
    source: Array, target: Array, mask: Array, flow_px: Array, pool: Executor | None = None
) -> tuple[Array, Array]:
    """A flow that is about right, made precise, and how well source and target then agree.

    Args:
        source, target: (h, w) uint8, of `flattened`; h and w are multiples of STRIDE_PX.
        mask: (h, w) bool, where it is wanted.
        flow_px: (h, w, 2) float32 from source to target [px], finite.
        pool: does half of the work beside this thread; the answer is the same without one.

    Returns:
        (h, w, 2) float32; the same as before where nothing was found, for want of contrast or too far away.
        (h, w) float32 in [0, 1]: 1 where the windows are alike, as the photometric weight of `confidence`, and lead
        back; a half where they show nothing.
    """
    height, width = mask.shape
    every = slice(STRIDE_PX // 2, None, STRIDE_PX)
    at = every, every
    wanted = mask[at]
    points = pixel_grid(height, width)[at][wanted][:, None]
    agreement = np.zeros((*wanted.shape, 1), np.float32)
    steps = np.zeros((*wanted.shape, 3), np.float32)
    if len(points):
        expected = flow_px[at][wanted][:, None]
        half = len(points) // 2 if pool is not None else 0
        job = pool.submit(_there_and_back, source, target, points[:half], expected[:half]) if pool and half else None
        parts = [_there_and_back(source, target, points[half:], expected[half:])]
        if job is not None:
            parts.insert(0, job.result())
        ended, found, difference, returned, found_back = (np.concatenate(part) for part in zip(*parts, strict=True))
        step = (ended - points - expected)[:, 0]
        step[~found | (np.abs(step).max(axis=1) > _FARTHEST_PX)] = 0
        steps[wanted, :2], steps[wanted, 2] = step, 1
        alike = _alike(source, at, wanted, difference)
        gap_px = np.where(found_back, np.linalg.norm(returned - points, axis=2)[:, 0], np.float32(0))
        alike *= np.exp(-0.5 * (gap_px / np.float32(_RETURN_PX)) ** 2)
        agreement[wanted, 0] = np.where(found, alike, _UNKNOWN)
    size = (width, height)
    # Beside the mask nothing was looked for, which is no reason to go less far at its border.
    near = cv2.blur(steps, (3, 3))
    moved = np.where(wanted[..., None], steps, near / (near[..., 2:] + np.float32(1e-6)))[..., :2]
    moved = cv2.resize(moved, size, interpolation=cv2.INTER_LINEAR)
    return cv2.add(flow_px, moved), cv2.resize(agreement, size, interpolation=cv2.INTER_LINEAR)


def _there_and_back(source: Array, target: Array, points: Array, expected: Array) -> tuple[Array, ...]:
    """`_aligned` of points that are expected to move so far (N, 1, 2), and where it leads back to, and whether."""
    ended, found, difference = _aligned(source, target, points, points + expected)
    # from what was expected of the way, not from the points: a window that shows nothing would stay there
    returned, found_back, _ = _aligned(target, source, ended, ended - expected)
    return ended, found, difference, returned, found_back


def _aligned(source: Array, target: Array, points: Array, begun: Array) -> tuple[Array, Array, Array]:
    """Where the windows around points (N, 1, 2) of the source lie in the target, looked for from `begun` on.

    Returns:
        (N, 1, 2) float32; (N,) bool, whether there was contrast to go by; (N,) mean absolute difference of the windows
        [grey levels], 0 where there was none, of which OpenCV says nothing.
    """
    ended, found, difference = cv2.calcOpticalFlowPyrLK(
        source, target, points, begun.copy(),
        winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=0, criteria=(cv2.TERM_CRITERIA_COUNT, _STEPS, 0.0),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW, minEigThreshold=_LEAST_EIGENVALUE,
    )  # fmt: skip
    known = found[:, 0] > 0
    return ended, known, np.where(known, difference[:, 0], np.float32(0))


def _alike(source: Array, at: tuple[slice, slice], wanted: Array, difference: Array) -> Array:
    """(N,) weights of the points from the mean absolute difference of their windows [grey levels]."""
    size = (_WINDOW_PX, _WINDOW_PX)
    mean = cv2.blur(source, size)[at][wanted].astype(np.float32)
    square = cv2.sqrBoxFilter(source, cv2.CV_32F, size)[at][wanted]
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    rms = np.float32(np.sqrt(np.pi / 2)) * difference  # of normal noise
    return np.exp(-0.5 * (rms / (_NOISE + _CONTRAST * spread)) ** 2)
