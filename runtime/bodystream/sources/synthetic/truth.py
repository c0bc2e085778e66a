"""How far a reconstructed surface is from the true one of a synthetic frame."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, select_device
from bodystream.errors import InputError
from bodystream.sources.synthetic import kernels
from bodystream.types import Array, CameraIntrinsics, FrameTruth

__all__ = ["TruthSurface", "surface_error_m", "visible_points"]


class TruthSurface:
    """The true surface as a bounding volume hierarchy, refitted to each frame.

    Args:
        device: where the distances are computed, a Warp device or a name for `select_device`.
    """

    def __init__(self, device: wp.Device | str = "auto") -> None:
        self._device = select_device(device) if isinstance(device, str) else device
        self._launch = LaunchCache(self._device)
        self._faces: Array | None = None
        self._mesh: wp.Mesh | None = None
        self._points = wp.zeros(0, dtype=wp.vec3, device=self._device)
        self._distance = wp.zeros(0, dtype=wp.float32, device=self._device)

    def distance_m(self, vertices: Array, truth: FrameTruth, max_distance_m: float = 1.0) -> Array:
        """(V,) float32 distances of (V, 3) points in the camera's frame to the nearest triangle of the truth [m].

        Points that are not finite give nan; farther ones than `max_distance_m` give `max_distance_m`.

        Raises:
            InputError: `vertices` is not (V, 3).
        """
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise InputError(f"vertices must have shape (V, 3), got {vertices.shape}")
        mesh = self._refit(truth)
        count = len(vertices)
        if count > len(self._points):
            size = max(count, 2 * len(self._points))
            self._points = wp.zeros(size, dtype=wp.vec3, device=self._device)
            self._distance = wp.zeros(size, dtype=wp.float32, device=self._device)
        if count == 0:
            return np.zeros(0, np.float32)
        wp.copy(self._points, wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device="cpu"))
        inputs = [mesh.id, self._points, max_distance_m, self._distance]
        self._launch(kernels.distance_to_mesh, count, inputs, min_chunk=512)
        return np.array(self._distance.numpy()[:count])

    def _refit(self, truth: FrameTruth) -> wp.Mesh:
        vertices = np.ascontiguousarray(truth.mesh.vertices, np.float32)
        if self._mesh is None or self._faces is not truth.mesh.faces:
            points = wp.array(vertices, dtype=wp.vec3, device=self._device, copy=True)
            indices = wp.array(truth.mesh.faces.reshape(-1), dtype=wp.int32, device=self._device, copy=True)
            self._mesh = wp.Mesh(points, indices, bvh_leaf_size=2)
            self._faces = truth.mesh.faces
        else:
            wp.copy(self._mesh.points, wp.array(vertices, dtype=wp.vec3, device="cpu"))
            self._mesh.refit()
        return self._mesh


def visible_points(vertices: Array, truth: FrameTruth, intrinsics: CameraIntrinsics, margin_m: float = 0.03) -> Array:
    """(V,) bool: which (V, 3) points fall on a pixel of the body, not farther than `margin_m` behind its surface."""
    z = vertices[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        u = np.round(vertices[:, 0] / z * intrinsics.fx + intrinsics.cx)
        v = np.round(vertices[:, 1] / z * intrinsics.fy + intrinsics.cy)
        inside = (z > 0) & (u >= 0) & (v >= 0) & (u < intrinsics.width) & (v < intrinsics.height)
    u, v = np.where(inside, u, 0).astype(np.int64), np.where(inside, v, 0).astype(np.int64)
    return inside & truth.mask[v, u] & (z < truth.depth_m[v, u] + margin_m)


def surface_error_m(
    vertices: Array,
    truth: FrameTruth,
    surface: TruthSurface | None = None,
    visible_in: CameraIntrinsics | None = None,
) -> Array:
    """(V,) float32 distances of (V, 3) reconstructed points, camera frame, to the true posed surface [m].

    Args:
        surface: kept by the caller from frame to frame, so that the hierarchy is refitted rather than built anew.
        visible_in: the camera; points that it does not see in this frame give nan.

    Raises:
        InputError: `vertices` is not (V, 3).
    """
    distance = (TruthSurface() if surface is None else surface).distance_m(vertices, truth)
    if visible_in is not None:
        distance[~visible_points(vertices, truth, visible_in)] = np.nan
    return distance
