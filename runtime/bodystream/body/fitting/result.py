"""What a fit gives back."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.body.decoder import BodyCodes
from bodystream.body.fitting.placed import Placement
from bodystream.types import Array

__all__ = ["FittedBody"]


@dataclass(frozen=True)
class FittedBody:
    """A body of an embedding that was fitted to something.

    Attributes:
        codes: of shape and pose.
        placement: where it stands.
        vertices: (V, 3) float64, placed [m].
        distances_m: of each given point from the body's surface, or of each given vertex from the body's.
        evaluations: how many bodies were made on the way.
        seconds: the whole took.
    """

    codes: BodyCodes
    placement: Placement
    vertices: Array
    distances_m: Array
    evaluations: int
    seconds: float

    @property
    def point_to_mesh_mean_m(self) -> float:
        """The mean of these distances [m]."""
        return float(self.distances_m.mean())
