"""One frame on the coarse grid: without floor and walls, cut where depth jumps, in labelled pieces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.foreground.components import Component, cut_at_jumps, label_components
from bodystream.foreground.config import ForegroundConfig
from bodystream.foreground.planes import BackgroundPlanes, Plane
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Grid", "Scene"]

_COARSE_WIDTH = 240  # labelling runs on a grid of at least this width
_PLANE_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Scene:
    """The coarse grid of one frame.

    Attributes:
        depth_m: (h, w). measured, connected: (h, w) uint8, 0 or 255: in range; before all planes and cut at jumps.
        labels: (h, w) int32 of the pieces, 0 = none, and the larger ones in a list. planes: that bound them.
    """

    depth_m: Array
    measured: Array
    connected: Array
    labels: Array
    components: list[Component]
    planes: list[Plane]

    def marked(self, labels: list[int]) -> Array:
        """(h, w) uint8, 0 or 255: the cells of some pieces."""
        wanted = np.zeros(int(self.labels.max()) + 1, np.uint8)
        wanted[labels] = 255
        return wanted[self.labels]


class Grid:
    """Every n-th pixel of one camera's frames.

    Args:
        intrinsics: of the whole images.

    Attributes:
        stride: n. camera: of the grid. planes: the floor and walls as of the last frame.
    """

    def __init__(self, config: ForegroundConfig, intrinsics: CameraIntrinsics) -> None:
        self._config = config
        self.stride = max(1, intrinsics.width // _COARSE_WIDTH)
        self.camera = c = intrinsics.strided(self.stride)
        self._ray_x = ((np.arange(c.width) - c.cx) / c.fx).astype(np.float32)
        self._ray_y = ((np.arange(c.height) - c.cy) / c.fy).astype(np.float32)
        self.planes = BackgroundPlanes()

    def measure(self, depth_m: Array) -> tuple[Array, Array, list[Plane]] | None:
        """(h, w) depth, what of it is in range, and the planes of a frame; None where nothing is in range."""
        config, s = self._config, self.stride
        depth = np.ascontiguousarray(depth_m[::s, ::s])
        measured = cv2.inRange(depth, config.near_m, config.far_m)
        if not measured.any():
            return None
        if not config.remove_planes:
            return depth, measured, []
        k = max(1, depth.shape[1] // _PLANE_WIDTH)
        z = depth[::k, ::k]
        points = np.stack([self._ray_x[::k] * z, self._ray_y[::k, None] * z, z], axis=2)
        return depth, measured, list(self.planes.step(points, measured[::k, ::k] != 0))

    def cut(self, depth_m: Array, measured: Array, planes: list[Plane]) -> Scene:
        """What is before all planes, in pieces that hang together."""
        candidate = measured.copy()
        for plane in planes:
            candidate &= plane.in_front(depth_m, self._ray_x, self._ray_y)
        connected = cut_at_jumps(depth_m, candidate, self._config.jump_m)
        smallest = min(0.002, self._config.min_area_m2)
        labels, components = label_components(depth_m, connected, self.camera, smallest)
        return Scene(depth_m, measured, connected, labels, components, planes)

    def points(self, depth_m: Array) -> Array:
        """(h, w, 3) float32 [m]."""
        return np.stack([self._ray_x * depth_m, self._ray_y[:, None] * depth_m, depth_m], axis=2)

    def place(self, mask: Array, depth_m: Array) -> tuple[Array, float]:
        """(3,) median point [m] and the area [m^2] of the cells where `mask` (h, w) is not 0."""
        camera, cells = self.camera, np.flatnonzero(mask != 0)
        z = depth_m.ravel()[cells]
        area = float(np.square(z).sum(dtype=np.float64)) / (camera.fx * camera.fy)
        stride = max(1, len(cells) // 1000)
        z = z[::stride].astype(np.float64)
        rows, columns = np.divmod(cells[::stride], depth_m.shape[1])
        x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
        return np.median([x, y, z], axis=1), area
