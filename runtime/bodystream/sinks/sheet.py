"""Contact sheets: small pictures of a surface at several moments side by side, for a person to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.types import Array, Mesh

__all__ = ["View", "draw_mesh", "write_sheet"]

_PAPER, _INK, _ALARM = (20, 22, 26), (150, 156, 166), (255, 178, 74)
_CLAY = (200, 196, 190)
_SMOOTH = 2  # drawn at this times the size
_SHIFT = 4  # binary digits after the point of a pixel's coordinates
_LINE_PX = 18


@dataclass(frozen=True, slots=True)
class View:
    """What a picture shows: level, without perspective.

    Attributes:
        centre_m: (3,) in the middle of the picture [m].
        yaw_rad: where the viewer stands about the vertical: 0 looks along +z.
        half_m: how far is seen to each side, upwards and downwards [m].
    """

    centre_m: Array
    yaw_rad: float
    half_m: float


def draw_mesh(mesh: Mesh, view: View, size_px: int, label: str = "", alarm: bool = False) -> Array:
    """(H, W, 3) uint8 RGB of a mesh, `size_px` square and a line below for the label.

    Faces are painted from the farthest to the nearest, each in one colour.

    Args:
        alarm: write the label in a colour that is seen.
    """
    scale = _SMOOTH * size_px / (2.0 * view.half_m)
    sine, cosine = np.sin(view.yaw_rad), np.cos(view.yaw_rad)
    ahead, right = np.array([sine, 0.0, cosine]), np.array([-cosine, 0.0, sine])
    local = mesh.vertices.astype(np.float64) - view.centre_m
    across, depth = local @ right, local @ ahead
    pixels = np.stack([across * scale, -local[:, 1] * scale], axis=1) + _SMOOTH * size_px / 2.0 - 0.5
    corners = mesh.faces
    a, b, c = (local[corners[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    inner = normals @ ahead > 0.0  # the inside of cloth
    normals[inner] *= -1.0
    light = 0.45 + 0.75 * np.clip(normals @ (-0.76 * ahead - 0.35 * right + (0.0, 0.55, 0.0)), 0.0, None)
    light[inner] *= 0.6
    colours = np.broadcast_to(_CLAY, mesh.vertices.shape) if mesh.colours is None else mesh.colours
    painted = np.clip(colours[corners].mean(axis=1) * light[:, None], 0, 255)
    picture = np.full((_SMOOTH * size_px, _SMOOTH * size_px, 3), _PAPER, np.uint8)
    triangles = np.round(np.clip(pixels[corners], -1e5, 1e5) * (1 << _SHIFT)).astype(np.int32)
    for face in np.argsort(-depth[corners].mean(axis=1)).tolist():
        cv2.fillConvexPoly(picture, triangles[face], painted[face].tolist(), cv2.LINE_8, _SHIFT)
    out = np.full((size_px + _LINE_PX, size_px, 3), _PAPER, np.uint8)
    out[:size_px] = cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
    place, ink = (4, size_px + _LINE_PX - 6), _ALARM if alarm else _INK
    cv2.putText(out, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, ink, 1, cv2.LINE_AA)
    return out


def write_sheet(path: str | os.PathLike[str], pictures: Sequence[Array], columns: int = 8) -> int:
    """Write pictures of one size side by side as a png, whole or not at all; gives its size.

    Raises:
        InputError: there is none, or the file cannot be written.
    """
    if not pictures:
        raise InputError(f"{path}: there is no picture to put on a sheet")
    tiles, columns = list(pictures), min(columns, len(pictures))
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], _PAPER))
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    done, data = cv2.imencode(".png", np.ascontiguousarray(np.concatenate(rows)[..., ::-1]))
    if not done:
        raise InputError(f"{path}: the picture could not be encoded")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return data.size
