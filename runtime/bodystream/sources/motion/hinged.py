"""Takes whose limbs are turned about themselves alike, whatever rig they were recorded on (`rolls`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sources.motion.rolls import RollEvidence, find_rolls, roll_evidence, rolled
from bodystream.sources.motion.takes import Take
from bodystream.types import Array

__all__ = ["HingedTakes"]

_BONES = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "wrist", "knee", "ankle")]
_SAME_LENGTHS = 0.01
"""Of the bones' lengths as parts of their sum; the same person on another rig has other joints."""


class HingedTakes:
    """Takes of people, each read with what all takes of its person on its rig show.

    A take in which somebody never bends an elbow, or never stands, is told by the others.

    Args:
        takes: of any people. They are read as they are needed, those of a person together, and what they show is kept.
    """

    def __init__(self, takes: Sequence[Take]) -> None:
        self._of_subject: dict[str, list[Take]] = {}
        for take in takes:
            self._of_subject.setdefault(take.subject, []).append(take)
        self._shown: dict[tuple[Path, str], tuple[Array, RollEvidence] | None] = {}

    def load(self, take: Take, warnings: list[str] | None = None) -> MotionClip:
        """The motion on the canonical skeleton, at its own rate.

        Args:
            take: one of these, or another one.
            warnings: what had to be guessed is appended, each naming the take.

        Raises:
            InputError: as `Take.load`.
        """
        clip = take.load(warnings)
        lengths, own = self._shown[take.path, take.name] = _lengths(clip), roll_evidence(clip)
        parts = [own]
        for other in self._of_subject.get(take.subject, ()):
            shown = self._show(other)
            if (other.path, other.name) != (take.path, take.name) and shown is not None:
                if np.abs(shown[0] / lengths - 1.0).max() < _SAME_LENGTHS:
                    parts.append(shown[1])
        rolls = find_rolls(RollEvidence.joined(parts), clip.skeleton)
        if warnings is not None:
            warnings.extend(f"{take.name}: {note}" for note in rolls.notes)
        return rolled(clip, rolls)

    def _show(self, take: Take) -> tuple[Array, RollEvidence] | None:
        key = take.path, take.name
        if key not in self._shown:
            try:
                clip = take.load()
            except InputError:  # told when it is read for itself
                self._shown[key] = None
            else:
                self._shown[key] = _lengths(clip), roll_evidence(clip)
        return self._shown[key]


def _lengths(clip: MotionClip) -> Array:
    lengths = np.linalg.norm(clip.skeleton.offsets_m[_BONES], axis=1)
    return lengths / lengths.sum()
