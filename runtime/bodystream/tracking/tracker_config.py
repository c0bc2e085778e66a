"""Options of the tracker."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.deformation.ownership import MOST_POINTS
from bodystream.errors import ConfigurationError
from bodystream.tracking.config_checks import require_number, require_whole
from bodystream.tracking.growth import GrowthConfig
from bodystream.tracking.matches import MatchConfig
from bodystream.tracking.solver_types import SolverConfig

__all__ = ["TrackerConfig"]


@dataclass(frozen=True)
class TrackerConfig:
    """How a person is followed from frame to frame.

    Attributes:
        sigma_m: node coverage of the deformation graph.
        initial_stride: pixel stride of the first frame's graph.
        max_points: surface vertices that are tracked; a denser surface is thinned evenly; at most 65,536.
        keyframes: most keyframes that are kept, one for each view of the model; 0 = none.
        keyframe_flow_every: flow from a keyframe is wanted on every n-th frame.
        grow_every: the graph may grow on every n-th frame.
        poor_fit: share of the facing model that does not fit the depth above which a frame is told as degraded;
            lost_fit: above which its motion is taken back, and it is not fused. After lost frames, and where the model
            was placed anew, poor_fit takes its place.
        stale_fit: running mean of that share above which the model is to be started anew: so much of it is wrong that
            replacing it part by part takes longer.
        restart_after: lost frames in a row after which the model is to be started anew.
        restart: whether the model may be started anew at all.
        matches, solver, growth: of the parts.
    """

    sigma_m: float = 0.05
    initial_stride: int = 3
    max_points: int = 6_000
    keyframes: int = 8
    keyframe_flow_every: int = 8
    grow_every: int = 2
    poor_fit: float = 0.35
    lost_fit: float = 0.6
    stale_fit: float = 0.5
    restart_after: int = 45
    restart: bool = True
    matches: MatchConfig = MatchConfig()
    solver: SolverConfig = SolverConfig.live()
    growth: GrowthConfig = GrowthConfig()

    def __post_init__(self) -> None:
        require_number("tracking", self, "sigma_m", above=0)
        require_whole("tracking", self, 1, "initial_stride", "max_points", "keyframe_flow_every", "grow_every")
        if self.max_points > MOST_POINTS:
            raise ConfigurationError(f"tracking: max_points must be at most {MOST_POINTS}, got {self.max_points}")
        require_whole("tracking", self, 0, "keyframes")
        require_whole("tracking", self, 1, "restart_after")
        require_number("tracking", self, "poor_fit", "lost_fit", "stale_fit", above=0, most=1)
        if self.poor_fit > self.lost_fit:
            raise ConfigurationError(
                f"tracking: poor_fit must not exceed lost_fit ({self.lost_fit}), got {self.poor_fit}"
            )
