"""Pictures of takes that a person can look at: sheets of frames from ahead and behind, and film strips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.files import atomic_path
from bodystream.types import Array
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["draw_frame", "write_sheet", "write_strip"]

_BACKGROUND = (20, 22, 26)
_TEXT = (150, 156, 166)
_SMOOTH = 2  # drawn at this times the size
_HALF_WIDTH_M = 0.95
_BELOW_M, _ABOVE_M = 1.12, 0.98  # of the pelvis


def draw_frame(
    take: AvatarTake, frame: PosedFrame, height_px: int, yaw_rad: float, half_m: float = _HALF_WIDTH_M
) -> Array:
    """(H, W, 3) uint8 RGB of a frame, seen level and without perspective.

    Args:
        yaw_rad: of the viewer about the person: 0 is in front of the canonical pose, pi behind.
        half_m: how far is seen to each side [m].
    """
    faces = take.faces_of(frame)
    vertices = frame.vertices.astype(np.float64)
    pelvis = frame.posed_from_canonical[0, :3, 3].astype(np.float64)
    back = np.array([np.sin(yaw_rad), 0.0, np.cos(yaw_rad)])  # where the viewer looks
    right = np.array([-back[2], 0.0, back[0]])
    rows = _SMOOTH * height_px
    columns = round(rows * 2 * half_m / (_BELOW_M + _ABOVE_M))
    x = np.linspace(-half_m, half_m, columns)
    y = np.linspace(_ABOVE_M, -_BELOW_M, rows)
    grid = pelvis + x[None, :, None] * right + y[:, None, None] * (0.0, 1.0, 0.0) - 3.0 * back
    face, weights = QuerySurface(vertices, faces).hit(grid.reshape(-1, 3), back)
    seen = face >= 0
    corners = faces[face[seen]]
    normal = np.einsum("pk,pki->pi", weights[seen], _normals(vertices, faces)[corners])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    inner = normal @ back > 0.0  # the inside of cloth
    normal[inner] *= -1.0
    to_light = -0.76 * back - 0.35 * right + np.array([0.0, 0.55, 0.0])
    light = 0.36 + 0.74 * np.clip(normal @ to_light, 0.0, None)
    light[inner] *= 0.6
    colours = take.colours_of(frame)
    albedo = (
        np.full((int(seen.sum()), 3), 205.0)
        if colours is None
        else np.einsum("pk,pki->pi", weights[seen], colours[corners].astype(np.float64))
    )
    image = np.empty((rows * columns, 3))
    image[:] = _BACKGROUND
    image[seen] = albedo * light[:, None]
    whole = np.clip(image, 0, 255).astype(np.uint8).reshape(rows, columns, 3)
    return cv2.resize(whole, (columns // _SMOOTH, height_px), interpolation=cv2.INTER_AREA)


def write_sheet(
    path: Path, take: AvatarTake, frames: Sequence[PosedFrame], columns: int = 8, height_px: int = 260
) -> None:
    """Write a png with each frame from ahead, the motion's name below.

    Raises:
        InputError: it cannot be written.
    """
    tiles = []
    for frame in frames:
        tile = draw_frame(take, frame, height_px, 0.35)
        label = f"{frame.number} {frame.motion}"
        cv2.putText(tile, label, (4, height_px - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.34, _TEXT, 1, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], _BACKGROUND))
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    _save(path, np.concatenate(rows))


def write_strip(path: Path, take: AvatarTake, frames: Sequence[PosedFrame], height_px: int = 300) -> None:
    """Write a png with a few frames of one motion side by side, from ahead above and from behind below.

    Raises:
        InputError: it cannot be written.
    """
    rows = [
        np.concatenate([draw_frame(take, frame, height_px, yaw, 0.62) for frame in frames], axis=1)
        for yaw in (0.5, np.pi + 0.5)
    ]
    _save(path, np.concatenate(rows))


def _save(path: Path, image: Array) -> None:
    with atomic_path(path) as waiting:
        waiting.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def _normals(vertices: Array, faces: Array) -> Array:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.zeros((len(vertices), 3))
    for i in range(3):
        np.add.at(normals, faces[:, i], np.cross(b - a, c - a))
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
