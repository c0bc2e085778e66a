"""How a recording in a folder or file is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bodystream.errors import ConfigurationError
from bodystream.types import CameraIntrinsics

__all__ = ["FolderConfig", "Layout"]

Layout = Literal["auto", "deepdeform", "tum", "plain", "numbered", "matlab", "frames", "scannet", "sens", "r3d", "mkv"]


@dataclass(frozen=True, slots=True)
class FolderConfig:
    """How a recording is read.

    Attributes:
        depth_scale_m: metres per unit of depth (0.001 = millimetres); None takes what its files or layout say, checked
            against the values.
        intrinsics: used instead of any file.
        rate_hz: frames per second; None takes the recording's time stamps, where it has none the rate that is stated
            beside the intrinsics, else 30.
        loop: start again at the end, with time and index going on.
        layout: `auto` takes the first that fits; `FolderSource.layout` says which.
        max_depth_m: farther measurements are dropped [m]; None keeps all.
    """

    depth_scale_m: float | None = None
    intrinsics: CameraIntrinsics | None = None
    rate_hz: float | None = None
    loop: bool = False
    layout: Layout = "auto"
    max_depth_m: float | None = None

    def __post_init__(self) -> None:
        for option in ("rate_hz", "max_depth_m", "depth_scale_m"):
            value = getattr(self, option)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{option} must be a positive number, got {value}")
