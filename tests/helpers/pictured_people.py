"""People of an embedding as a camera sees their joints, projected apart from the code that fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting.keypoint_places import keypoint_weights
from bodystream.sources.keypoints import LAYOUTS
from bodystream.types import Array

__all__ = ["CAMERA", "PicturedPerson", "pictured_person"]

CAMERA = (1100.0, 1050.0, 630.0, 470.0)
"""fx, fy, cx, cy [px]."""


@dataclass(frozen=True)
class PicturedPerson:
    """(K, 2) keypoints [px] of a layout, and the truth: (V, 3) body in the camera's axes [m], its pose."""

    points_px: Array
    body_m: Array
    pose: Array


def pictured_person(
    decoder: BodyDecoder, seed: int, noise_px: float, layout: str = "BODY_25", yaw_rad: float = 0.4,
    pose: Array | None = None,
) -> PicturedPerson:  # fmt: skip
    """Somebody 3 m ahead who looks about into the camera: x right, y down, z forward."""
    rng = np.random.default_rng(seed)
    shape = 0.7 * rng.normal(size=decoder.facts.shape)
    pose = 0.6 * rng.normal(size=decoder.facts.pose) if pose is None else pose
    x, y, z = decoder.vertices(shape, pose).T  # x to the body's right, y up, it looks along -z
    cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
    right, ahead = -x, -z
    body = np.stack([cosine * right + sine * ahead + 0.1, 0.1 - y + y.mean(), 3.0 + sine * right - cosine * ahead], 1)
    fx, fy, cx, cy = CAMERA
    places = keypoint_weights(decoder, LAYOUTS[layout]) @ body
    points = np.array([[fx * p[0] / p[2] + cx, fy * p[1] / p[2] + cy] for p in places])
    return PicturedPerson(points + noise_px * rng.normal(size=points.shape), body, pose)
