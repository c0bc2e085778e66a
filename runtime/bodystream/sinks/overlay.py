"""A picture of a body as a camera sees it, with the joints of a picture and the body's own drawn over it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from bodystream.geometry.camera import project
from bodystream.sinks.sheet import write_sheet
from bodystream.types import Array, CameraIntrinsics, Mesh

__all__ = ["write_overlay"]

_LONGER_PX, _LINE_PX = 900, 22
_SMOOTH, _SHIFT = 2, 4
_PAPER, _INK, _CLAY = (20, 22, 26), (150, 156, 166), np.array([200.0, 196.0, 190.0])
_GIVEN, _OWN = (64, 220, 130), (255, 120, 60)
_LIGHT = np.array([0.35, -0.55, -0.76])


def write_overlay(
    path: str | os.PathLike[str], body: Mesh, camera: CameraIntrinsics, given_px: Array, own_px: Array,
    bones: Sequence[tuple[int, int]], label: str,
) -> int:  # fmt: skip
    """Write the picture; gives the size of the file.

    Args:
        path: of the png. body: in the camera's axes [m]. camera: whose picture it is.
        given_px: (K, 2) joints of the picture, green, joined by `bones`. own_px: (K, 2) those of the body, orange.
        label: what is written below.

    Raises:
        InputError: the file cannot be written.
    """
    scale = _LONGER_PX / max(camera.width, camera.height)
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    picture = np.full((_SMOOTH * height, _SMOOTH * width, 3), _PAPER, np.uint8)
    fine = scale * _SMOOTH

    def pixels(points: Array) -> Array:
        inside = np.clip(np.nan_to_num((points + 0.5) * fine - 0.5, nan=-1e5), -1e5, 1e5)
        return np.round(inside * (1 << _SHIFT)).astype(np.int32)

    vertices, faces = np.asarray(body.vertices, np.float64), body.faces
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    ahead = (np.vecdot(normals, a) < 0.0) & (np.minimum(np.minimum(a[:, 2], b[:, 2]), c[:, 2]) > 0.05)
    light = 0.4 + 0.75 * np.clip(normals @ _LIGHT, 0.0, None)
    painted = np.clip(_CLAY * light[:, None], 0, 255)
    triangles = pixels(project(vertices, camera))[faces]
    depth = (a + b + c)[:, 2]
    for face in np.argsort(-depth).tolist():
        if ahead[face]:
            cv2.fillConvexPoly(picture, triangles[face], painted[face].tolist(), cv2.LINE_8, _SHIFT)
    given, own = pixels(given_px), pixels(own_px)
    for one, other in bones:
        cv2.line(picture, given[one].tolist(), given[other].tolist(), _GIVEN, 2, cv2.LINE_AA, _SHIFT)
    for here, there in zip(given.tolist(), own.tolist(), strict=True):
        cv2.line(picture, here, there, _OWN, 2, cv2.LINE_AA, _SHIFT)
        cv2.circle(picture, there, 5 << _SHIFT, _OWN, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(picture, here, 7 << _SHIFT, _GIVEN, 2, cv2.LINE_AA, _SHIFT)
    out = np.full((height + _LINE_PX, width, 3), _PAPER, np.uint8)
    out[:height] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    cv2.putText(out, label, (4, height + _LINE_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return write_sheet(path, [out])
