"""One depth frame as a fit sees it: points of a person, and where a body cannot be, in front of them or beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from bodystream.body.fitting.scan import even_points
from bodystream.body.fitting.surface_loss import robust
from bodystream.body.nearest import BodySurface
from bodystream.errors import InputError
from bodystream.types import Array, CameraIntrinsics

__all__ = ["DepthLoss", "DepthView", "depth_view"]

FILE_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
"""From a camera's axes, x to the right, y down, z ahead, to those of bodies: y up, and z towards the camera."""
_FEWEST = 200
_POINTS = 1500
_BODY_POINTS = 1600
_OUTSIDE, _BEFORE = 1.0, 0.5
"""What it weighs to be seen where nobody is, and to be in front of what was measured, beside the points' distances."""
_MARGIN_M, _MARGIN_PX = 0.02, 1.0
_FARTHEST_PX = 60.0
_HOLE_PX = 5


@dataclass(frozen=True)
class DepthView:
    """A person in a depth image; axes are the camera's with y up and z towards it.

    Attributes:
        points: (N, 3) float64 of all pixels of the person [m]. chosen: (K, 3) some of them, evenly spread.
        depth_m: (H, W) float32 of the person, 0 elsewhere.
        outside_px: (H, W) float32, how far from the person, 0 on it and where nobody knows.
        inside: (2, H, W) the nearest pixel of the person, row and column.
        camera: of the image.
    """

    points: Array
    chosen: Array
    depth_m: Array
    outside_px: Array
    inside: Array
    camera: CameraIntrinsics


def depth_view(
    depth_m: Array, person: Array, camera: CameraIntrinsics, where: str = "the frame", *, cut_out: bool = False
) -> DepthView:
    """Look at a depth frame.

    Args:
        depth_m: (H, W) [m], 0 where nothing was measured. person: (H, W) bool.
        cut_out: the image shows a person alone, so that nobody is where nothing was measured; else a body may be there,
            and behind what is nearer.

    Raises:
        InputError: hardly a pixel of the person has a depth.
    """
    seen = person & (depth_m > 0.0) & np.isfinite(depth_m)
    count = int(seen.sum())
    if count < _FEWEST:
        raise InputError(f"{where} shows nobody: {count} pixels of a person have a depth, at least {_FEWEST} must")
    row, column = np.nonzero(seen)
    z = depth_m[row, column].astype(np.float64)
    rays = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, np.ones(count)], axis=1)
    points = (z[:, None] * rays) @ FILE_FROM_CAMERA
    # Small gaps in the image of a person are no place where a body cannot be.
    kernel = np.ones((_HOLE_PX, _HOLE_PX), np.uint8)
    whole = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    found: Any = distance_transform_edt(~whole, return_indices=True)
    away, inside = found
    away = np.minimum(away, _FARTHEST_PX)
    if not cut_out:
        behind = ~person & (depth_m > np.median(z) + 0.3)  # only where the background was seen
        away[~behind] = 0.0
    only = np.where(seen, depth_m, 0.0).astype(np.float32)
    return DepthView(points, points[even_points(points, _POINTS)], only, away.astype(np.float32), inside, camera)


class DepthLoss:
    """How well a body lies on a depth frame, with derivatives by its vertices.

    Of points the squared distance to the surface that the camera sees, of vertices that are seen beside the person how
    far they are from its outline, and of those in front of what was measured how far; far ones count less (Geman and
    McClure).

    Args:
        vertices: (V, 3) to begin with [m]. faces: (F, 3) of the body.
    """

    def __init__(self, view: DepthView, vertices: Array, faces: Array) -> None:
        self._view, self._count = view, len(vertices)
        self._some = even_points(vertices, _BODY_POINTS)
        self.surface = BodySurface(vertices, faces)
        self._seen = np.ones(len(view.chosen))

    def weigh(self, vertices: Array) -> None:
        """Points that lie nearest to a side that the camera cannot see count little until this is called again."""
        self.surface.move(vertices)
        places = self.surface.nearest(self._view.chosen)
        to_camera = -places.points / np.linalg.norm(places.points, axis=1, keepdims=True)
        facing = np.vecdot(places.normals, to_camera)
        self._seen = np.clip(0.5 + facing / 0.4, 0.15, 1.0)

    def __call__(self, vertices: Array, scale_m: float, step: int = 1) -> tuple[float, Array]:
        """The mean of all terms [m^2] and its (V, 3) derivatives.

        Args:
            scale_m: beyond which distances count less. step: every so many points are looked at.
        """
        view = self._view
        self.surface.move(vertices)
        chosen = view.chosen[::step]
        places = self.surface.nearest(chosen)
        off = places.points - chosen
        value, slope = robust(np.vecdot(off, off), scale_m)
        share = self._seen[::step] / len(off)
        total = float(share @ value)
        bar = places.gathered(2.0 * (share * slope)[:, None] * off, self._count)
        some = vertices[self._some] @ FILE_FROM_CAMERA
        beyond, way = self._beyond(some)
        value, slope = robust(beyond * beyond, max(scale_m, 0.05))
        total += float(value.sum()) / len(some)
        bar[self._some] += ((2.0 / len(some)) * (slope * beyond)[:, None] * way) @ FILE_FROM_CAMERA
        return total, bar

    def _beyond(self, vertices: Array) -> tuple[Array, Array]:
        """(N,) how far vertices are where no body is [m], and (N, 3) unit ways out of it, in the camera's axes."""
        view, camera = self._view, self._view.camera
        z = np.maximum(vertices[:, 2], 0.1)
        u, v = camera.fx * vertices[:, 0] / z + camera.cx, camera.fy * vertices[:, 1] / z + camera.cy
        height, width = view.depth_m.shape
        column, row = np.round(u).astype(np.int64), np.round(v).astype(np.int64)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)  # the image may cut somebody
        row, column = np.where(inside, row, 0), np.where(inside, column, 0)
        away = np.where(inside, view.outside_px[row, column] - _MARGIN_PX, 0.0)
        aside = view.inside[:, row, column]
        across = np.stack([u - aside[1], v - aside[0]], axis=1)
        across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
        beside = np.sqrt(_OUTSIDE) * np.maximum(away, 0.0) * z / camera.fx
        depth = np.where(inside, view.depth_m[row, column], 0.0)
        before = np.sqrt(_BEFORE) * np.where(depth > 0.0, np.maximum(depth - z - _MARGIN_M, 0.0), 0.0)
        way = np.where(
            (beside > before)[:, None],
            np.sqrt(_OUTSIDE) * np.column_stack([across, np.zeros(len(z))]), np.array([0.0, 0.0, -np.sqrt(_BEFORE)]),
        )  # fmt: skip
        return np.maximum(beside, before), way
