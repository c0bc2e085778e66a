"""Random materials: colours and patterns with structure at several scales, looked up at a surface's rest position."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from bodystream.types import Array

__all__ = ["Material", "any_turn", "noise_volume", "random_colour", "random_material"]

_CELLS = 32


@dataclass(frozen=True, slots=True)
class Material:
    """What a surface is painted with; see `kernels.paint`.

    Attributes:
        first, second: colours that the pattern mixes, RGB in 0 to 255. Where `painted` is 1, `first` tints the
            vertices' own colours.
        pattern: 0 blobs, 1 stripes, 2 checks, 3 dots.
        pattern_from_rest: (3, 3) [periods / m].
        sharpness: of the pattern's edges; 1 is a wave.
        grain: strength of coarse, middle and fine noise.
        cell_m: of the fine noise; the middle one has 2.6 times, the coarse one 8 times that [m].
        painted: share of the vertices' own colours.
        place: (3,) in the noise [cells].
        is_subject: whether it belongs to what deforms.
        patch: (4,) centre and radius [m] at rest of a print, the one place with the pattern; radius 0 = everywhere.
    """

    first: Array
    second: Array
    pattern: int
    pattern_from_rest: Array
    sharpness: float
    grain: tuple[float, float, float]
    cell_m: float
    painted: float
    place: Array
    is_subject: bool
    patch: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@cache
def noise_volume() -> Array:
    """(N, N, N) float32 periodic noise of unit variance whose details have about the size of a cell."""
    field = gaussian_filter(np.random.default_rng(5).standard_normal((_CELLS,) * 3), 0.8, mode="wrap")
    return (field / field.std()).astype(np.float32)


def any_turn(rng: np.random.Generator) -> Array:
    """(3, 3) a rotation, each as likely as any other."""
    return Rotation.from_quat(rng.standard_normal(4)).as_matrix()


def random_colour(rng: np.random.Generator) -> Array:
    """RGB in 0 to 255: any hue, more often pale or dark than glaring, as clothes are."""
    hue, saturation, value = rng.uniform(), rng.beta(1.0, 2.2), rng.uniform(0.08, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)) * 255.0


def random_material(
    rng: np.random.Generator, *, is_subject: bool, period_m: tuple[float, float] = (0.03, 0.3), painted: float = 0.0
) -> Material:
    """A material with a pattern whose period is within `period_m`; a third is nearly plain, as most clothes are."""
    strength = rng.uniform(0.1, 0.4) if rng.uniform() < 0.35 else 1.0
    first, second = random_colour(rng), random_colour(rng)
    period = np.exp(rng.uniform(*np.log(period_m)))
    stretch = np.exp(rng.normal(0.0, 0.3, 3))
    turn = any_turn(rng)
    if rng.uniform() < 0.5:  # clothes are sewn upright
        turn = Rotation.from_euler("y", rng.uniform(0, np.pi)).as_matrix()
        turn = turn[[1, 0, 2]] if rng.uniform() < 0.5 else turn
    grain = np.array([rng.uniform(0.02, 0.16), rng.uniform(0.03, 0.22), rng.uniform(0.02, 0.25)]) * strength
    return Material(
        first=first,
        second=first + (second - first) * (1.0 if strength == 1.0 else rng.uniform(0.0, 0.15)),
        pattern=int(rng.integers(4)),
        pattern_from_rest=turn * stretch[:, None] / period,
        sharpness=float(np.exp(rng.uniform(0.0, 2.0))),
        grain=(float(grain[0]), float(grain[1]), float(grain[2])),
        cell_m=float(period_m[0] * np.exp(rng.uniform(-1.6, 0.0))),
        painted=painted,
        place=rng.uniform(0.0, _CELLS, 3),
        is_subject=is_subject,
    )
