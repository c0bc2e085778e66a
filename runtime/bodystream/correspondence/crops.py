"""Windows of frames for networks of fixed size: where they lie, when they move, and what they show.

A window is `downscale` times as large as the network's image, a whole number, and its corner lies on a multiple of
eight of the image's pixels. So each pixel of the image is a square of whole pixels of the frame, each cell of the
network is one of whole pixels of the image, and neither flow nor guess has to be resampled between two grids that do
not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from bodystream.types import Array, CameraIntrinsics

__all__ = [
    "CELL",
    "Box",
    "CropWindow",
    "WindowKeeper",
    "fit_window",
    "guess_in",
    "landing_near",
    "mask_box",
    "subject_by_depth",
]

CELL = 8
"""Pixels of the network's image per cell of its coarsest grid."""

_SUBJECT_M = 0.3
_LANDING_PX = 16

Size = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels u0 <= u < u1, v0 <= v < v1 of a frame."""

    u0: int
    v0: int
    u1: int
    v1: int

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.u0, other.u0), min(self.v0, other.v0), max(self.u1, other.u1), max(self.v1, other.v1)
        )  # fmt: skip

    def grown(self, margin_px: int, shape: Shape) -> Box:
        """Wider by `margin_px` on each side, within a frame of this (H, W)."""
        height, width = shape[:2]
        return Box(
            max(0, self.u0 - margin_px), max(0, self.v0 - margin_px),
            min(width, self.u1 + margin_px), min(height, self.v1 + margin_px),
        )  # fmt: skip

    def shifted(self, u_px: int, v_px: int) -> Box:
        """The same box elsewhere."""
        return Box(self.u0 + u_px, self.v0 + v_px, self.u1 + u_px, self.v1 + v_px)

    def holds(self, other: Box) -> bool:
        """Whether `other` lies within."""
        return self.u0 <= other.u0 and self.v0 <= other.v0 and self.u1 >= other.u1 and self.v1 >= other.v1


def mask_box(mask: Array) -> Box | None:
    """The bounding box of a (H, W) bool mask, None if it is empty."""
    u, v, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Box(u, v, u + width, v + height) if width and height else None


@dataclass(frozen=True, slots=True)
class CropWindow:
    """A window of a frame, which may reach beyond it.

    Attributes:
        u, v: its first pixel in the frame, multiples of `CELL * downscale`.
        size: (width, height) of the image that is made of it [px].
        downscale: pixels of the frame along each pixel of the image.
    """

    u: int
    v: int
    size: Size
    downscale: int

    @property
    def box(self) -> Box:
        k = self.downscale
        return Box(self.u, self.v, self.u + k * self.size[0], self.v + k * self.size[1])

    @property
    def cost(self) -> tuple[int, int]:
        """What is less the better: first that pixels are small, then that there are few of them."""
        return self.downscale, self.size[0] * self.size[1]

    def finer(self, factor: int) -> CropWindow:
        """The same part of the frame in an image with so many times as many pixels along each axis.

        Args:
            factor: a divisor of `downscale`.
        """
        width, height = self.size
        return replace(self, size=(width * factor, height * factor), downscale=self.downscale // factor)

    def shifted(self, u_px: int, v_px: int) -> CropWindow:
        """The same window elsewhere, as near as its grid allows."""
        step = CELL * self.downscale
        return replace(self, u=self.u + round(u_px / step) * step, v=self.v + round(v_px / step) * step)

    def camera(self, intrinsics: CameraIntrinsics) -> CameraIntrinsics:
        """That of the image, of a frame with these intrinsics."""
        k, small, (width, height) = self.downscale, intrinsics.scaled(1 / self.downscale), self.size
        return replace(small, cx=small.cx - self.u / k, cy=small.cy - self.v / k, width=width, height=height)

    def cut(self, image: Array, *, averaged: bool = False) -> Array:
        """(h, w) or (h, w, C) of the image, 0 beyond the frame and in squares that lie in it by a part only.

        Args:
            image: (H, W) or (H, W, C) of the frame.
            averaged: over the square of each pixel; else its middle one is taken.
        """
        k, (width, height) = self.downscale, self.size
        out = np.zeros((height, width, *image.shape[2:]), image.dtype)
        in_frame, in_crop = self._overlap(image.shape)
        part = image[in_frame]
        if part.size == 0:
            return out
        if k > 1 and averaged:
            part = cv2.resize(part, (part.shape[1] // k, part.shape[0] // k), interpolation=cv2.INTER_AREA)
        elif k > 1:
            part = part[(k - 1) // 2 :: k, (k - 1) // 2 :: k]
        out[in_crop] = part
        return out

    def put(self, values: Array, out: Array) -> None:
        """Write what was found for the pixels of the image, (h, w) or (h, w, C), to those of a frame's squares.

        Args:
            out: one entry for each square of `downscale` x `downscale` pixels of the frame.
        """
        k, (width, height) = self.downscale, self.size
        column, row = self.u // k, self.v // k
        rows = slice(max(0, row), max(0, min(out.shape[0], row + height)))
        columns = slice(max(0, column), max(0, min(out.shape[1], column + width)))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        out[rows, columns] = values[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]

    def _overlap(self, shape: Shape) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The squares that lie whole in the frame: in it, and in the image."""
        k = self.downscale
        in_frame, in_crop = [], []
        for begin, length, extent in ((self.v, self.size[1], shape[0]), (self.u, self.size[0], shape[1])):
            low = max(0, begin)
            high = max(low, min(begin + k * length, extent // k * k))
            in_frame.append(slice(low, high))
            in_crop.append(slice((low - begin) // k, (high - begin) // k))
        return tuple(in_frame), tuple(in_crop)


def fit_window(
    box: Box, shape: Shape, sizes: Sequence[Size], least_downscale: int = 1, multiple: int = 1
) -> CropWindow:
    """The window around a box with the smallest pixels, and of those the one with the fewest.

    Args:
        box: within the frame. shape: (H, W) of the frame.
        sizes: (width, height) of the images that there is a network for.
        least_downscale: its pixels are at least this large.
        multiple: of which its downscale is one.
    """
    downscale = -(-max(1, least_downscale) // multiple) * multiple
    while True:
        for size in sorted(sizes, key=lambda size: (size[0] * size[1], size)):
            u = _origin(box.u0, box.u1, downscale * size[0], shape[1], CELL * downscale)
            v = _origin(box.v0, box.v1, downscale * size[1], shape[0], CELL * downscale)
            if u is not None and v is not None:
                return CropWindow(u, v, size, downscale)
        downscale += multiple


def _origin(low: int, high: int, length: int, extent: int, step: int) -> int | None:
    """A multiple of `step` where a span of this length has [low, high) in its middle and leaves the frame least."""
    first, last = -(-(high - length) // step) * step, low // step * step
    if first > last:
        return None
    wanted = min(max(0, (low + high - length) // 2), max(0, extent - length))
    return min(max(round(wanted / step) * step, first), last)


class WindowKeeper:
    """Keeps one window over many pairs, since features belong to it.

    It moves when what is looked at comes nearer to its border than `near_px`, and when a better one, with twice the
    margin, has fitted for `patience` pairs.

    Args:
        sizes: see `fit_window`.
        margin_px: around what is looked at when the window moves [px of the network's image].
        multiple: see `fit_window`.

    Attributes:
        window: of the last pair. moves: how often it was chosen.
    """

    near_px = 4
    patience = 30

    def __init__(self, sizes: Sequence[Size], margin_px: int, multiple: int = 1) -> None:
        self._sizes, self._margin_px, self._multiple = tuple(sizes), margin_px, multiple
        self.window: CropWindow | None = None
        self._shape: Shape = ()
        self._better = 0
        self.moves = 0

    def step(self, box: Box, shape: Shape, least_downscale: int) -> CropWindow:
        """The window for a pair.

        Args:
            box: what is looked at in both frames. shape: (H, W) of the frames.
            least_downscale: see `fit_window`.
        """
        kept = self.window
        if kept is not None and self._shape == shape and kept.downscale >= least_downscale:
            if kept.box.holds(box.grown(self.near_px * kept.downscale, shape)):
                roomy = self._fit(box, shape, least_downscale, 2 * self._margin_px)
                self._better = self._better + 1 if roomy.cost < kept.cost else 0
                if self._better < self.patience:
                    return kept
        self.window = self._fit(box, shape, least_downscale, self._margin_px)
        self._shape, self._better = shape, 0
        self.moves += 1
        return self.window

    def _fit(self, box: Box, shape: Shape, least_downscale: int, margin_px: int) -> CropWindow:
        grown = box.grown(margin_px * least_downscale, shape)
        return fit_window(grown, shape, self._sizes, least_downscale, self._multiple)


def guess_in(guess_px: Array, cell_px: int, window: CropWindow) -> Array:
    """A flow of the frame at the cells of the network, (h / 8, w / 8, 2) float32 in pixels of its image.

    Between the squares of the guess it is bilinear: where a cell is a square, or two by two of them, it is their mean.

    Args:
        guess_px: (rows, columns, 2) for each square of `cell_px` pixels of the frame, finite.
    """
    k, (width, height) = window.downscale, window.size
    step = CELL * k / cell_px
    # of the middle of the first cell, among the middles of the squares
    first = [(begin + 0.5 * CELL * k) / cell_px - 0.5 for begin in (window.u, window.v)]
    there = np.array([[step, 0.0, first[0]], [0.0, step, first[1]]])
    cells = cv2.warpAffine(
        np.asarray(guess_px, np.float32), there, (width // CELL, height // CELL),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return cells * np.float32(1 / k)


def subject_by_depth(depth_m: Array, subject_depths_m: Array) -> Array:
    """What is about as far away as the subject was, (H, W) bool: where no mask says what the subject is.

    Args:
        depth_m: (H, W), 0 = not measured.
        subject_depths_m: (N,) of the subject in the other frame; where there are none, nothing is found.
    """
    if subject_depths_m.size == 0:
        return np.zeros(depth_m.shape, bool)
    low, high = np.quantile(subject_depths_m, (0.02, 0.98))
    return (depth_m > low - _SUBJECT_M) & (depth_m < high + _SUBJECT_M)


def landing_near(mask: Array, guess_px: Array, cell_px: int) -> Array:
    """Where a flow takes the pixels of a mask, and some way around it: (H, W) bool.

    Args:
        mask: (H, W) bool.
        guess_px: (rows, columns, 2) for each square of `cell_px` pixels of the frame, finite.
    """
    height, width = mask.shape
    v, u = np.nonzero(mask[::2, ::2])
    ends = np.rint(np.stack([u, v], axis=1) * 2 + guess_px[2 * v // cell_px, 2 * u // cell_px])
    inside = (ends >= 0).all(axis=1) & (ends[:, 0] < width) & (ends[:, 1] < height)
    landed = np.zeros(mask.shape, np.uint8)
    columns, rows = ends[inside].astype(np.int64).T
    landed[rows, columns] = 1
    reach = max(1, round(_LANDING_PX * width / 640))
    return cv2.dilate(landed, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)).view(bool)
