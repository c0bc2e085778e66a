"""Elbows that do not jump: an arm may turn about the line from shoulder to wrist only so fast.

Head and hands leave each elbow a circle to be on; what says where on it is a guess, and guesses jump. So the arm is
turned back along the circle to where the elbow can have gone since the last pose. Shoulder and wrist stay.
"""

from __future__ import annotations

import math

from bodystream.geometry.rotations import turn_about
from bodystream.pose.hinges import Hinge
from bodystream.types import Array

__all__ = ["SwivelLimiter"]

_ROUND_M = 1e-3
"""A straight limb has no swivel."""


class SwivelLimiter:
    """Of some limbs, how the middle joint turns about the line between its ends; one object per person."""

    def __init__(self, hinges: tuple[Hinge, ...]) -> None:
        self._hinges = hinges
        self.reset()

    def reset(self) -> None:
        """Forget where the joints were: the next pose is taken as it is."""
        self._poles: list[Array | None] = [None] * len(self._hinges)

    def step(self, rotations: Array, positions_m: Array, world: Array, most_m: float) -> Array:
        """The pose with its limbs turned back; `rotations` itself where nothing is too fast.

        Args:
            rotations: (22, 3, 3) in the parents' frames.
            positions_m, world: (22, 3) joints [m] and (22, 3, 3) their orientations, in the world.
            most_m: how far a joint may go along its circle [m].
        """
        out = rotations
        for number, hinge in enumerate(self._hinges):
            start, middle, end = (positions_m[j] for j in (hinge.upper, hinge.joint, hinge.end))
            line, arm = end - start, middle - start
            length = _length(line)
            if length < _ROUND_M:
                continue
            line = line / length
            pole = arm - (arm @ line) * line
            radius = _length(pole)
            if radius < _ROUND_M:
                continue
            pole = pole / radius
            last, self._poles[number] = self._poles[number], pole
            if last is None:
                continue
            across = last - (last @ line) * line
            size = _length(across)
            if size < 0.1:  # the line turned to where the joint was: that says nothing
                continue
            angle = math.atan2(_triple(line, across, pole), float(across @ pole))
            excess = abs(angle) - most_m / radius
            if excess <= 0.0:
                continue
            turn = turn_about(line, -math.copysign(excess, angle))
            self._poles[number] = turn @ pole
            out = rotations.copy() if out is rotations else out
            # The upper bone's parent and the end keep their orientation in the world.
            out[hinge.upper] = rotations[hinge.upper] @ world[hinge.upper].T @ turn @ world[hinge.upper]
            out[hinge.end] = (turn @ world[hinge.joint]).T @ world[hinge.end]
        return out


# numpy's own take several times as long for three numbers
def _length(vector: Array) -> float:
    return math.sqrt(vector @ vector)


def _triple(first: Array, second: Array, third: Array) -> float:
    """`first . (second x third)`."""
    (x, y, z), (a, b, c), (d, e, f) = first.tolist(), second.tolist(), third.tolist()
    return x * (b * f - c * e) + y * (c * d - a * f) + z * (a * e - b * d)
