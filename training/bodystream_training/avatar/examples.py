"""A take as examples: its frames with points about them, in the frame of the body's heading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bodystream.avatar.take.canonical import BONE_PARENTS
from bodystream.avatar.take.frames import AvatarTake
from bodystream.errors import InputError
from bodystream_training.avatar.batches import AvatarExamples, Posed, posed_points
from bodystream_training.avatar.data.sampling import SampleCache, SamplingConfig

__all__ = ["examples_of", "frames_of"]


def frames_of(
    take: AvatarTake,
    split: str,
    config: SamplingConfig,
    cache: Path | None,
    *,
    most: int | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[Posed]:
    """The frames of a split, with points about them.

    Args:
        cache: folder that keeps the points.
        most: so many frames at most, evenly over the split.
        on_frame: called after each.

    Raises:
        InputError: the split has no frames.
    """
    names = set(take.motions.get(split, ()))
    numbers = [number for number, frame in enumerate(take.frames) if frame.motion in names]
    if not numbers:
        raise InputError(f"the take has no frames of the split {split!r}: record or generate motions for it")
    if most is not None and len(numbers) > most:
        numbers = [numbers[i] for i in np.linspace(0, len(numbers) - 1, most).round().astype(int)]
    samples = SampleCache(take, config, cache)
    out = []
    for number in numbers:
        found = samples[number]
        near, box = slice(None, found.near), slice(found.near, None)
        bones = take.frames[number].posed_from_canonical
        out.append(posed_points(bones, found.points[near], found.inside[near], found.points[box], found.inside[box]))
        if on_frame is not None:
            on_frame()
    return out


def examples_of(
    take: AvatarTake,
    config: SamplingConfig,
    cache: Path | None,
    *,
    validation: int = 12,
    on_frame: Callable[[], None] | None = None,
) -> AvatarExamples:
    """All frames to train on, and some of the test motions for the log.

    Raises:
        InputError: there is nothing to train on.
    """
    train = frames_of(take, "train", config, cache, on_frame=on_frame)
    held = (
        frames_of(take, "test", config, cache, most=validation, on_frame=on_frame) if take.motions.get("test") else []
    )
    return AvatarExamples(train, held, take.rest_joints_m, BONE_PARENTS)
