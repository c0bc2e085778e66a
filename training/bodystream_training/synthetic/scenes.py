"""Random scenes at two moments: who and what is before the camera, how it moves, and how it is lit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.sources.synthetic.noise import DepthNoiseModel
from bodystream.types import Array, CameraIntrinsics
from bodystream_training.synthetic.shapes import Surface
from bodystream_training.synthetic.textures import Material

__all__ = [
    "Gap",
    "Light",
    "PosedBody",
    "Scene",
    "camera_noise",
    "framed",
    "random_gap",
    "random_lights",
    "random_turn",
]


@dataclass(frozen=True, slots=True)
class Light:
    """One lamp and what comes from everywhere.

    Attributes:
        to_light: (3,) unit, camera frame. light, ambient: (3,) factors of each colour.
    """

    to_light: Array
    light: Array
    ambient: Array


@dataclass(frozen=True, slots=True)
class PosedBody:
    """The shipped body in a scene.

    Attributes:
        rest_m, rest_normals: (V, 3) float32 of its build.
        looseness_m: (V,) float32, see `kernels.loosen_garments`.
        fold_cell_m: size of the folds [m]. place, swing: (3,) in the noise; how far they move between the images.
        bones: (2, 22, 4, 4) from rest to the camera's frame at both moments.
    """

    rest_m: Array
    rest_normals: Array
    looseness_m: Array
    fold_cell_m: float
    place: Array
    swing: Array
    bones: Array


@dataclass(frozen=True, slots=True)
class Scene:
    """What a pair of images shows.

    Attributes:
        body: or None. Its faces have the materials `wardrobe.REGIONS`, the first four.
        surfaces: everything else.
        materials: by number.
        intrinsics: of the crop that is drawn.
        lights: at both moments.
        noise: of the depth camera, or None for clean depth in whole millimetres; `noise_frame` counts its images.
        found_by_depth: the masks are what depth shows of the subject, with holes and a ragged outline, as live capture
            finds it; else they are exact, as people draw them.
        blur_px: of the colour image, as a standard deviation [px].
        jpeg_quality: of the colour images, 0 to 100; None where they were not compressed.
        exposure: how much of the motion between the images is smeared over each, 0 to 1.
    """

    body: PosedBody | None
    surfaces: list[Surface]
    materials: list[Material]
    intrinsics: CameraIntrinsics
    lights: tuple[Light, Light]
    noise: DepthNoiseModel | None
    noise_frame: int
    found_by_depth: bool
    blur_px: float
    jpeg_quality: int | None
    exposure: float


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between the two images and what large motion may happen in it.

    Attributes:
        seconds: between them. change: 0 to 1, how far things deform and turn, as a share of the largest change.
        exposure: see `Scene`.
    """

    seconds: float
    change: float
    exposure: float


def random_gap(rng: np.random.Generator) -> Gap:
    """Of neighbouring images of a live capture (1 to 5 frames at 30 Hz), or of an image and a keyframe."""
    if rng.uniform() < 0.55:
        frames = int(rng.integers(1, 6))
        exposure = rng.uniform(0.0, 0.5) / frames if rng.uniform() < 0.5 else 0.0
        return Gap(frames / 30.0, 0.07 * frames * rng.uniform() ** 2, exposure)
    seconds = rng.uniform(0.2, 1.6)
    return Gap(seconds, rng.uniform(0.1, 1.0), rng.uniform(0.0, 0.02) / seconds)


def random_lights(rng: np.random.Generator) -> tuple[Light, Light]:
    """A lamp on the camera's side, which moves and changes a little from one image to the other."""
    direction = rng.normal(0.0, 0.6, 3) + (0.0, -0.5, -1.0)
    ambient = rng.uniform(0.3, 0.7)
    strength = (1.1 - ambient) * rng.uniform(0.7, 1.2)
    tint = np.exp(rng.normal(0.0, 0.06, 3))
    lights = []
    for _ in range(2):
        turned = direction / np.linalg.norm(direction) + rng.normal(0.0, 0.06, 3)
        factor = np.exp(rng.normal(0.0, 0.05, 2))
        lights.append(Light(turned / np.linalg.norm(turned), strength * factor[0] * tint, ambient * factor[1] * tint))
    return lights[0], lights[1]


def framed(
    rng: np.random.Generator, rays: Array, size: tuple[int, int], focal_px: float
) -> tuple[CameraIntrinsics, float]:
    """The crop of a camera's image that shows the subject, as live capture makes it.

    Args:
        rays: (N, 2) x / z and y / z of points of the subject at both moments, in the camera's frame.
        size: (width, height) of the crop [px].
        focal_px: of the camera's own image.

    Returns:
        The crop's intrinsics, and its pixels per pixel of the camera.
    """
    low, high = np.percentile(rays, (0.5, 99.5), axis=0)
    if rng.uniform() < 0.35:  # only a part is in sight
        middle = rays[rng.integers(len(rays))]
        half = 0.5 * (high - low) * rng.uniform(0.35, 0.9)
        if rng.uniform() < 0.5:  # people at a desk: their upper part, over the whole width
            middle, half[0] = np.array([middle[0], low[1] + half[1]]), np.inf
        low, high = np.maximum(low, middle - half), np.minimum(high, middle + half)
    width, height = np.maximum(high - low, 1e-3) * rng.uniform(1.03, 1.35)
    whole, filled = np.sort([size[0] / width, size[1] / height])
    focal = whole * (filled / whole) ** (0.9 * rng.uniform() ** 2)
    focal = float(np.clip(focal, 0.2 * focal_px, 1.6 * focal_px))
    middle = 0.5 * (low + high)
    # what does not fit is cut anywhere, and what is left over lies on any side
    slack = np.abs(np.array(size) / focal - (high - low))
    middle = middle + slack * rng.uniform(-0.5, 0.5, 2)
    cx, cy = 0.5 * (np.array(size) - 1) - focal * middle
    return CameraIntrinsics(focal, focal, float(cx), float(cy), *size), focal / focal_px


def camera_noise(rng: np.random.Generator, scale: float) -> DepthNoiseModel | None:
    """Of a stereo camera whose image was resized by `scale`; now and then a better one, or clean depth."""
    if rng.uniform() < 0.12:
        return None
    model = DepthNoiseModel()
    quality = np.exp(rng.uniform(-1.2, 0.4))
    return DepthNoiseModel(
        baseline_m=model.baseline_m,
        subpixel_px=model.subpixel_px * scale,
        sigma_px=model.sigma_px * scale * quality,
        edge_jitter_px=model.edge_jitter_px * scale * rng.uniform(0.3, 1.2),
        edge_step_px=model.edge_step_px * scale,
        edge_dropout=model.edge_dropout * rng.uniform(0.3, 1.2),
        fattening=model.fattening * rng.uniform(0.3, 1.2),
        speckle_sigma=model.speckle_sigma + rng.uniform(-0.2, 1.5),
    )


def random_turn(rng: np.random.Generator, largest_rad: float) -> Array:
    """(3, 3) a rotation about any axis, by a normal angle cut at `largest_rad`."""
    axis = rng.standard_normal(3)
    angle = float(np.clip(rng.normal(0.0, 0.5 * largest_rad), -largest_rad, largest_rad))
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()
