"""What the viewer is given for one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bodystream.timing import SpanSummary
from bodystream.types import GraphSnapshot, Mesh, RgbdFrame, Status

__all__ = ["ViewerState"]


@dataclass(frozen=True, slots=True)
class ViewerState:
    """One moment of a capture; what is None is left as it is shown.

    The viewer keeps references until the next state is shown: the arrays must not be written to afterwards.

    Attributes:
        t_ns: of the frame.
        frame: the camera's measurement.
        live_mesh: the surface in the pose of this frame, camera frame [m].
        canonical_mesh: the fused surface in its canonical pose [m].
        graph: the deformation graph and its motion.
        hud: percentiles per stage.
        fps: processed frames per second.
        status, reason: how tracking fares.
        details: further lines of the table, e.g. `{"nodes": "213"}`.
        warnings: of source and capture so far, or how often each happened. One that is new, or happened once more, is
            shown for some seconds.
    """

    t_ns: int
    frame: RgbdFrame | None = None
    live_mesh: Mesh | None = None
    canonical_mesh: Mesh | None = None
    graph: GraphSnapshot | None = None
    hud: Mapping[str, SpanSummary] = field(default_factory=dict)
    fps: float = 0.0
    status: Status = Status.TRACKED
    reason: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] | Mapping[str, int] = ()
