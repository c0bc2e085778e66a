"""Which takes, and which pieces of them, a network is trained on or judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.sources.motion.catalogue import UNIDENTIFIED
from bodystream.sources.motion.hinged import HingedTakes
from bodystream.sources.motion.takes import Take

__all__ = ["clips_of", "excerpts", "held_out"]


def held_out(takes: list[Take], trained_on: tuple[str, ...], data: str) -> list[Take]:
    """Takes of people that were not trained on, as far as it is known who they are.

    Raises:
        InputError: there is none.
    """
    chosen = [t for t in takes if t.subject not in trained_on and not t.subject.startswith(UNIDENTIFIED)]
    if not chosen:
        raise InputError(
            f"all {len(takes)} takes of {data} are of people whom the network was trained on: give other motion, or "
            "--include-trained for figures that are no measure of quality"
        )
    return chosen


def clips_of(
    takes: list[Take],
    problems: list[str],
    excerpt_s: tuple[float, float] | None,
    advance: Callable[[int, str], None] | None = None,
    hinged: HingedTakes | None = None,
) -> Iterator[MotionClip]:
    """Load takes one by one, their limbs turned about themselves alike on all rigs.

    Args:
        takes: which.
        problems: what cannot be read is told here.
        excerpt_s: length and spacing of pieces [s], or None for whole clips.
        advance: told how many are done, and which is next.
        hinged: what has read these takes before, and need not read all of a person's again.
    """
    hinged = hinged or HingedTakes(takes)
    for number, take in enumerate(takes):
        if advance is not None:
            advance(number, take.name)
        try:
            clip = hinged.load(take)
        except InputError as error:
            problems.append(str(error))
            continue
        if excerpt_s is None:
            yield clip
        else:
            yield from excerpts(clip, *excerpt_s)


def excerpts(clip: MotionClip, length_s: float, every_s: float) -> Iterator[MotionClip]:
    """Pieces of `length_s` that begin every `every_s` seconds, for a quick look at long recordings.

    Pieces keep the clip's rate, as velocities and jitter need; a clip that is shorter than a piece is given whole.
    """
    length, every = round(length_s * clip.rate_hz), round(every_s * clip.rate_hz)
    if length < 2 or every < length:
        raise ConfigurationError(
            f"excerpts take a length of at least 2 frames and a spacing no shorter than it, got {length_s} s every "
            f"{every_s} s at {clip.rate_hz:g} Hz"
        )
    if len(clip) <= length:
        yield clip
        return
    for start in range(0, len(clip) - length + 1, every):
        yield clip.sliced(start, start + length)
