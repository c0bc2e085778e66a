"""The viewer's page as a sink of a capture."""

from __future__ import annotations

from collections.abc import Sequence

from bodystream.pipelines.capture.view import CaptureView
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.viewer import CaptureViewer, ViewerState

__all__ = ["CaptureViewerSink"]


class CaptureViewerSink(SinkBase[ViewerState]):
    """Shows frames on a viewer's page, which is closed with it; nothing is copied that no browser would be sent."""

    name = "viewer"

    def __init__(self, viewer: CaptureViewer) -> None:
        self._viewer = viewer

    @property
    def warnings(self) -> Sequence[str]:
        return self._viewer.warnings

    def prepare(self, view: CaptureView) -> ViewerState | None:
        result = view.result
        if view.occasion is not Occasion.RESULT or result is None or not self._viewer.wants_state:
            return None
        return ViewerState(
            t_ns=view.t_ns,
            frame=result.frame,
            live_mesh=view.live_mesh,
            canonical_mesh=view.canonical_mesh,
            graph=view.graph,
            hud=view.stages,
            fps=view.rate_hz,
            status=result.status,
            reason=result.reason,
            details={"nodes": str(result.nodes), "vertices": str(result.vertices)},
            warnings=view.warnings,
        )

    def publish(self, state: ViewerState, /) -> None:
        self._viewer.publish(state)

    def close(self) -> Sequence[str]:
        self._viewer.close()
        return ()
