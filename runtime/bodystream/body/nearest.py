"""Points and the places of a body's surface that are nearest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.body.nearest_kernels import nearest_on_mesh
from bodystream.device import launch, select_device, uploaded
from bodystream.device.quiet import quiet_warp
from bodystream.types import Array

__all__ = ["BodySurface", "Places"]

_FARTHEST_M = 1e3


@dataclass(frozen=True, slots=True)
class Places:
    """Places of a surface.

    Attributes:
        corners: (N, 3) vertices of the face that each is in. shares: (N, 3) float64 of these, which sum to one.
        points: (N, 3) [m]. normals: (N, 3) unit normals of the faces.
    """

    corners: Array
    shares: Array
    points: Array
    normals: Array

    def gathered(self, places_bar: Array, vertices: int) -> Array:
        """(V, 3) derivatives by the vertices of (N, 3) derivatives by the places, in the faces that they are in."""
        out = np.empty((vertices, 3))
        flat = self.corners.ravel()
        for axis in range(3):
            out[:, axis] = np.bincount(flat, (self.shares * places_bar[:, axis, None]).ravel(), vertices)
        return out


class BodySurface:
    """A mesh whose vertices move, for one thread.

    Args:
        vertices: (V, 3) [m]. faces: (F, 3).
    """

    def __init__(self, vertices: Array, faces: Array) -> None:
        self._device = select_device("cpu")
        self._faces = np.ascontiguousarray(faces, np.int32)
        self._points = uploaded(np.ascontiguousarray(vertices, np.float32), wp.vec3, self._device)
        self._written: Array = self._points.numpy()  # the same memory
        self._moved = np.array(vertices, np.float64)
        with quiet_warp():
            self._mesh = wp.Mesh(self._points, uploaded(self._faces.ravel(), wp.int32, self._device))

    def move(self, vertices: Array) -> None:
        """Put the vertices elsewhere."""
        self._written[:] = vertices
        self._moved[:] = vertices
        with quiet_warp():
            self._mesh.refit()

    def nearest(self, points: Array) -> Places:
        """The nearest places to (N, 3) points."""
        count = len(points)
        asked = uploaded(np.ascontiguousarray(points, np.float32), wp.vec3, self._device)
        face = wp.zeros(count, dtype=wp.int32, device=self._device)
        shares = wp.zeros(count, dtype=wp.vec3, device=self._device)
        with quiet_warp():
            launch(nearest_on_mesh, count, [self._mesh.id, asked, _FARTHEST_M, face, shares], self._device)
        number: Array = face.numpy()
        corners = self._faces[number]
        parts = shares.numpy().astype(np.float64)
        a, b, c = (self._moved[corners[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        return Places(corners, parts, parts[:, :1] * a + parts[:, 1:2] * b + parts[:, 2:] * c, normals)

    def distances(self, points: Array) -> Array:
        """(N,) distances of points from the surface [m]."""
        return np.linalg.norm(points - self.nearest(points).points, axis=1)
