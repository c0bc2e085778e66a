"""How the frames of a take are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bodystream.errors import ConfigurationError

__all__ = ["TakeConfig"]


@dataclass(frozen=True, slots=True)
class TakeConfig:
    """How the frames of a take are replayed.

    Attributes:
        realtime: at their own pace, and the newest wins, as from a camera; else every frame, as fast as it goes.
        loop: start again at the end, with time and index going on.
        depth_scale_m: metres per unit of depth; None takes what the take says.
        align, sampling, max_depth_m: as for a RealSense camera; None does as was done while it was recorded. Of takes
            whose colour was recorded as it came, only `max_depth_m` is for the others.
    """

    realtime: bool = False
    loop: bool = False
    depth_scale_m: float | None = None
    align: Literal["depth", "colour"] | None = None
    sampling: Literal["bilinear", "nearest"] | None = None
    max_depth_m: float | None = None

    def __post_init__(self) -> None:
        for option in ("max_depth_m", "depth_scale_m"):
            value = getattr(self, option)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{option} must be a positive number, got {value}")
