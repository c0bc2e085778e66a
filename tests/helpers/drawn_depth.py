"""Depth images of meshes, drawn by OpenCV: faces from the farthest to the nearest, pixels on the planes of these."""

from __future__ import annotations

import cv2
import numpy as np

from bodystream.types import Array, CameraIntrinsics

__all__ = ["KINECT", "drawn_depth"]

KINECT = CameraIntrinsics(285.63, 285.63, 160.0, 120.0, 320, 240)


def drawn_depth(vertices: Array, faces: Array, camera: CameraIntrinsics = KINECT) -> Array:
    """(H, W) float32 [m], 0 where nothing is.

    Args:
        vertices: (V, 3) with y up and the camera at the origin, looking along -z [m].
    """
    seen = vertices * (1.0, -1.0, -1.0)
    pixels = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    corners = seen[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    ahead = np.flatnonzero(np.vecdot(normals, corners[:, 0]) < 0.0)
    number = np.full((camera.height, camera.width), -1, np.int32)
    for face in ahead[np.argsort(-corners[ahead, :, 2].mean(axis=1))].tolist():
        triangle = np.round(pixels[faces[face]] * 256.0).astype(np.int32)
        cv2.fillConvexPoly(number, triangle, face, cv2.LINE_8, 8)
    row, column = np.nonzero(number >= 0)
    face = number[row, column]
    rays = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, np.ones(len(row))], axis=1)
    away = np.vecdot(normals[face], corners[face, 0]) / np.vecdot(normals[face], rays)
    low, high = corners[face, :, 2].min(axis=1), corners[face, :, 2].max(axis=1)
    out = np.zeros(number.shape, np.float32)
    out[row, column] = np.clip(away, low, high)  # a pixel at the rim lies a little beside its face
    return out
