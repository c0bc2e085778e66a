"""A capture as its sinks see it, on the pipeline's thread."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from bodystream.foreground.planes import Plane
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.result import CaptureResult
from bodystream.sinks.base import Occasion
from bodystream.timing import SpanSummary
from bodystream.types import GraphSnapshot, Mesh, SkinnedMesh

__all__ = ["CaptureView"]


class CaptureView:
    """One moment of a capture. Copies from the device are made when they are first asked for, once for all sinks.

    Attributes:
        occasion: why it is shown.
        result: of the frame; at other occasions the last one, or None before the first.
        capture: the pipeline at rest.
        motion: that of the nodes in this frame, without what the solver used; None before there are any.
        rate_hz: frames per second, as a person sees it.
        latency_ms: of the frame.
        warnings: of the source so far, with how often each came up.
    """

    def __init__(
        self,
        occasion: Occasion,
        result: CaptureResult | None,
        capture: Capture,
        motion: GraphSnapshot | None,
        rate_hz: float,
        warnings: Mapping[str, int],
        latency_ms: float = 0.0,
    ) -> None:
        self.occasion, self.result, self.capture, self.motion = occasion, result, capture, motion
        self.rate_hz, self.warnings, self.latency_ms = rate_hz, warnings, latency_ms

    @property
    def t_ns(self) -> int:
        """Of the frame."""
        return 0 if self.result is None else self.result.frame.t_ns

    @cached_property
    def graph(self) -> GraphSnapshot | None:
        """The deformation graph, its motion and the nodes that the last solve used."""
        return self.capture.graph(self.t_ns)

    @cached_property
    def canonical_mesh(self) -> Mesh | None:
        """The fused surface in its canonical pose [m]."""
        surface = self.capture.surface
        return None if surface is None else surface.download()

    @cached_property
    def skinned(self) -> SkinnedMesh | None:
        """The same surface on the nodes that move it."""
        surface = self.capture.surface
        return None if surface is None else surface.skinned(self.capture.field)

    @cached_property
    def live_mesh(self) -> Mesh | None:
        """The surface in the pose of this frame, in the camera's frame [m]."""
        return self.capture.live_mesh()

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Planes that were found behind the subject, see `foreground.planes`."""
        return tuple(self.capture.foreground.planes)

    @cached_property
    def stages(self) -> Mapping[str, SpanSummary]:
        """Percentiles per stage."""
        return self.capture.spans.summary()
