"""A picture of bodies in some moments side by side, with the markers that they were fitted to."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from bodystream.sinks.sheet import View, draw_mesh, write_sheet
from bodystream.types import Array, Mesh

__all__ = ["write_marker_sheet"]

_PICTURE_PX = 380
_MARKER_M = 0.012
_CLAY, _NEAR, _FAR = (200, 196, 190), (64, 220, 130), (255, 70, 50)
_FAR_M = 0.03
_CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
_FACES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32
)  # fmt: skip


def write_marker_sheet(
    path: str | os.PathLike[str], bodies: Sequence[Array], faces: Array, markers: Sequence[Array],
    distances_m: Sequence[Array], yaws_rad: Sequence[float], labels: Sequence[str], columns: int = 6,
) -> int:  # fmt: skip
    """Write the picture; gives the size of the file.

    Args:
        path: of the png. bodies: (V, 3) of each moment, y up [m]. faces: (F, 3).
        markers: (M, 3) of each moment, nan where one was not seen; drawn green on their places, red 3 cm off.
        distances_m: (M,) of these from their places. yaws_rad: where each body looks. labels: of each, drawn below.

    Raises:
        InputError: the file cannot be written.
    """
    extents = [np.ptp(vertices, axis=0).max() for vertices in bodies]
    pictures = []
    for vertices, points, off, yaw, label in zip(bodies, markers, distances_m, yaws_rad, labels, strict=True):
        seen = np.isfinite(points).all(axis=1)
        share = np.clip(off[seen] / _FAR_M, 0.0, 1.0)[:, None]
        colours = (1.0 - share) * _NEAR + share * _FAR
        drawn = _with_markers(vertices, faces, points[seen], colours)
        middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
        pictures.append(draw_mesh(drawn, View(middle, yaw + 0.5, 0.55 * float(max(extents))), _PICTURE_PX, label))
    return write_sheet(path, pictures, columns)


def _with_markers(vertices: Array, faces: Array, points: Array, colours: Array) -> Mesh:
    """One mesh of a body and an octahedron for each marker."""
    count = len(_CORNERS)
    balls = (points[:, None] + _MARKER_M * _CORNERS).reshape(-1, 3)
    own = (_FACES + count * np.arange(len(points))[:, None, None] + len(vertices)).reshape(-1, 3)
    painted = np.concatenate([np.tile(_CLAY, (len(vertices), 1)), np.repeat(colours, count, axis=0)])
    return Mesh(
        np.concatenate([vertices, balls]), np.concatenate([faces, own]).astype(np.int32),
        colours=np.round(painted).astype(np.uint8),
    )  # fmt: skip
