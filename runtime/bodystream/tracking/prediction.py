"""Where the model will be in the next frame: each node goes on as it moved last."""

from __future__ import annotations

import cv2
import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import Graph
from bodystream.device import LaunchCache, Staged
from bodystream.device.camera import device_camera
from bodystream.tracking import prediction_kernels
from bodystream.tracking.matches import Reference
from bodystream.tracking.model import ModelPoints
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FlowPredictor", "MotionPredictor"]


class MotionPredictor:
    """Constant velocity per node, in rotation and in position, damped because it is only a start for the solver.

    It runs on the device, so that the motion need not be read back for it.

    Args:
        damping: share of the last velocity that is believed.
        max_step_m: nodes do not move farther than this from one frame to the next.
    """

    def __init__(self, field: WarpField, damping: float = 0.9, max_step_m: float = 0.15) -> None:
        self._field = field
        self._damping = damping
        self._max_step_m = max_step_m
        self._launch = LaunchCache(field.device)
        self._before, self._velocities = Graph(), prediction_kernels.Velocities()
        self._allocate(field.capacity)
        self.reset()

    def _allocate(self, capacity: int) -> None:
        device, before, velocities = self._field.device, self._before, self._velocities
        before.rotations = wp.zeros(capacity, dtype=wp.mat33, device=device)
        before.translations = wp.zeros(capacity, dtype=wp.vec3, device=device)
        velocities.turn = wp.zeros(capacity, dtype=wp.vec3, device=device)
        velocities.shift = wp.zeros(capacity, dtype=wp.vec3, device=device)
        self._parents = Staged(capacity, wp.int32, device)
        self._parents_version = -1

    def reset(self) -> None:
        """Forget what was seen."""
        self._t_ns: int | None = None
        self._seen = 0  # nodes whose motion is in `before`
        self._known = 0  # nodes whose velocity is known

    def remember(self, t_ns: int) -> None:
        """Take the field's motion as that of a frame."""
        field, before = self._field, self._before
        if len(self._parents) != field.capacity:
            self._allocate(field.capacity)
            self._seen = 0
        if self._t_ns is None or t_ns <= self._t_ns or self._seen == 0:
            self._known = 0
        else:
            per_second = 1e9 / (t_ns - self._t_ns)
            inputs = [field.graph, before, self._seen, self._parents_now(), per_second, self._velocities]
            self._launch(prediction_kernels.measure_velocities, field.count, inputs, min_chunk=1024)
            self._known = field.count
        wp.copy(before.rotations, field.rotations, count=field.count)
        wp.copy(before.translations, field.translations, count=field.count)
        self._t_ns, self._seen = t_ns, field.count

    def predict(self, t_ns: int) -> None:
        """Move the field's nodes on to a later time."""
        field = self._field
        if self._t_ns is None or t_ns <= self._t_ns or self._known == 0 or len(self._parents) != field.capacity:
            return
        seconds = self._damping * min((t_ns - self._t_ns) * 1e-9, 0.2)
        inputs = [self._velocities, self._known, self._parents_now(), seconds, self._max_step_m, field.graph]
        self._launch(prediction_kernels.move_on, field.count, inputs, min_chunk=1024)
        field.motion_changed()

    def _parents_now(self) -> wp.array:
        if self._parents_version != self._field.version:
            self._parents.upload(self._field.parents)
            self._parents_version = self._field.version
        return self._parents.array


class FlowPredictor:
    """The optical flow that a predicted motion causes, as a first guess for the correspondence search.

    Attributes:
        ends_px: (P, 2) float32, where the points of the model that the last reference shows are expected [px].
    """

    CELL_PX = 8  # a guess is smooth: one for each square of so many pixels
    POINTS = 2048  # that are looked at; a cell that the body covers has several

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, visible_m: float = 0.05) -> None:
        self._field = field
        self._intrinsics = intrinsics
        self._camera = device_camera(intrinsics)
        self._visible_m = visible_m
        self._launch = LaunchCache(field.device)
        self._moved = Staged(self.POINTS, wp.vec4, field.device)
        self.ends_px: Array = np.zeros((0, 2), np.float32)

    def flow(self, model: ModelPoints, reference: Reference) -> Array:
        """Flow [px] from a reference frame to the field's motion as it is now, for each square of `CELL_PX` pixels.

        It is known where model points are seen, and continued smoothly beyond.

        Returns:
            (ceil(H / CELL_PX), ceil(W / CELL_PX), 2) float32.
        """
        stride = max(1, -(-model.count // self.POINTS))
        count = model.count // stride
        columns, rows = -(-self._intrinsics.width // self.CELL_PX), -(-self._intrinsics.height // self.CELL_PX)
        field = self._field
        inputs = [model.packed, stride, field.graph, self._camera, reference.packed(field), self._visible_m]
        self._launch(prediction_kernels.predict_flow, count, [*inputs, self._moved.array], min_chunk=512)
        moved = self._moved.download(count)
        moved = moved[moved[:, 0] >= 0]
        self.ends_px = moved[:, :2] + moved[:, 2:]
        cells = (moved[:, :2] * (1 / self.CELL_PX)).astype(np.int32)
        cell = cells[:, 1] * columns + cells[:, 0]
        sums = np.empty((rows, columns, 3), np.float32)
        for k, values in enumerate((moved[:, 2], moved[:, 3], None)):
            sums[..., k] = np.bincount(cell, values, rows * columns).reshape(rows, columns)
        # Normalised convolution from fine to coarse fills what no point fell into.
        total = sums + 1e-1 * cv2.GaussianBlur(sums, (0, 0), 1.0)
        coarse = sums
        for share in (1e-3, 1e-5):
            size = (-(-coarse.shape[1] // 4), -(-coarse.shape[0] // 4))
            coarse = cv2.GaussianBlur(cv2.resize(coarse, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
            total += share * cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return total[..., :2] / np.maximum(total[..., 2:], 1e-12)
