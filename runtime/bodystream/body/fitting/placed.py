"""A body of an embedding that stands somewhere, and derivatives by all that describes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.geometry.rotations import matrix_from_rotation_vector, skew
from bodystream.types import Array

__all__ = ["MOVE_M", "TURN_RAD", "PlacedBody", "Placement"]

TURN_RAD, MOVE_M = 0.02, 0.02
"""What a unit of the turn and of the move is in a search: about what a unit of a code moves vertices by."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a body stands.

    Attributes:
        rotation: (3, 3) from the embedding's axes to those of the data.
        translation: (3,) [m], applied after it.
    """

    rotation: Array
    translation: Array

    @property
    def matrix(self) -> Array:
        """(4, 4) float64 data_from_body."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.rotation, self.translation
        return out

    def applied(self, points: Array) -> Array:
        """(N, 3) points of the embedding's axes in those of the data [m]."""
        return points @ self.rotation.T + self.translation


class PlacedBody:
    """Vertices of a vector of unknowns, and derivatives by it: (S + P + 6,), both codes, a turn and a move in units of
    a search about a placement it began with.

    Args:
        decoder: whose bundle has derivatives.
        start: placement that a turn and a move of zero mean.

    Attributes:
        evaluations: how often vertices were made.
    """

    def __init__(self, decoder: BodyDecoder, start: Placement) -> None:
        decoder.open_gradient()
        self.decoder, self.evaluations = decoder, 0
        self._shape = decoder.facts.shape
        self._codes = self._shape + decoder.facts.pose
        self._middle = decoder.space.reference.mean(axis=0)
        self._start = start
        self._at = start.applied(self._middle)  # where the body is turned about
        self._made: Array | None = None
        self._codes_made = np.zeros(0)
        self._number = -1  # of the decoder's bodies

    @property
    def size(self) -> int:
        """Of the vector."""
        return self._codes + 6

    def unknowns(self, codes: BodyCodes) -> Array:
        """The vector of codes at the start's placement."""
        return np.concatenate([codes.shape, codes.pose, np.zeros(6)]).astype(np.float64)

    def codes(self, unknowns: Array) -> BodyCodes:
        """The codes in a vector."""
        made = unknowns[: self._codes].astype(np.float32)
        return BodyCodes(made[: self._shape], made[self._shape :])

    def placement(self, unknowns: Array) -> Placement:
        """The placement in a vector."""
        turn, move = self._turn(unknowns), MOVE_M * unknowns[-3:]
        rotation = matrix_from_rotation_vector(turn) @ self._start.rotation
        return Placement(rotation, self._at + move - rotation @ self._middle)

    def vertices(self, unknowns: Array) -> Array:
        """(V, 3) vertices [m]; only codes that changed are decoded again, or where the decoder made another body since,
        whose derivatives it would give."""
        codes = unknowns[: self._codes]
        if self._number != self.decoder.made or not np.array_equal(codes, self._codes_made):
            made = self.codes(unknowns)
            self._made = self.decoder.vertices(made.shape, made.pose)
            self._codes_made, self._number = codes.copy(), self.decoder.made
            self.evaluations += 1
        assert self._made is not None
        return self.placement(unknowns).applied(self._made)

    def pull_back(self, unknowns: Array, vertices_bar: Array) -> Array:
        """Derivatives of a quantity by the vector whose vertices were made last.

        Args:
            vertices_bar: (V, 3) derivatives of that quantity by the vertices.
        """
        assert self._made is not None
        placement, turn = self.placement(unknowns), self._turn(unknowns)
        shape_bar, pose_bar = self.decoder.pull_back(vertices_bar @ placement.rotation)
        arms = (self._made - self._middle) @ placement.rotation.T
        turn_bar = left_jacobian(turn).T @ np.cross(arms, vertices_bar).sum(axis=0)
        return np.concatenate([shape_bar, pose_bar, TURN_RAD * turn_bar, MOVE_M * vertices_bar.sum(axis=0)])

    def _turn(self, unknowns: Array) -> Array:
        return TURN_RAD * unknowns[-6:-3]


def left_jacobian(turn: Array) -> Array:
    """(3, 3) J for which exp(turn + d) = exp(J d) exp(turn) to first order."""
    square = float(turn @ turn)
    k = skew(turn)
    if square < 1e-6:
        return np.eye(3) + (0.5 - square / 24.0) * k + (1.0 / 6.0 - square / 120.0) * (k @ k)
    angle = np.sqrt(square)
    return np.eye(3) + (1.0 - np.cos(angle)) / square * k + (angle - np.sin(angle)) / (square * angle) * (k @ k)
