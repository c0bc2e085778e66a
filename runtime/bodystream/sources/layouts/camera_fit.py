"""Do these intrinsics belong to images of this size?

A lens stands before the middle of its sensor: the principal points of real cameras lie within a tenth of the image's
side of its centre. Farther off, the numbers belong to images of another size, stand in another order, or the images
were cropped.
"""

from __future__ import annotations

import math

__all__ = ["NEAR", "centre_factors", "doubts_of", "reordered", "size_of_centre"]

NEAR = 0.2
"""How far a principal point's factor (see `centre_factors`) may be from 1."""

_SAME_FACTOR = 0.08
_SQUARE = 1.25
_VIEW_DEG = (10.0, 150.0)
_ORDERS = {
    "fx cx fy cy": (0, 2, 1, 3),
    "cx cy fx fy": (2, 3, 0, 1),
    "cx fx cy fy": (1, 3, 0, 2),
}


def centre_factors(cx: float, cy: float, width: int, height: int) -> tuple[float, float]:
    """How many times larger the images would be of which this principal point is the centre."""
    return (cx + 0.5) / (width / 2), (cy + 0.5) / (height / 2)


def size_of_centre(cx: float, cy: float) -> str:
    """`WxH` of the images that have this centre."""
    return f"{2 * cx + 1:.0f}x{2 * cy + 1:.0f}"


def _fits(fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> bool:
    if min(fx, fy) <= 0 or not 1 / _SQUARE < fx / fy < _SQUARE:
        return False
    return all(abs(factor - 1) <= NEAR for factor in centre_factors(cx, cy, width, height))


def reordered(
    values: tuple[float, float, float, float], width: int, height: int
) -> tuple[tuple[float, float, float, float], str] | None:
    """Four numbers read as `fx fy cx cy` that make no camera of this size, in the one order in which they do.

    Returns:
        fx, fy, cx, cy and the order that they stand in; None where they are right as they are, or nothing is better.
    """
    if _fits(*values, width, height):
        return None
    found = [
        ((values[a], values[b], values[c], values[d]), order)
        for order, (a, b, c, d) in _ORDERS.items()
        if _fits(values[a], values[b], values[c], values[d], width, height)
    ]
    return found[0] if len(found) == 1 else None


def doubts_of(fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> tuple[str, bool]:
    """What is odd about a camera for images of this size.

    Returns:
        A sentence without its subject, or empty; and whether the numbers certainly belong to another size.
    """
    across, down = centre_factors(cx, cy, width, height)
    centre = f"the principal point ({cx:g}, {cy:g})"
    images = f"the {width}x{height} depth images"
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        return f"{centre} lies outside {images}, so it belongs to images of another size", True
    if 0 <= cx <= 1 and 0 <= cy <= 1 and min(width, height) > 8:
        return f"{centre} is given in fractions of the image or belongs to images of another size", True
    far = abs(across - 1) > NEAR or abs(down - 1) > NEAR
    if far and min(across, down) > 0 and abs(across / down - 1) < _SAME_FACTOR:
        other = size_of_centre(cx, cy)
        return f"{centre} is the centre of {other} images, {across:.3g} times the size of {images}", True
    if far:
        return (
            f"{centre} is far from the centre of {images}, as if it were of {size_of_centre(cx, cy)} ones: if they "
            "were not cropped, the intrinsics belong to images of another size, and lengths come out wrong",
            False,
        )
    if not 1 / _SQUARE < fx / fy < _SQUARE:
        return f"fx {fx:g} and fy {fy:g} differ as no camera's do: the numbers may stand in another order", False
    view_deg = 2 * math.degrees(math.atan(width / (2 * fx)))
    if not _VIEW_DEG[0] <= view_deg <= _VIEW_DEG[1]:
        return f"{images} would show {view_deg:.3g} degrees with fx {fx:g}, as no depth camera does", False
    return "", False
