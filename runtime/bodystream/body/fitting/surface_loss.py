"""How well a body lies on a scan, with derivatives by its vertices: both ways, robust, and by landmarks."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.fitting.landmarks import KnownPlaces
from bodystream.body.fitting.scan import ScanPoints, even_points
from bodystream.body.nearest import BodySurface
from bodystream.types import Array

__all__ = ["SurfaceLoss"]

_BACK = 0.5
"""What the way from the body to the scan weighs: a scan may be a part of a person only."""
_BACK_POINTS = 1200
_FACING = (-0.2, 0.5)
"""Cosines between the normals of a point and of its place from which it begins to count, and counts whole."""


class SurfaceLoss:
    """Squared distances of scan and body, of which far ones count less (Geman and McClure: d^2 / (1 + d^2 / s^2)).

    From the scan to the body the distance is that to the surface itself. Its derivative is the one at a fixed place, so
    that no correspondences are kept while a search goes on: a body slides along the scan freely. From the body to the
    scan it is that to the nearest point, as far as it is longer than points are apart.

    Args:
        faces: (F, 3) of the body. vertices: (V, 3) to begin with [m].
    """

    def __init__(self, scan: ScanPoints, vertices: Array, faces: Array, landmarks: KnownPlaces | None = None) -> None:
        self._scan, self._landmarks = scan, landmarks
        self._tree = KDTree(scan.chosen)
        self._count = len(vertices)
        self._back = even_points(vertices, _BACK_POINTS)
        self.surface = BodySurface(vertices, faces)
        self._facing = np.ones(len(scan.chosen))

    def weigh(self, vertices: Array) -> None:
        """Points of the scan that face another way than the body does where it is nearest count for nothing until this
        is called again."""
        if self._scan.normals is None:
            return
        self.surface.move(vertices)
        facing = np.vecdot(self.surface.nearest(self._scan.chosen).normals, self._scan.normals)
        low, high = _FACING
        share = np.clip((facing - low) / (high - low), 0.0, 1.0)
        self._facing = share * share * (3.0 - 2.0 * share)

    def __call__(self, vertices: Array, scale_m: float, landmark_share: float, step: int = 1) -> tuple[float, Array]:
        """The mean of all terms [m^2] and its (V, 3) derivatives.

        Args:
            scale_m: s. landmark_share: what landmarks weigh beside the scan. step: every so many points of it are
                looked at.
        """
        scan = self._scan
        self.surface.move(vertices)
        chosen = scan.chosen[::step]
        places = self.surface.nearest(chosen)
        off = places.points - chosen
        value, slope = robust(np.vecdot(off, off), scale_m)
        share = self._facing[::step] / len(off)
        total = float(share @ value)
        bar = places.gathered(2.0 * (share * slope)[:, None] * off, self._count)
        some = vertices[self._back]
        away, at = self._tree.query(some)
        away, at = np.asarray(away), np.asarray(at)
        beyond = np.maximum(away - scan.spacing_m, 0.0)
        value, slope = robust(beyond * beyond, scale_m)
        total += _BACK * float(value.mean())
        pull = 2.0 * _BACK / len(some) * slope * beyond / np.maximum(away, 1e-12)
        bar[self._back] += pull[:, None] * (some - scan.chosen[at])
        if self._landmarks is not None and len(self._landmarks.points):
            off = self._landmarks.weights @ vertices - self._landmarks.points
            total += landmark_share * float(np.vecdot(off, off).mean())
            bar += (2.0 * landmark_share / len(off)) * (self._landmarks.weights.T @ off)
        return total, bar


def robust(square: Array, scale_m: float) -> tuple[Array, Array]:
    """Geman and McClure's penalty of squared distances, and its derivative by these."""
    share = 1.0 / (1.0 + square / scale_m**2)
    return square * share, share * share
