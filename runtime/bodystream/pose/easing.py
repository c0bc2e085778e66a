"""A person who turns out to be taller, shorter or longer of arm: lengths go there evenly, so that no body jumps."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.geometry.skeleton import Skeleton
from bodystream.pose.ground import BodyGround

__all__ = ["KnownPerson", "PersonEaser"]


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """What stages want to know of a person.

    Attributes:
        skeleton: the proportions.
        ground: where the skin touches the floor; None for somebody whom the shipped body cannot be.
    """

    skeleton: Skeleton
    ground: BodyGround | None


class PersonEaser:
    """On the way from one person to another, whose lengths are reached within a time.

    Args:
        start, end: the persons.
        lasts_s: how long it takes [s]; 0 = no time.
    """

    def __init__(self, start: KnownPerson, end: KnownPerson, lasts_s: float) -> None:
        self._start, self._end, self._lasts_s = start, end, lasts_s
        self._since_s = 0.0

    @property
    def end(self) -> KnownPerson:
        """Where it leads."""
        return self._end

    def step(self, seconds: float) -> KnownPerson:
        """The person after so much time more [s]; at the end, and from then on, `end` itself."""
        self._since_s += seconds
        if self._since_s >= self._lasts_s:
            return self._end
        part = self._since_s / self._lasts_s
        part = part * part * (3.0 - 2.0 * part)  # begins and ends slowly
        first, last = self._start, self._end
        offsets = first.skeleton.offsets_m
        ground = last.ground
        if first.ground is not None and ground is not None:
            ground = first.ground.towards(ground, part)
        return KnownPerson(Skeleton(offsets + part * (last.skeleton.offsets_m - offsets)), ground)
