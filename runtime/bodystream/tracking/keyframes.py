"""Keyframes against drift: dense flow from a frame of the past that the motion is known for (NNRT app. D.3)."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame, download
from bodystream.tracking.matches import Reference
from bodystream.types import CameraIntrinsics, FlowField

__all__ = ["Keyframes"]

# NNRT app. D.3: a keyframe of which less than half is seen confidently is ignored.
LEAST_VALID = 0.5
DELTA = 0.35


class Keyframes:
    """Keeps the newest keyframe, and says when flow from it is due and whether it is of use.

    The search for that flow starts at the flow that the tracked motion predicts, so that a local method such as DIS
    only has to find what tracking got wrong since, however far the keyframe lies back.

    Args:
        every: frames between keyframes; 0 = none. flow_every: frames between two flows from the keyframe.

    Attributes:
        used_count, ignored_count: flows that were believed, and that showed too little of the keyframe.
    """

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, every: int, flow_every: int) -> None:
        self._field = field
        self._every = every
        self._flow_every = max(1, flow_every)
        self._reference = Reference(field, intrinsics)
        self.used_count = 0
        self.ignored_count = 0
        self.reset()

    def reset(self) -> None:
        """Forget the keyframe."""
        self._reference.forget()
        self._age = 0

    def remember(self, image: DeviceFrame) -> None:
        """Take the frame as keyframe when the last one is old enough; the field holds the frame's motion."""
        if self._every and (self._reference.frame is None or self._age >= self._every):
            self._reference.store(image, self._field)
            self._age = 0

    def due(self) -> Reference | None:
        """Count a frame; the keyframe if flow from it to this frame is wanted."""
        if self._reference.frame is None:
            return None
        self._age += 1
        # One frame after the keyframe, its flow is the frame-to-frame flow.
        return self._reference if self._age >= 2 and self._age % self._flow_every == 0 else None

    def shows_enough(self, flow: FlowField) -> bool:
        """Whether enough of the keyframe is seen confidently in the flow from it."""
        assert self._reference.mask is not None
        weight = download(flow.weight) if isinstance(flow.weight, wp.array) else flow.weight
        seen = flow.cell_px**2 * np.count_nonzero(weight >= DELTA)
        enough = bool(seen >= LEAST_VALID * np.count_nonzero(self._reference.mask))
        self.used_count += enough
        self.ignored_count += not enough
        return enough
