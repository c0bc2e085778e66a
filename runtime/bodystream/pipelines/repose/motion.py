"""Which part of a motion is posed, at what rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["MotionPart", "cut"]

_MOST_FRAMES = 1_000_000
"""Three hours at 90 Hz."""


@dataclass(frozen=True, slots=True)
class MotionPart:
    """What of a motion is posed; None = to its end, at its own rate.

    Attributes:
        start_s: where to begin [s]. seconds: how long [s].
        rate_hz: poses per second. frames: at most so many of them.

    Raises:
        ConfigurationError: a number that cannot be.
    """

    start_s: float = 0.0
    seconds: float | None = None
    rate_hz: float | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ConfigurationError(f"--start-s must be 0 or more seconds, got {self.start_s}")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigurationError(f"--seconds must be positive, got {self.seconds}")
        if self.rate_hz is not None and not 0.1 <= self.rate_hz <= 1000.0:
            raise ConfigurationError(f"--rate-hz must be 0.1 to 1000 poses per second, got {self.rate_hz}")
        if self.frames is not None and self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")


def cut(clip: MotionClip, part: MotionPart) -> MotionClip:
    """The part of a motion.

    Raises:
        ConfigurationError: it begins behind the motion's end.
        InputError: the motion has no poses, too many, or some that are not finite and would have to be interpolated.
    """
    if not len(clip):
        raise InputError(f"the motion {clip.name} has no poses: give one with at least one frame")
    first = math.ceil(part.start_s * clip.rate_hz - 1e-6)
    if first >= len(clip):
        raise ConfigurationError(
            f"--start-s {part.start_s:g} is behind the end of the motion {clip.name}, which has {len(clip)} frames and "
            f"lasts {clip.duration_s:.2f} s"
        )
    last = len(clip)
    if part.seconds is not None:
        last = min(last, first + math.floor(part.seconds * clip.rate_hz + 1e-6) + 1)
    clip = clip.sliced(first, last)
    if part.rate_hz is not None:
        _refuse_gaps(clip)
        clip = clip.resampled(part.rate_hz)
    if part.frames is not None:
        clip = clip.sliced(0, part.frames)
    if len(clip) > _MOST_FRAMES:
        raise InputError(
            f"the motion {clip.name} has {len(clip)} poses, more than {_MOST_FRAMES}: choose a lower --rate-hz, or a "
            "part by --start-s and --seconds"
        )
    return clip


def _refuse_gaps(clip: MotionClip) -> None:
    finite: Array = np.asarray(np.isfinite(clip.rotations_xyzw).all(axis=-1))
    whole = np.asarray(finite.all(axis=1) & np.isfinite(clip.root_positions_m).all(axis=1))
    if not whole.all():
        frame = int(np.argmin(whole))
        where = JOINTS[int(np.argmin(finite[frame]))] if not finite[frame].all() else "the root position"
        raise InputError(
            f"the motion {clip.name} is not finite in {np.count_nonzero(~whole)} of {len(clip)} frames, first in frame "
            f"{frame} at {where}: take it at its own rate, where these are left out, or mend the file"
        )
