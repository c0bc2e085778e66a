"""What cameras and lamps do to the colours of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.types import Array

__all__ = ["ColourChange", "changed_colours"]

_LEVELS = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
_LATTICE = 4  # values a side of the smooth field of light


@dataclass(frozen=True)
class ColourChange:
    """How colours change. Values are standard deviations, unless they say otherwise.

    Both images of a pair get the same change of `gain`, `gamma`, `contrast`, `hue_rad` and `saturation`; between them,
    the smaller changes of the second group happen, and each has noise and blur of its own.

    Attributes:
        grey: probability that a pair loses its colours.
        gain, gamma, contrast, saturation: of the logarithm of the factor or power.
        hue_rad: of the turn about the grey axis [rad].
        light, light_gamma, light_contrast: between the images, as `gain`, `gamma` and `contrast`.
        balance: between the images, of the logarithm of each channel's factor.
        shading: between the images, of the logarithm of a smooth field of light over the image.
        noise: highest standard deviation of the noise of a pixel, of colours in 0 to 1.
        blur_px: highest standard deviation of the blur [px].
    """

    grey: float = 0.05
    gain: float = 0.20
    gamma: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.30
    hue_rad: float = 0.35
    light: float = 0.08
    light_gamma: float = 0.05
    light_contrast: float = 0.05
    balance: float = 0.03
    shading: float = 0.06
    noise: float = 0.03
    blur_px: float = 1.0


def changed_colours(
    source_rgb: Array, target_rgb: Array, change: ColourChange, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Two (H, W, 3) uint8 images of a pair as (H, W, 3) float32 in 0 to 1, changed."""
    c = change
    grey = np.full((3, 3), 1.0 / 3.0)
    mix = grey
    if rng.uniform() >= c.grey:
        mix = _colour_matrix(rng.normal(0.0, c.hue_rad), float(np.exp(rng.normal(0.0, c.saturation))))
    both = rng.normal(0.0, (c.gain, c.gamma, c.contrast))
    height, width = source_rgb.shape[:2]
    # one field of noise, of which each image has another part
    noise = rng.standard_normal((height + 32, width + 32, 3), np.float32)
    out = []
    for image in (source_rgb, target_rgb):
        # half of the change between the two images happens to each, on the mean
        gain, gamma, contrast = both + rng.normal(0.0, (c.light, c.light_gamma, c.light_contrast)) / 2**0.5
        balance = rng.normal(0.0, c.balance, 3) / 2**0.5
        curves = (0.5 + (_LEVELS ** np.exp(gamma) - 0.5) * np.exp(contrast)) * np.exp(gain + balance)
        rgb = cv2.LUT(image, np.ascontiguousarray(curves[:, None], np.float32))
        rgb = cv2.transform(rgb, mix.astype(np.float32))
        field = np.exp(rng.normal(0.0, c.shading / 2**0.5, (_LATTICE, _LATTICE))).astype(np.float32)
        rgb *= cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        sigma_px = c.blur_px * rng.uniform() ** 2
        if sigma_px > 0.2:  # less does nothing
            rgb = cv2.GaussianBlur(rgb, (7, 7), sigma_px)
        top, left = rng.integers(0, 33, 2)
        strength = np.float32(c.noise * rng.uniform() ** 2)
        rgb += strength * noise[top : top + height, left : left + width]
        out.append(np.clip(rgb, 0.0, 1.0, out=rgb))
    return out[0], out[1]


def _colour_matrix(angle_rad: float, saturation: float) -> Array:
    """(3, 3): a turn of colours about the grey axis (Rodrigues), and their distance from it scaled."""
    grey = np.full((3, 3), 1.0 / 3.0)
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3**0.5
    return grey + saturation * (np.cos(angle_rad) * (np.eye(3) - grey) + np.sin(angle_rad) * cross)
