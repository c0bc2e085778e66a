"""Options of the search by OpenCV's DIS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2

from bodystream.correspondence.images import ImageKind
from bodystream.errors import ConfigurationError

__all__ = ["PRESETS", "DisConfig"]

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@dataclass(frozen=True, slots=True)
class DisConfig:
    """How to search, and what to believe.

    Attributes:
        preset: of OpenCV's search; `medium` is the most accurate.
        image: what to search in; a frame without colour is always searched in its shaded depth.
        align: `features` also starts from the large motion that sparse features agree on, as one affine map and as
            a smooth flow.
        passes: searches per start; from the second on the target is warped by the flow so far.
        downscale: images are reduced by this first, and one flow is found for each square of so many pixels: cheaper
            than a coarser finest_scale.
        finest_scale: searched down to 1 / 2^n of the resolution; None = the preset's (fast 2, medium 1). At 2, motion
            of a turning person comes out 12 % too short, at 1 by 5 %.
        backward_finest_scale: of the search back, which only tells what to believe, and so may be coarser.
        patch_stride: pixels between patches; None = the preset's (4 of fast, 3 of medium).
        descents, refinements: iterations per patch, and of the variational refinement; None = the preset's.
        smoothness: weight of the smoothness term in the variational refinement (20 is OpenCV's choice).
        margin_px: the source's bounding box is widened by this much; motion beyond it is lost without a guess.
        consistency_px: standard deviation of the forward-backward error [px].
        noise: of the camera [grey levels].
        contrast: deviation that is believed, relative to the window's contrast.
        brightness: standard deviation of slow changes of light [grey levels].
        window_px: edge of the window in which images are compared.
        cycle_m: standard deviation of the forward-backward error in space [m].
        max_cycle_m: rejected beyond (NNRT, appendix D.3).
        max_depth_change_m: a match that changes its point's depth by more is rejected; None = no limit.
        need_target_depth: reject matches that land where the target has no depth or a depth edge.
        min_weight: smaller weights become 0.
        confidence_stride: weights are computed for every n-th pixel and interpolated.
    """

    preset: Literal["ultrafast", "fast", "medium"] = "fast"
    image: ImageKind = "colour"
    align: Literal["none", "features"] = "none"
    passes: int = 1
    downscale: int = 1
    finest_scale: int | None = None
    backward_finest_scale: int | None = None
    patch_stride: int | None = None
    descents: int | None = None
    refinements: int | None = None
    smoothness: float = 20.0
    margin_px: int = 32
    consistency_px: float = 1.5
    noise: float = 5.0
    contrast: float = 0.5
    brightness: float = 40.0
    window_px: int = 9
    cycle_m: float = 0.05
    max_cycle_m: float = 0.20
    max_depth_change_m: float | None = 0.30
    need_target_depth: bool = True
    min_weight: float = 0.05
    confidence_stride: int = 2

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigurationError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.image not in ("colour", "depth", "both"):
            raise ConfigurationError(f"image must be colour, depth or both, got {self.image!r}")
        if self.align not in ("none", "features"):
            raise ConfigurationError(f"align must be none or features, got {self.align!r}")
        for name in ("consistency_px", "noise", "contrast", "brightness", "cycle_m", "max_cycle_m", "smoothness"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, got {getattr(self, name)}")
        if self.max_depth_change_m is not None and not self.max_depth_change_m > 0:
            raise ConfigurationError(f"max_depth_change_m must be positive or None, got {self.max_depth_change_m}")
        for name, least in (
            ("passes", 1),
            ("downscale", 1),
            ("confidence_stride", 1),
            ("window_px", 3),
            ("margin_px", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name, least in (
            ("finest_scale", 0),
            ("backward_finest_scale", 0),
            ("patch_stride", 1),
            ("descents", 0),
            ("refinements", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name} must be None or at least {least}, got {value}")
        if not 0 <= self.min_weight < 1:
            raise ConfigurationError(f"min_weight must be in [0, 1), got {self.min_weight}")

    @classmethod
    def live(cls) -> DisConfig:
        """From one frame of a camera to the next, in a few milliseconds."""
        return cls(
            downscale=2,
            finest_scale=0,
            backward_finest_scale=1,
            patch_stride=5,
            descents=8,
            refinements=0,
            smoothness=60.0,
            margin_px=10,
            consistency_px=0.5,
            window_px=5,
            need_target_depth=False,  # the tracker looks at the depth of each match itself
            max_depth_change_m=None,
        )

    @classmethod
    def pairwise(cls) -> DisConfig:
        """Two frames far apart in time: evaluation pairs, keyframes, finding a lost person again."""
        return cls(
            preset="medium",
            align="features",
            margin_px=160,
            consistency_px=3.0,
            confidence_stride=1,
            max_depth_change_m=1.5,
        )
