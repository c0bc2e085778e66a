"""Keyframes against drift: dense flow from frames of the past that the motion is known for (NNRT app. D.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame, download
from bodystream.tracking.matches import Reference
from bodystream.types import Array, CameraIntrinsics, FlowField

__all__ = ["Keyframes", "shared_view"]

# NNRT app. D.3: a keyframe of which less than half is seen confidently is ignored.
LEAST_VALID = 0.5
DELTA = 0.35
# A node that has turned by so much since the keyframe looks too different; what has turned less counts in part.
TURNED_COSINE = 0.5
# A view that no keyframe shares this much of becomes one, and flow is wanted from one that shares this much.
NEW_BELOW = 0.75
USED_FROM = 0.5


@dataclass(frozen=True, slots=True)
class _View:
    """What a frame shows of the model.

    Attributes:
        seen: (N,) bool, nodes that own a part of the image. rotations: (N, 3, 3) of the nodes at that frame.
    """

    seen: Array
    rotations: Array


@dataclass(frozen=True, slots=True)
class _Keyframe:
    reference: Reference
    view: _View
    number: int


def shared_view(seen: Array, rotations: Array, now_seen: Array, now_rotations: Array) -> float:
    """Share of a view that another one shows as it was: from 0 to 1.

    A node counts where both see it, wholly if it stands as it did and not at all once it has turned by 60 degrees. Only
    the nodes of the older, smaller graph are looked at.

    Args:
        seen: (N,) bool, nodes that the view shows. rotations: (N, 3, 3) theirs.
        now_seen, now_rotations: of the other view; the numbers of nodes may differ.
    """
    count = min(len(seen), len(now_seen))
    both = seen[:count] & now_seen[:count]
    cosine = 0.5 * (np.einsum("nij,nij->n", rotations[:count][both], now_rotations[:count][both]) - 1.0)
    alike = np.clip((cosine - TURNED_COSINE) / (1.0 - TURNED_COSINE), 0.0, 1.0)
    return float(alike.sum() / max(1, np.count_nonzero(seen)))


class Keyframes:
    """Keeps a keyframe of each view of the model, and says from which one flow is wanted.

    Flow is wanted from the oldest that shows the model as it is seen now: that one's motion has drifted least. So a
    person who comes back to a pose, or a turn that closes, is tied to how the model lay when it was seen so first.
    The search for the flow starts at what the tracked motion predicts, so that a local method such as DIS only has to
    find what tracking got wrong since, however far the keyframe lies back.

    Args:
        capacity: most keyframes that are kept; 0 = none. When there are as many, the one that others show best goes,
            but never the first.
        flow_every: frames between two flows from keyframes.

    Attributes:
        used_count, ignored_count: flows that were believed, and that showed too little of the keyframe.
    """

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, capacity: int, flow_every: int) -> None:
        self._field = field
        self._intrinsics = intrinsics
        self._capacity = capacity
        self._flow_every = max(1, flow_every)
        self._kept: list[_Keyframe] = []
        self._spare: list[Reference] = []
        self.used_count = 0
        self.ignored_count = 0
        self.reset()

    def reset(self) -> None:
        """Forget all keyframes."""
        while self._kept:
            self._give_up(self._kept[-1])
        self._now: _View | None = None
        self._asked: Reference | None = None
        self._number = 0

    def remember(self, image: DeviceFrame, seen: Array) -> None:
        """Look at a frame, and keep it if no keyframe shows what it does; the field holds its motion.

        Args:
            seen: (N,) bool, nodes that are seen in it.
        """
        if not self._capacity:
            return
        self._now = now = _View(seen, self._field.motion()[0])
        if not seen.any() or any(_shared(kept.view, now) >= NEW_BELOW for kept in self._kept):
            return
        if len(self._kept) == self._capacity:
            self._give_up(self._most_alike())
        reference = self._spare.pop() if self._spare else Reference(self._field, self._intrinsics)
        reference.store(image, self._field)
        self._kept.append(_Keyframe(reference, now, self._number))

    def due(self) -> Reference | None:
        """Count a frame; the keyframe if flow from one to this frame is wanted."""
        self._number += 1
        self._asked = None
        if self._now is None or self._number % self._flow_every:
            return None
        for kept in self._kept:  # oldest first
            # One frame after the keyframe, its flow is the frame-to-frame flow.
            if self._number - kept.number > 1 and _shared(kept.view, self._now) >= USED_FROM:
                self._asked = kept.reference
                break
        return self._asked

    def shows_enough(self, flow: FlowField) -> bool:
        """Whether enough of the keyframe that was due is seen confidently in the flow from it."""
        assert self._asked is not None and self._asked.mask is not None
        weight = download(flow.weight) if isinstance(flow.weight, wp.array) else flow.weight
        seen = flow.cell_px**2 * np.count_nonzero(weight >= DELTA)
        enough = bool(seen >= LEAST_VALID * np.count_nonzero(self._asked.mask))
        self.used_count += enough
        self.ignored_count += not enough
        return enough

    def _most_alike(self) -> _Keyframe:
        """The keyframe, other than the first, that another one shows best."""
        later = self._kept[1:] or self._kept
        return max(
            later,
            key=lambda one: max((_shared(one.view, other.view) for other in self._kept if other is not one), default=0),
        )

    def _give_up(self, kept: _Keyframe) -> None:
        self._kept = [other for other in self._kept if other is not kept]
        kept.reference.forget()
        self._spare.append(kept.reference)


def _shared(view: _View, other: _View) -> float:
    return shared_view(view.seen, view.rotations, other.seen, other.rotations)
