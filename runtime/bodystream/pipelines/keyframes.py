"""Keyframes against drift: dense flow from a frame of the past that the motion is known for (NNRT app. D.3)."""

from __future__ import annotations

import cv2
import numpy as np
import warp as wp

from bodystream.correspondence import CorrespondenceEstimator
from bodystream.deformation import WarpField
from bodystream.tracking.matches import Reference
from bodystream.types import Array, CameraIntrinsics, FlowField, RgbdFrame

__all__ = ["Keyframes"]

# NNRT app. D.3: a keyframe of which less than half is seen confidently is ignored.
LEAST_VALID = 0.5


class Keyframes:
    """Keeps the newest keyframe and follows it into each frame.

    The guess of its flow is carried from frame to frame by composing it with the frame-to-frame flow, so that a
    local method such as DIS only refines it, however far the keyframe lies back.

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
        v, u = np.indices((intrinsics.height, intrinsics.width), np.float32)
        self._pixels = np.stack([u, v], axis=2)
        self.ignored_count = 0
        self.reset()

    def reset(self) -> None:
        self._frame: RgbdFrame | None = None
        self._mask: Array | None = None
        self._guess: Array | None = None
        self._age = 0

    def remember(self, frame: RgbdFrame, mask: Array, depth: wp.array) -> None:
        """Take the frame as keyframe when the last one is old enough; the field holds the frame's motion."""
        if self._every and (self._frame is None or self._age >= self._every):
            self._frame, self._mask, self._age = frame, mask, 0
            self._guess = None
            self._reference.store(frame.t_ns, depth, self._field)

    def follow(self, frame: RgbdFrame, mask: Array, flow: FlowField) -> list[tuple[Reference, FlowField]]:
        """The keyframe and its flow to `frame`, on the frames on which it is due and well seen.

        Args:
            mask: (H, W) bool of the new frame. flow: from the previous frame to the new one.
        """
        if self._frame is None:
            return []
        assert self._mask is not None
        self._age += 1
        self._carry(flow)
        if self._age % self._flow_every != 0 or self._guess is None or self._age < 2:
            return []
        found = self._estimator.step(
            self._frame, frame, source_mask=self._mask, target_mask=mask, initial_flow_px=self._guess
        )
        seen = np.count_nonzero(found.weight >= 0.35)
        if seen < LEAST_VALID * max(1, np.count_nonzero(self._mask)):
            self.ignored_count += 1
            return []
        confident = found.weight > 0.35
        self._guess = np.where(confident[..., None], found.flow_px, self._guess)
        return [(self._reference, found)]

    def _carry(self, flow: FlowField) -> None:
        """Compose keyframe -> previous frame with previous -> new frame; lost pixels keep their last motion."""
        if self._guess is None:
            self._guess = flow.flow_px.copy()
            return
        landed = self._pixels + self._guess
        step = cv2.remap(flow.flow_px, landed[..., 0], landed[..., 1], cv2.INTER_LINEAR)
        self._guess = self._guess + step
