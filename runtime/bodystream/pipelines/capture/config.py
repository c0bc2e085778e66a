"""Options of live capture: those of its stages and what is left between them."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.correspondence import DisConfig
from bodystream.foreground import ForegroundConfig
from bodystream.fusion import FusionConfig
from bodystream.tracking import TrackerConfig
from bodystream.tracking.config_checks import require_number, require_whole

__all__ = ["CaptureConfig"]


@dataclass(frozen=True)
class CaptureConfig:
    """Options of live capture.

    Attributes:
        extract_every: the fused surface is extracted again on every n-th frame; it changes little from one to the next.
        through_share: and in each frame in which more than this share of the model is in doubt because the camera sees
            through it, so that what is wrong is taken out at once: a hand that is faster than it is followed.
        least_pixels: foreground pixels with depth that a frame must have to be tracked.
        least_object_pixels: the same where a thing was seeded.
        nodes_across: a thing is covered by at least so many nodes along its longer side, closer than `sigma_m` if need
            be.
        foreground, flow, tracking, fusion: of the stages.
    """

    extract_every: int = 2
    through_share: float = 0.003
    least_pixels: int = 800
    least_object_pixels: int = 150
    nodes_across: int = 4
    foreground: ForegroundConfig = ForegroundConfig()
    flow: DisConfig = DisConfig.live()
    tracking: TrackerConfig = TrackerConfig()
    fusion: FusionConfig = FusionConfig(
        min_weight=0.05, edge_px=1, min_cosine=0.05, anchor_budget=16384, surface_tolerance_m=0.001, silhouette_px=3
    )

    def __post_init__(self) -> None:
        require_number("capture", self, "through_share", least=0, most=1)
        require_whole("capture", self, 1, "extract_every", "least_pixels", "least_object_pixels", "nodes_across")
