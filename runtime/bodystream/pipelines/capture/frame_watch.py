"""Frames that cannot be used for what they are: of a time that is past, or the last picture once more."""

from __future__ import annotations

import numpy as np

from bodystream.types import Array, RgbdFrame, Status

__all__ = ["SET_BACK_FRAMES", "FrameWatch"]

SET_BACK_FRAMES = 15
"""So many frames in a row that are too early, and in order among themselves, are of a clock that was set back."""

_ROWS = 16  # every n-th is compared first: pictures that differ do so nearly everywhere


class FrameWatch:
    """Looks at each frame beside the last one that was used.

    Use: `look`, and `used` once the frame was worked on.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the last frame; the next one is taken as it is."""
        self._last: RgbdFrame | None = None
        self._early_ns: int | None = None
        self._early = 0

    def look(self, frame: RgbdFrame) -> tuple[Status, str] | None:
        """What is wrong with a frame; None where it can be used.

        Returns:
            LOST for a frame that is not later than the last one: it comes out of order. DEGRADED where its depth is
            that of the last frame to the bit, which no sensor measures twice: it says nothing new. The reason with it.
        """
        last = self._last
        if last is not None and frame.t_ns <= last.t_ns and not self._is_set_back(frame.t_ns):
            return Status.LOST, "out of order: the frame is not later than one that came before"
        if last is not None and _same(frame.depth_m, last.depth_m):
            return Status.DEGRADED, "the camera gives the same picture again"
        return None

    def used(self, frame: RgbdFrame) -> None:
        """Remember a frame that was not LOST for its time: the next ones are looked at beside it."""
        self._early, self._early_ns = 0, None
        self._last = frame

    def _is_set_back(self, t_ns: int) -> bool:
        in_order = self._early_ns is not None and t_ns > self._early_ns
        self._early = self._early + 1 if in_order else 1
        self._early_ns = t_ns
        return self._early >= SET_BACK_FRAMES


def _same(depth_m: Array, before_m: Array) -> bool:
    """Whether two pictures hold the same measurements, and any."""
    if not np.array_equal(depth_m[::_ROWS], before_m[::_ROWS]):
        return False
    return np.array_equal(depth_m, before_m) and bool(depth_m.any())
