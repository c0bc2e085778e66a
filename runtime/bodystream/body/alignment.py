"""Meshes turned and moved to lie on the reference, which features do not do by themselves: a turned body is another."""

from __future__ import annotations

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["UPS", "aligned", "check_standing", "turn_onto", "upright"]

_AXES = "xyz"
UPS = {
    axis: np.array(turn, np.float64)
    for axis, turn in {
        "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)), "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
        "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)), "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
        "-y": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    }.items()
}  # fmt: skip
"""What turns each axis but y to y, (3, 3)."""
_ALONG = 0.87
"""Cosine of the angle between an axis and the trunk within which it seems to be up: 30 degrees."""


def upright(axis: str) -> Array:
    """(3, 3) rotation that turns an axis, as `z` or `-x`, to y."""
    return np.eye(3) if axis == "y" else UPS[axis]


def turn_onto(vertices: Array, reference: Array, chosen: Array) -> Array:
    """(3, 3) rotation R for which `vertices @ R` lies best on the reference, of the chosen vertices (Kabsch).

    Args:
        vertices, reference: (V, 3). chosen: (V,) bool.
    """
    p, q = vertices[chosen], reference[chosen]
    left, _, right = np.linalg.svd((p - p.mean(axis=0)).T @ (q - q.mean(axis=0)))
    left[:, 2] *= np.sign(np.linalg.det(left @ right))
    return left @ right


def aligned(vertices: Array, reference: Array, chosen: Array) -> Array:
    """Vertices turned and moved so that the chosen ones, as the trunk, lie best on the reference's.

    Args:
        vertices, reference: (V, 3). chosen: (V,) bool.
    """
    turn = turn_onto(vertices, reference, chosen)
    return (vertices - vertices[chosen].mean(axis=0)) @ turn + reference[chosen].mean(axis=0)


def check_standing(vertices: Array, reference: Array, chosen: Array, where: str) -> None:
    """Refuse a body whose trunk stands along another axis than y, which is that of other programs' axes.

    Args:
        vertices, reference: (V, 3), the reference with y up. chosen: (V,) bool.

    Raises:
        InputError: says which axis seems to be up.
    """
    along = np.abs(turn_onto(vertices, reference, chosen)[:, 1])  # of each axis with the reference's up
    up = int(along.argmax())
    if up != 1 and along[up] > _ALONG:
        raise InputError(
            f"{where}: {_AXES[up]} seems to be up, the trunk stands along it, and y must be: turn the mesh, that of "
            "somebody who lies, too"
        )
