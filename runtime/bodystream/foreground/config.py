"""Options of what counts as foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bodystream.errors import ConfigurationError

__all__ = ["ForegroundConfig"]


@dataclass(frozen=True, slots=True)
class ForegroundConfig:
    """What counts as foreground.

    Attributes:
        mode: `auto` finds it; `given` takes the frame's mask and fails without one; `all` takes every pixel in range.
        use_given_mask: in `auto`, a mask that comes with the frame wins.
        near_m, far_m: depth outside is ignored.
        seed_px: (u, v) on the person or object in the first frame; the nearest body-sized piece if None.
        seed_extent_m: the seeded thing is no longer than this: of what hangs together with it, the rest is left out.
        remove_planes: take out the floor and walls.
        min_area_m2: smallest body, as its pixels would measure facing the camera.
        min_object_m2: smallest thing that may be seeded, likewise.
        max_area_m2: what doubles in size from one frame to the next and exceeds this has run together with something.
        max_extent_m: nothing larger is a body.
        jump_m: difference of depth between two surfaces at the camera; it grows by 1 cm per m^2.
        link_m: loose pieces nearer than this belong to the body (a hand before the chest cuts it into pieces).
        hold_frames: how long a lost body is waited for before another one is taken.
    """

    mode: Literal["auto", "given", "all"] = "auto"
    use_given_mask: bool = True
    near_m: float = 0.25
    far_m: float = 5.0
    seed_px: tuple[int, int] | None = None
    seed_extent_m: float | None = None
    remove_planes: bool = True
    min_area_m2: float = 0.04
    min_object_m2: float = 0.0025
    max_area_m2: float = 1.2
    max_extent_m: float = 2.6
    jump_m: float = 0.04
    link_m: float = 0.10
    hold_frames: int = 15

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "given", "all"):
            raise ConfigurationError(f"mode must be auto, given or all, got {self.mode!r}")
        if not 0 <= self.near_m < self.far_m:
            raise ConfigurationError(f"near_m must be >= 0 and below far_m, got {self.near_m} and {self.far_m}")
        if self.seed_extent_m is not None and (self.seed_px is None or not self.seed_extent_m > 0):
            raise ConfigurationError(f"seed_extent_m must be positive and needs a seed_px, got {self.seed_extent_m}")
        for name in ("min_area_m2", "min_object_m2", "max_area_m2", "max_extent_m", "jump_m", "link_m"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, got {getattr(self, name)}")
        if self.hold_frames < 0:
            raise ConfigurationError(f"hold_frames must be >= 0, got {self.hold_frames}")
