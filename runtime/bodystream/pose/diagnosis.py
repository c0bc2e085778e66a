"""Mistakes of units, axes and sides in what a headset sends, told by their likely causes."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.pose.features import heading_rotation
from bodystream.types import Array

__all__ = ["frame_mistakes"]


def frame_mistakes(positions_m: Array, rotations: Array) -> list[str]:
    """What is wrong with a person who stands in a T- or I-pose, each with its likely cause; empty if all is well.

    Args:
        positions_m: (N, 3, 3) head, left and right wrist in the world [m].
        rotations: (N, 3, 3, 3) their orientations.
    """
    head, left, right = np.median(positions_m, axis=0)
    reach = max(float(np.linalg.norm(left - head)), float(np.linalg.norm(right - head)))
    if reach > 3.0:
        unit = "millimetres" if reach > 150.0 else "centimetres"
        return [f"a hand is {reach:.0f} m away from the head: positions look like {unit}, metres are wanted"]
    above = head - 0.5 * (left + right)
    tallest = int(np.abs(above).argmax())
    # Where the devices' own axes were converted along with the world's, only the places tell.
    if tallest != 1 and abs(above[tallest]) > max(0.2, 2.5 * abs(above[1])) and abs(head[tallest]) > 0.8:
        axis = "xyz"[tallest]
        direction = "up" if above[tallest] > 0 else "down"
        return [
            f"the head is {abs(above[tallest]):.2f} m above the hands along {axis} and {above[1]:.2f} m along y: the "
            f"axes are {axis} {direction}, y up is wanted (--axes)"
        ]
    if above[1] < -0.15 and head[1] < 0.0:
        return ["the head is below the hands and below the floor: the axes are y down (as a camera's), y up is wanted"]
    up = rotations[:, 0, :, 1].mean(axis=0)
    if up[1] < 0.6:
        return [_wrong_up(rotations[:, 0], up, head - 0.5 * (left + right))]
    aside = heading_rotation(rotations[:, 0])[..., 0].mean(axis=0)
    if float((right - left) @ aside) < -0.1:
        return [
            "the left hand is on the right side of the head: the hands are swapped, or the axes are left-handed (as "
            "Unity's: negate z of positions, and x and y of quaternions), or the headset's forward axis is +z"
        ]
    return []


def _wrong_up(rotations: Array, up: Array, above_hands: Array) -> str:
    """Why the head's y axis does not point up."""
    quaternions = quaternion_from_matrix(rotations)
    # What was read as x, y, z, w may have been w, x, y, z. The sign that canonical form changes plays no part.
    reread = matrix_from_quaternion(np.roll(quaternions, -1, axis=-1))[..., 1, 1].mean()
    dominant = int(np.abs(above_hands).argmax())
    for axis, name in ((2, "z"), (0, "x")):
        if abs(up[axis]) > 0.6 and dominant == axis:
            return (
                f"the head's up axis points along {name}, and the head is above the hands along {name}: the axes are "
                f"{name} up, y up is wanted"
            )
    if above_hands[1] < -0.15 and up[1] < -0.6:
        return "the head is upside down and below the hands: the axes are y down (as a camera's), y up is wanted"
    if reread > 0.8:
        return "the head lies upside down or on its side: its quaternion looks like w first, x y z w is wanted"
    return (
        f"the head's up axis points to ({up[0]:.1f}, {up[1]:.1f}, {up[2]:.1f}) rather than up (0, 1, 0): the headset's "
        "axes are not y up, or its mounting is wrong"
    )
