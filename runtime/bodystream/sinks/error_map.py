"""A picture of a body beside the scan it was fitted to, coloured by distance, with a scale."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from bodystream.sinks.sheet import View, draw_mesh, write_sheet
from bodystream.types import Array, Mesh

__all__ = ["write_error_map", "write_error_sheet"]

_PICTURE_PX = 420
_SMALL_PX = 260
_SCALE_PX = 18
_POINT_M = 0.005
_MOST_POINTS = 40_000
_PAPER, _INK = (20, 22, 26), (150, 156, 166)
_STEPS_MM = (5, 10, 20, 50, 100, 200, 500)


def write_error_map(
    path: str | os.PathLike[str], body: Mesh, scan: Mesh, distances_m: Array, yaw_rad: float, label: str
) -> int:
    """Write the scan by distance, and the body, from before and from behind; gives the size of the file.

    Args:
        path: of the png. body: the fitted one, in the scan's axes, y up.
        scan: a mesh, or points without faces.
        distances_m: (N,) of the scan's vertices from the body [m].
        yaw_rad: where the body looks. label: what is written below it.

    Raises:
        InputError: the file cannot be written.
    """
    most_mm = _most_mm(distances_m)
    shown = _shown(scan, distances_m, most_mm)
    both = np.concatenate([body.vertices, scan.vertices])
    low, high = np.percentile(both, (0.2, 99.8), axis=0)
    half_m = 0.54 * float((high - low).max())
    pictures = []
    for side in (0.35, 0.35 + np.pi):
        view = View(0.5 * (low + high), yaw_rad + side, half_m)
        pictures.append(draw_mesh(shown, view, _PICTURE_PX, "scan, by distance from the body"))
        pictures.append(draw_mesh(Mesh(body.vertices, body.faces), view, _PICTURE_PX, label))
    scale = _scale(len(pictures) * _PICTURE_PX, most_mm)
    parts = np.split(scale, len(pictures), axis=1)
    return write_sheet(path, [np.concatenate(pair) for pair in zip(pictures, parts, strict=True)])


def write_error_sheet(
    path: str | os.PathLike[str], bodies: Sequence[Mesh], scans: Sequence[Mesh], distances_m: Sequence[Array],
    labels: Sequence[str], yaw_rad: float = 0.35,
) -> int:  # fmt: skip
    """Write moments of somebody side by side: above what was measured, by its distance from the body, below the body.

    Arguments are those of `write_error_map`, of each moment; all pictures have one size, one side and one scale.
    """
    most_mm = _most_mm(np.concatenate(list(distances_m)))
    half_m = 0.54 * max(
        float(np.ptp(np.percentile(body.vertices, (0.2, 99.8), axis=0), axis=0).max()) for body in bodies
    )
    columns = []
    for body, scan, distances, label in zip(bodies, scans, distances_m, labels, strict=True):
        low, high = np.percentile(body.vertices, (0.2, 99.8), axis=0)
        view = View(0.5 * (low + high), yaw_rad, half_m)
        above = draw_mesh(_shown(scan, distances, most_mm), view, _SMALL_PX)
        columns.append(np.concatenate([above, draw_mesh(body, view, _SMALL_PX, label)]))
    scale = np.split(_scale(len(columns) * _SMALL_PX, most_mm), len(columns), axis=1)
    return write_sheet(path, [np.concatenate(pair) for pair in zip(columns, scale, strict=True)])


def _most_mm(distances_m: Array) -> float:
    return next((step for step in _STEPS_MM if step >= 1e3 * np.percentile(distances_m, 95)), _STEPS_MM[-1])


def _shown(scan: Mesh, distances_m: Array, most_mm: float) -> Mesh:
    colours = _coloured(np.clip(1e3 * distances_m / most_mm, 0.0, 1.0))
    return Mesh(scan.vertices, scan.faces, colours=colours) if len(scan.faces) else _splats(scan, colours)


def _coloured(shares: Array) -> Array:
    """(N, 3) uint8 RGB: blue, green, yellow, red."""
    levels = np.round(255.0 * shares).astype(np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[:, 0, ::-1])


def _splats(scan: Mesh, colours: Array) -> Mesh:
    """A small tetrahedron for each point."""
    some = np.arange(len(scan.vertices))[:: max(1, len(scan.vertices) // _MOST_POINTS)]
    corners = _POINT_M * np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    vertices = (scan.vertices[some, None] + corners).reshape(-1, 3)
    number = 4 * np.arange(len(some))[:, None, None]
    return Mesh(vertices, (faces + number).reshape(-1, 3).astype(np.int32), colours=np.repeat(colours[some], 4, axis=0))


def _scale(width: int, most_mm: float) -> Array:
    """(H, W, 3) the colours from 0 to the most, with their distances."""
    out = np.full((2 * _SCALE_PX, width, 3), _PAPER, np.uint8)
    left, right = width // 8, width - width // 8
    out[2:_SCALE_PX, left:right] = _coloured(np.linspace(0.0, 1.0, right - left))
    for step in range(5):
        place = (round(left + (right - left) * step / 4) - 12, 2 * _SCALE_PX - 5)
        text = f"{most_mm * step / 4:g} mm" + (" and more" if step == 4 else "")
        cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)
    return out
