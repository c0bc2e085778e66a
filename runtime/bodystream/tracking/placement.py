"""Placing a lost model anew: rigid ICP of the whole model on the segmented depth, from several starts."""

from __future__ import annotations

import numpy as np
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame, LaunchCache, Staged
from bodystream.device.camera import device_camera
from bodystream.geometry.camera import back_project_pixels, nearest_pixels, project
from bodystream.tracking import placement_kernels
from bodystream.tracking.model import ModelPoints
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Placement", "share_on"]

TERMS = int(placement_kernels.PLACEMENT_TERMS)
POINTS = 1024  # of the model that are looked at
CHUNK = 64  # of them, a thread
YAWS_DEG = (0.0, 25.0, -25.0, 50.0, -50.0)  # of the starts, about the camera's vertical
REACHES_M = (0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05)  # of each ICP step
DEPTH_STRIDE = 4  # of the frame's pixels that starts and silhouettes are taken from
CELL_PX = 16  # a silhouette is compared in squares of so many pixels
MAX_TURN_RAD = 0.3  # of one step
MAX_SHIFT_M = 0.3
MOST_WAIT = 7  # frames between two attempts


class Placement:
    """Finds where the live model stands in a frame when the prediction of its motion fails.

    Args:
        least_gain: by how much a placement must fit better than the prediction to be taken.
        near_m: a point of the model this near to the depth is explained.

    Attributes:
        tried_count, placed_count: how often a placement was looked for, and found.
    """

    def __init__(
        self,
        field: WarpField,
        intrinsics: CameraIntrinsics,
        least_gain: float = 0.05,
        near_m: float = 0.05,
    ) -> None:
        self._field = field
        self._intrinsics = intrinsics
        self._camera = device_camera(intrinsics)
        self._least_gain, self._near_m = least_gain, near_m
        device = field.device
        self._launch = LaunchCache(device)
        most = 2 * len(YAWS_DEG) + 2
        self._positions = Staged(2 * POINTS, wp.vec3, device)
        self._normals = Staged(2 * POINTS, wp.vec3, device)
        self._placements = Staged(most, wp.mat44, device)
        self._sums = Staged((most * (2 * POINTS // CHUNK), TERMS), float, device)
        self.tried_count = 0
        self.placed_count = 0
        self.found()

    def found(self) -> None:
        """The model is where it is seen: the next attempt, once one is needed, is due at once."""
        self._wait = self._left = 0
        self._tried = False

    def missed(self) -> None:
        """A frame is over without the model in it: attempts that fail become rarer, since each costs some time."""
        if self._tried:
            self._wait = min(2 * self._wait + 1, MOST_WAIT)
            self._left = self._wait
        else:
            self._left = max(0, self._left - 1)
        self._tried = False

    def is_due(self) -> bool:
        """Whether an attempt may be made on this frame: one at most, and none during a pause."""
        return not (self._left or self._tried)

    def place(self, model: ModelPoints, image: DeviceFrame) -> bool:
        """Place the model wherever it fits better than where it is; whether it was moved."""
        self._tried = True
        count = self._take(model)
        return count > 0 and self._place(count, image)

    def _take(self, model: ModelPoints) -> int:
        """Warp some of the model's points; how many."""
        stride = max(1, model.count // POINTS)
        count = min(model.count // stride, 2 * POINTS)
        inputs = [model.packed, stride, self._field.graph, self._positions.array, self._normals.array]
        self._launch(placement_kernels.live_points, count, inputs, min_chunk=512)
        return count

    def _place(self, count: int, image: DeviceFrame) -> bool:
        self.tried_count += 1
        points, normals = self._positions.download(count).copy(), self._normals.download(count).copy()
        seen = _seen_points(image, self._intrinsics)
        facing = (points[:, 2] > 0) & (np.einsum("pi,pi->p", points, normals) < 0)
        if len(seen) == 0 or not facing.any():
            return False
        placements = _starts(points[facing], seen)
        for reach_m in REACHES_M:
            steps, _ = self._measure(placements, count, image, reach_m)
            placements[1:] = (steps @ placements)[1:]  # the first one stays as it is, to be compared with
        _, near = self._measure(placements, count, image, 2.0 * self._near_m)
        scores = near + [self._covered(points, normals, placement, image) for placement in placements]
        best = int(np.argmax(scores))
        if scores[best] < scores[0] + 2.0 * self._least_gain:
            return False
        self._placements.upload(placements[best : best + 1].astype(np.float32))
        inputs = [self._placements.array, self._field.graph]
        self._launch(placement_kernels.place_nodes, self._field.count, inputs, min_chunk=1024)
        self._field.motion_changed()
        self.placed_count += 1
        return True

    def _measure(self, placements: Array, count: int, image: DeviceFrame, reach_m: float) -> tuple[Array, Array]:
        """Of each of (C, 4, 4) placements, its next rigid step (C, 4, 4) and the share of it that is near the depth."""
        chunks = -(-count // CHUNK)
        self._placements.upload(placements.astype(np.float32))
        inputs = [self._positions.array, self._normals.array, count, CHUNK, self._placements.array]
        inputs += [self._camera, image.depth, reach_m, self._near_m, self._sums.array]
        rows = len(placements) * chunks
        self._launch(placement_kernels.measure_placements, rows, inputs, min_chunk=16)
        sums = self._sums.download(rows).reshape(len(placements), chunks, TERMS).sum(axis=1, dtype=np.float64)
        near = sums[:, 28] / np.maximum(sums[:, 27], 1.0)
        return _rigid_steps(sums), near

    def _covered(self, points: Array, normals: Array, placement: Array, image: DeviceFrame) -> float:
        """Share of the foreground's squares into which points of the model that face the camera fall."""
        moved = points @ placement[:3, :3].T + placement[:3, 3]
        turned = normals @ placement[:3, :3].T
        pixels = project(moved[(moved[:, 2] > 0.05) & (np.einsum("pi,pi->p", moved, turned) < 0)], self._intrinsics)
        width, height = self._intrinsics.width, self._intrinsics.height
        inside = np.all((pixels >= 0) & (pixels < (width, height)), axis=1)
        cells = (pixels[inside] / CELL_PX).astype(np.int64)
        model = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), bool)
        model[cells[:, 1], cells[:, 0]] = True
        v, u = np.nonzero(image.foreground[::DEPTH_STRIDE, ::DEPTH_STRIDE])
        body = np.zeros_like(model)
        body[v * DEPTH_STRIDE // CELL_PX, u * DEPTH_STRIDE // CELL_PX] = True
        return float(np.count_nonzero(model & body) / max(np.count_nonzero(body | model), 1))


def _seen_points(image: DeviceFrame, intrinsics: CameraIntrinsics) -> Array:
    """(P, 3) foreground points of every few pixels [m]."""
    depth_m = image.frame.depth_m[::DEPTH_STRIDE, ::DEPTH_STRIDE]
    v, u = np.nonzero(image.foreground[::DEPTH_STRIDE, ::DEPTH_STRIDE] & (depth_m > 0))
    return back_project_pixels(np.stack([u, v], axis=1) * DEPTH_STRIDE, depth_m[v, u], intrinsics)


def _starts(model: Array, seen: Array) -> Array:
    """(C, 4, 4) placements: twice where the model is, and turned about the vertical with its middle on what is seen's.

    Once the medians meet, which a missing limb does not move, and once the middles of the extents.
    """
    starts = [np.eye(4), np.eye(4)]
    for middle in (lambda p: np.median(p, axis=0), lambda p: np.mean(np.percentile(p, (2, 98), axis=0), axis=0)):
        here, there = middle(model), middle(seen)
        for yaw in YAWS_DEG:
            start = np.eye(4)
            start[:3, :3] = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
            start[:3, 3] = there - start[:3, :3] @ here
            starts.append(start)
    return np.stack(starts)


def _rigid_steps(sums: Array) -> Array:
    """(C, 4, 4) Gauss-Newton steps of (C, 29) summed terms, bounded in length."""
    system = np.zeros((len(sums), 6, 6))
    k = 0
    for a in range(3):
        for b in range(a, 3):
            system[:, a, b] = system[:, b, a] = sums[:, k]
            system[:, 3 + a, 3 + b] = system[:, 3 + b, 3 + a] = sums[:, k + 1]
            k += 2
    system[:, :3, 3:] = sums[:, 12:21].reshape(-1, 3, 3)
    system[:, 3:, :3] = system[:, :3, 3:].transpose(0, 2, 1)
    damping = 1e-4 * np.einsum("cii->ci", system) + 1e-6
    system[:, np.arange(6), np.arange(6)] += damping
    step = -np.linalg.solve(system, sums[:, 21:27, None])[..., 0]
    lengths = np.stack([np.linalg.norm(step[:, :3], axis=1), np.linalg.norm(step[:, 3:], axis=1)])
    share = np.minimum(1.0, 1.0 / np.maximum(np.maximum(lengths[0] / MAX_TURN_RAD, lengths[1] / MAX_SHIFT_M), 1e-12))
    step *= share[:, None]
    steps = np.tile(np.eye(4), (len(sums), 1, 1))
    steps[:, :3, :3] = Rotation.from_rotvec(step[:, :3]).as_matrix()
    steps[:, :3, 3] = step[:, 3:]
    return steps


def share_on(image: DeviceFrame, pixels: Array) -> float:
    """Share of (P, 2) image points [px] that lie on the foreground; 0 of none."""
    at, inside = nearest_pixels(pixels, image.intrinsics)
    on = np.count_nonzero(image.foreground[at[inside, 1], at[inside, 0]])
    return on / len(at) if len(at) else 0.0
