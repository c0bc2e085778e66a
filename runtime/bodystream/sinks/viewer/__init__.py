"""A page in the browser that shows a capture live."""

from bodystream.sinks.viewer.server import CaptureViewer
from bodystream.sinks.viewer.state import ViewerState

__all__ = ["CaptureViewer", "ViewerState"]
