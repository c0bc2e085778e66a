"""A scene seen by a depth camera and a colour camera that stand apart, rendered from its formula.

The scene is a slanted plane whose colour is a smooth function of the place. Lenses that bend are OpenCV's
`projectPoints`, which the code under test does not use; its inverse is found by iteration.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.interpolate import RectBivariateSpline

from bodystream.types import Array

_NORMAL = np.array([0.25, -0.2, 1.0])
_OFFSET_M = 1.5


def turned(x_deg: float, y_deg: float, z_deg: float, translation: tuple[float, float, float]) -> Array:
    """A rigid transform (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.radians([x_deg, y_deg, z_deg]))[0]
    matrix[:3, 3] = translation
    return matrix


@dataclass(frozen=True)
class Camera:
    """fx, fy, cx, cy [px], size, OpenCV's distortion."""

    pinhole: tuple[float, float, float, float]
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    @property
    def matrix(self) -> Array:
        fx, fy, cx, cy = self.pinhole
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)

    def rays(self, bent: bool = True) -> Array:
        """(H, W, 3) directions with z = 1 of the pixels; of the lens, or of the pinhole in its place."""
        return _rays(self, bent and bool(self.distortion))


@functools.cache
def _rays(camera: Camera, bent: bool) -> Array:
    # On a grid, and a spline between: lenses are smooth, and the iteration is slow.
    step = max(1, camera.width // 80)
    us, vs = (np.arange(0, size + step, step, dtype=np.float64) for size in (camera.width, camera.height))
    pixels = np.stack(np.meshgrid(us, vs), axis=-1).reshape(-1, 2)
    fx, fy, cx, cy = camera.pinhole
    points = (pixels - (cx, cy)) / (fx, fy)
    for _ in range(100 if bent else 0):
        points += (pixels - project(points, camera)) / (fx, fy)
    xy = [
        RectBivariateSpline(vs, us, points[:, i].reshape(len(vs), len(us)))(
            np.arange(camera.height), np.arange(camera.width)
        )
        for i in (0, 1)
    ]
    return np.stack([*xy, np.ones_like(xy[0])], axis=-1)


def project(points: Array, camera: Camera) -> Array:
    """Pixels (N, 2) of normalised points (N, 2), or of points (N, 3), by OpenCV."""
    if points.shape[1] == 2:
        points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    coefficients = np.array(camera.distortion or (0.0,) * 5)
    pixels, _ = cv2.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera.matrix, coefficients)
    return pixels[:, 0]


@dataclass(frozen=True)
class TwoCameras:
    """Both cameras of a device, and what they see."""

    depth: Camera = Camera((60.0, 61.0, 39.0, 30.5), 80, 60)
    colour: Camera = Camera((105.0, 104.0, 62.0, 45.0), 120, 90)
    colour_from_depth: Array = field(default_factory=lambda: turned(1.0, -2.0, 0.5, (-0.05, 0.004, 0.01)))

    def depth_m(self, bent: bool = True) -> Array:
        """(H, W) along z."""
        return _OFFSET_M / (self.depth.rays(bent) @ _NORMAL)

    def depth_mm(self) -> Array:
        """(H, W) uint16 as the sensor stores it."""
        return np.rint(self.depth_m() * 1000).astype(np.uint16)

    def colour_rgb(self) -> Array:
        """(H, W, 3) uint8 as the colour camera sees the scene."""
        depth_from_colour = np.linalg.inv(self.colour_from_depth)
        rays = self.colour.rays() @ depth_from_colour[:3, :3].T
        origin = depth_from_colour[:3, 3]
        t = (_OFFSET_M - origin @ _NORMAL) / (rays @ _NORMAL)
        return _colour_of(origin + t[..., None] * rays)

    def registered(self) -> tuple[Array, Array]:
        """Colour (H, W, 3) of the points of the depth camera's pinhole, and which of them the colour camera sees."""
        points = self.depth.rays(bent=False) * self.depth_m(bent=False)[..., None]
        in_colour = points @ self.colour_from_depth[:3, :3].T + self.colour_from_depth[:3, 3]
        u, v = np.moveaxis(project(in_colour.reshape(-1, 3), self.colour).reshape(*points.shape[:2], 2), -1, 0)
        seen = (u >= 0) & (v >= 0) & (u <= self.colour.width - 1) & (v <= self.colour.height - 1)
        return _colour_of(points), seen


def _colour_of(points: Array) -> Array:
    waves = np.stack([points[..., 0] * 3, points[..., 1] * 4, points[..., 0] * 2 + points[..., 1]], axis=-1)
    return np.rint(127.5 + 100 * np.sin(waves)).astype(np.uint8)
