"""What is remembered of the person or object from one frame to the next, and how it is parted from what it touches."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from bodystream.foreground.components import Component
from bodystream.types import Array, CameraIntrinsics

__all__ = ["NEARBY_M", "Memory", "Patch", "part"]

NEARBY_M = 0.5  # how far from where it was a lost body is recognised

_SAME_DEPTH_M = 0.25  # a surface that moves by more between two frames is taken for another
_STRANGER_DEPTH_M = 0.10  # the same of what the body is to be parted from: what moves there may be the body
_PART_M2 = 0.15  # arms without a body
_GONE_M = 0.05  # and farther by so much for each frame that it was lost for, where it is alike
_ALIKE = (0.4, 1.6)  # area of a body that is seen again over what it was at most
_HIDES_M, _HIDES = 0.75, 0.3  # what is so much nearer than so much of the body was stands before it
_AT_FIRST, _LOOK_EVERY = 6, 8  # frames
_MOST_SHIFT = 8.0  # cells per frame
_TOUCH = 0.15  # of the smaller of both: so much of a stranger in the body's piece means that they touch


@dataclass(frozen=True, slots=True)
class Patch:
    """Some cells of the coarse grid.

    Attributes:
        cells: (n,) flat indices. depth_m: (n,) there. shift: (2,) cells per frame, right and down, as it moved last.
    """

    cells: Array
    depth_m: Array
    shift: Array

    @classmethod
    def of(cls, mask: Array, depth_m: Array, before: Patch | None = None) -> Patch:
        """Those where `mask` (h, w) is not 0; its motion is measured from where it was before."""
        cells = np.flatnonzero(mask != 0)
        shift = np.zeros(2)
        # A patch whose size changes has come apart or together: its middle then moves without it.
        if before is not None and len(cells) and 0.8 < len(before.cells) / len(cells) < 1.25:
            width = mask.shape[1]
            moved = _middle(cells, width) - _middle(before.cells, width)
            shift = np.clip(0.5 * (before.shift + moved), -_MOST_SHIFT, _MOST_SHIFT)
        return cls(cells, depth_m.ravel()[cells], shift)

    def still_at(self, depth_m: Array, tolerance_m: float = _SAME_DEPTH_M) -> Array:
        """The cells at which depth is still much the same."""
        return self.cells[np.abs(depth_m.ravel()[self.cells] - self.depth_m) < np.float32(tolerance_m)]

    def moved_on(self, depth_m: Array, tolerance_m: float) -> Array:
        """(h, w) bool: where it is expected now, if depth there is much the same."""
        height, width = depth_m.shape
        columns, rows = np.round(self.shift).astype(int)
        i, j = np.divmod(self.cells, width)
        i, j = i + rows, j + columns
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        at = i[inside] * width + j[inside]
        out = np.zeros(depth_m.shape, bool)
        out.ravel()[at[np.abs(depth_m.ravel()[at] - self.depth_m[inside]) < np.float32(tolerance_m)]] = True
        return out


def _middle(cells: Array, width: int) -> Array:
    return np.array([(cells % width).mean(), (cells // width).mean()])


@dataclass(frozen=True, slots=True)
class Memory:
    """The person or object as it was last seen.

    Attributes:
        body: its cells. strangers: those of large pieces beside it.
        centre: (3,) [m].
        area_m2: decays slowly from its largest value, so that a body half out of the image is still known by its size.
        reach_m: nothing of it is farther from its centre; infinite for a body.
        strained: frames in a row whose outline was carried on.
        told: a mask of the user's said what it is.
        whole: it has been as large as a person, or a mask told all of it.
        age: frames that it has been followed for.
        beside: (n,) flat indices of the cells of all pieces beside it.
    """

    body: Patch
    strangers: Patch
    centre: Array
    area_m2: float
    reach_m: float = np.inf
    strained: int = 0
    told: bool = False
    whole: bool = False
    age: int = 0
    beside: Array = field(default_factory=lambda: np.zeros(0, np.intp))

    def in_part(self, settled_frames: int) -> bool:
        """Whether it may be a part of a person and is to be looked at: at first in each frame, then now and then, after
        some frames only while it is small."""
        due = self.age < _AT_FIRST or self.age % _LOOK_EVERY == 0
        return due and not self.whole and (self.age < settled_frames or self.area_m2 < _PART_M2)

    def hidden_by(self, depth_m: Array, labels: Array, nearer_m: float) -> Array:
        """(labels,) share of the body's cells before which each piece of (h, w) `labels` is seen, at least so near."""
        at = self.body.cells
        before = depth_m.ravel()[at] < self.body.depth_m - np.float32(nearer_m)
        counts = np.bincount(labels.ravel()[at][before], minlength=int(labels.max()) + 1)
        return counts / max(1, len(at))

    def nearest_alike(
        self, bodies: list[Component], depth_m: Array, labels: Array, within_m: float, missing: int
    ) -> Component | None:
        """The nearest to where it was; of a small thing, and far from there, only what is of its size.

        Args:
            depth_m: (h, w) [m]. labels: (h, w) of the pieces. missing: frames that it was lost for.
        """

        def away_m(c: Component) -> float:
            return float(np.linalg.norm(c.centre - self.centre))

        if np.isfinite(self.reach_m):
            bodies = [c for c in bodies if 0.4 < c.area_m2 / self.area_m2 < 2.5 and c.extent_m < 1.5 * self.reach_m]
            bodies = [c for c in bodies if away_m(c) < within_m]
        else:
            hidden = self.hidden_by(depth_m, labels, _HIDES_M)
            alike_m = within_m + _GONE_M * missing
            bodies = [
                c
                for c in bodies
                if hidden[c.label] < _HIDES
                and away_m(c) < (alike_m if _ALIKE[0] < c.area_m2 / self.area_m2 < _ALIKE[1] else NEARBY_M)
            ]
        return min(bodies, key=away_m) if bodies else None


def part(memory: Memory, mask: Array, depth_m: Array, camera: CameraIntrinsics) -> Array | None:
    """Part the body from strangers that have come into one piece with it: each cell goes to who was nearer to it.

    Args:
        mask: (h, w) uint8, the piece. depth_m: (h, w) [m]. camera: of the coarse grid.

    Returns:
        (h, w) uint8, 0 or 255: the body; None where no stranger of weight is in the piece.
    """
    strangers = memory.strangers
    if len(strangers.cells) == 0:
        return None
    inside = mask.ravel()
    within = np.count_nonzero(inside[strangers.still_at(depth_m, _STRANGER_DEPTH_M)])
    if within < _TOUCH * min(len(strangers.cells), len(memory.body.cells)):
        return None
    whole = mask != 0
    own = memory.body.moved_on(depth_m, _SAME_DEPTH_M) & whole
    other = strangers.moved_on(depth_m, _STRANGER_DEPTH_M) & whole
    own, other = own & ~other, other & ~own
    if not own.any() or not other.any():
        return None
    x, y, width, height = cv2.boundingRect(mask)
    crop = slice(y, y + height), slice(x, x + width)
    z = depth_m[crop]
    nearer = _distance(own[crop], z, camera) <= _distance(other[crop], z, camera)
    out = np.zeros_like(mask)
    out[crop] = (nearer & whole[crop]) * np.uint8(255)
    return out


def _distance(marked: Array, depth_m: Array, camera: CameraIntrinsics) -> Array:
    """(h, w) of each cell from the nearest marked one, across the image and, which counts twice, in depth [m]."""
    unmarked = (~marked).view(np.uint8)
    away, labels = cv2.distanceTransformWithLabels(unmarked, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = labels.astype(np.intp)
    there = np.zeros(int(nearest.max()) + 1, np.float32)
    there[nearest[marked]] = depth_m[marked]
    return away * (depth_m / np.float32(camera.fx)) + 2 * np.abs(depth_m - there[nearest])
