"""Where the model will be in the next frame: each node goes on as it moved last."""

from __future__ import annotations

import cv2
import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import LaunchCache, Staged
from bodystream.device.camera import device_camera
from bodystream.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from bodystream.tracking import match_kernels
from bodystream.tracking.matches import Reference
from bodystream.tracking.model import ModelPoints
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FlowPredictor", "MotionPredictor"]


class MotionPredictor:
    """Constant velocity per node, in rotation and in position, damped because it is only a start for the solver.

    Args:
        damping: share of the last velocity that is believed.
        max_step_m: nodes do not move farther than this from one frame to the next.
    """

    def __init__(self, field: WarpField, damping: float = 0.9, max_step_m: float = 0.15) -> None:
        self._field = field
        self._damping = damping
        self._max_step_m = max_step_m
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._t_ns: int | None = None
        self._rotations = np.zeros((0, 3, 3), np.float32)
        self._positions = np.zeros((0, 3), np.float32)
        self._turn_rate = np.zeros((0, 3))  # [rad/s]
        self._velocity = np.zeros((0, 3))  # [m/s]

    def remember(self, t_ns: int) -> None:
        """Take the field's motion as that of a frame."""
        rotations, translations = self._field.motion()
        positions = self._field.host_positions + translations
        if self._t_ns is None or t_ns <= self._t_ns:
            self._turn_rate, self._velocity = np.zeros((len(positions), 3)), np.zeros((len(positions), 3))
        else:
            seconds = (t_ns - self._t_ns) * 1e-9
            known = len(self._positions)
            turn = np.einsum("nij,nkj->nik", rotations[:known], self._rotations)
            rate = rotation_vector_from_matrix(turn) / seconds
            velocity = (positions[:known] - self._positions) / seconds
            # A node that was just added goes on as its parent does.
            self._turn_rate = _inherit(rate, self._field.parents)
            self._velocity = _inherit(velocity, self._field.parents)
        self._t_ns, self._rotations, self._positions = t_ns, rotations, positions

    def predict(self, t_ns: int) -> None:
        """Move the field's nodes on to a later time."""
        if self._t_ns is None or t_ns <= self._t_ns or not np.any(self._velocity):
            return
        field = self._field
        seconds = self._damping * min((t_ns - self._t_ns) * 1e-9, 0.2)
        rotations, translations = field.motion()
        turn = matrix_from_rotation_vector(_inherit(self._turn_rate, field.parents) * seconds)
        step = _inherit(self._velocity, field.parents) * seconds
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, self._max_step_m / np.maximum(length, 1e-9))
        field.set_motion(np.einsum("nij,njk->nik", turn, rotations), translations + step)


def _inherit(values: Array, parents: Array) -> Array:
    """(N, ...) values of all nodes: those of nodes that have none yet are their parents'."""
    known = len(values)
    out = np.empty((len(parents), *values.shape[1:]), values.dtype)
    out[:known] = values
    for i in range(known, len(parents)):  # a parent is older than its child
        out[i] = out[parents[i]]
    return out


class FlowPredictor:
    """The optical flow that a predicted motion causes, as a first guess for the correspondence search."""

    CELL_PX = 8

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, visible_m: float = 0.05) -> None:
        self._field = field
        self._intrinsics = intrinsics
        self._camera = device_camera(intrinsics)
        self._visible_m = visible_m
        self._launch = LaunchCache(field.device)
        self._moved = Staged(0, wp.vec4, field.device)

    def flow(self, model: ModelPoints, reference: Reference) -> Array:
        """(H, W, 2) float32 flow [px] from a reference frame to the field's motion as it is now.

        It is known where model points are seen, and continued smoothly beyond.
        """
        count = model.count
        width, height = self._intrinsics.width, self._intrinsics.height
        if count > len(self._moved):
            self._moved = Staged(2 * count, wp.vec4, self._field.device)
        field = self._field
        inputs = [model.packed, field.graph, self._camera, reference.packed(field), self._visible_m, self._moved.array]
        self._launch(match_kernels.predict_flow, count, inputs, min_chunk=1024)
        moved = self._moved.download(count)
        moved = moved[moved[:, 0] >= 0]
        columns, rows = -(-width // self.CELL_PX), -(-height // self.CELL_PX)
        cell = (moved[:, 1] / self.CELL_PX).astype(np.int64) * columns + (moved[:, 0] / self.CELL_PX).astype(np.int64)
        sums = np.empty((rows, columns, 3), np.float32)
        for k, values in enumerate((moved[:, 2], moved[:, 3], None)):
            sums[..., k] = np.bincount(cell, values, rows * columns).reshape(rows, columns)
        # Normalised convolution from fine to coarse fills what no point fell into.
        total = sums.copy()
        for sigma, share in ((1.0, 1e-1), (4.0, 1e-3), (16.0, 1e-5)):
            total += share * cv2.GaussianBlur(sums, (0, 0), sigma)
        total[..., :2] /= np.maximum(total[..., 2:], 1e-12)
        return cv2.resize(
            np.ascontiguousarray(total[..., :2]), (columns * self.CELL_PX, rows * self.CELL_PX),
            interpolation=cv2.INTER_LINEAR,
        )[:height, :width]  # fmt: skip
