"""How places of a body change with its codes: what a search for a few places needs to take long steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.placed import MOVE_M, TURN_RAD, Placement
from bodystream.geometry.rotations import skew
from bodystream.types import Array

__all__ = ["PlaceRates", "place_rates"]

_STEP = 0.25
"""Of a code: a decoder of 8 bits is not smooth in less."""


@dataclass(frozen=True)
class PlaceRates:
    """Places of a body and their rates.

    Attributes:
        codes: of the body.
        places: (M, 3) in the embedding's axes [m].
        by_codes: (M, 3, S + P) [m], per unit of each code.
        middle: (3,) that a `PlacedBody` is turned about [m].
    """

    codes: BodyCodes
    places: Array
    by_codes: Array
    middle: Array

    def by_unknowns(self, placement: Placement) -> Array:
        """(M, 3, S + P + 6) rates of the places in the data's axes, by the unknowns of a `PlacedBody`."""
        arms = (self.places - self.middle) @ placement.rotation.T
        return np.concatenate(
            [
                placement.rotation @ self.by_codes,
                -TURN_RAD * skew(arms),
                np.broadcast_to(MOVE_M * np.eye(3), (len(arms), 3, 3)),
            ],
            axis=2,
        )

    def curvature(self, placement: Placement, weights: Array) -> Array:
        """(S + P + 6, S + P + 6) of the sum of weighted squared distances of the places, as Gauss and Newton have it.

        Args:
            weights: (M,) of each place [1/m^2]; 0 where it is not known.
        """
        rates = (np.sqrt(2.0 * weights)[:, None, None] * self.by_unknowns(placement)).reshape(3 * len(weights), -1)
        return rates.T @ rates


def place_rates(decoder: BodyDecoder, codes: BodyCodes, places: Callable[[Array], Array]) -> PlaceRates:
    """By differences, a body for each number of the codes: these are fewer than there are coordinates of places.

    Args:
        codes: about which. places: (V, 3) vertices to (M, 3) places, wherever the body stands.
    """
    shape, pose = np.asarray(codes.shape, np.float64), np.asarray(codes.pose, np.float64)
    at = np.concatenate([shape, pose])
    here = places(decoder.vertices(shape, pose))
    rates = np.empty((*here.shape, len(at)))
    for number in range(len(at)):
        changed = at.copy()
        changed[number] += -_STEP if at[number] > 0.0 else _STEP
        there = places(decoder.vertices(changed[: len(shape)], changed[len(shape) :]))
        rates[:, :, number] = (there - here) / (changed[number] - at[number])
    return PlaceRates(codes, here, rates, decoder.space.reference.mean(axis=0))
