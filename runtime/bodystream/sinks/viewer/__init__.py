"""Pages in the browser that show a capture, or a driven body, live."""

from bodystream.sinks.viewer.body_state import BodyMesh, BodyViewerState
from bodystream.sinks.viewer.server import BodyViewer, CaptureViewer
from bodystream.sinks.viewer.state import ViewerState

__all__ = ["BodyMesh", "BodyViewer", "BodyViewerState", "CaptureViewer", "ViewerState"]
