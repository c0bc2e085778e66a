"""Keyframes against drift: dense flow from a frame of the past that the motion is known for (NNRT app. D.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator
from bodystream.deformation import WarpField
from bodystream.tracking.matches import Reference
from bodystream.types import Array, CameraIntrinsics, FlowField, RgbdFrame

__all__ = ["Keyframes"]

# NNRT app. D.3: a keyframe of which less than half is seen confidently is ignored.
LEAST_VALID = 0.5
DELTA = 0.35


class Keyframes:
    """Keeps the newest keyframe and follows it into later frames.

    The search starts at the flow that the tracked motion predicts, so that a local method such as DIS only has to
    find what tracking got wrong since, however far the keyframe lies back.

    Args:
        every: frames between keyframes; 0 = none. flow_every: frames between two flows from the keyframe.
    """

    def __init__(
        self,
        field: WarpField,
        intrinsics: CameraIntrinsics,
        estimator: CorrespondenceEstimator,
        every: int,
        flow_every: int,
    ) -> None:
        self._field = field
        self._estimator = estimator
        self._every = every
        self._flow_every = max(1, flow_every)
        self._reference = Reference(field, intrinsics)
        self.used_count = 0
        self.ignored_count = 0
        self.reset()

    def reset(self) -> None:
        """Forget the keyframe."""
        self._frame: RgbdFrame | None = None
        self._mask: Array | None = None
        self._age = 0

    def remember(self, frame: RgbdFrame, mask: Array, depth: wp.array) -> None:
        """Take the frame as keyframe when the last one is old enough; the field holds the frame's motion."""
        if self._every and (self._frame is None or self._age >= self._every):
            self._frame, self._mask, self._age = frame, mask, 0
            self._reference.store(frame.t_ns, depth, self._field)

    def follow(
        self, frame: RgbdFrame, mask: Array, predict_flow: Callable[[Reference], Array]
    ) -> list[tuple[Reference, FlowField]]:
        """The keyframe and its flow to `frame`, on the frames on which it is due and well seen.

        Args:
            mask: (H, W) bool of the new frame. predict_flow: (H, W, 2) flow [px] from a reference to the new frame.
        """
        if self._frame is None:
            return []
        assert self._mask is not None
        self._age += 1
        # One frame after the keyframe, its flow is the frame-to-frame flow.
        if self._age < 2 or self._age % self._flow_every != 0:
            return []
        masks = {"source_mask": self._mask, "target_mask": mask}
        flow = self._estimator.step(self._frame, frame, **masks, initial_flow_px=predict_flow(self._reference))
        seen = np.count_nonzero(flow.weight >= DELTA)
        if seen < LEAST_VALID * np.count_nonzero(self._mask):
            self.ignored_count += 1
            return []
        self.used_count += 1
        return [(self._reference, flow)]
