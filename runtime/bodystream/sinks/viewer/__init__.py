"""Pages in the browser that show a capture, or a driven body, live."""

from bodystream.sinks.viewer.body_state import BodyViewerState
from bodystream.sinks.viewer.capture_state import ViewerState
from bodystream.sinks.viewer.server import BodyViewer, CaptureViewer

__all__ = ["BodyViewer", "BodyViewerState", "CaptureViewer", "ViewerState"]
