"""Which pixels of a frame are the person or object."""

from bodystream.foreground.components import largest_body
from bodystream.foreground.config import ForegroundConfig
from bodystream.foreground.segmenter import ForegroundSegmenter

__all__ = ["ForegroundConfig", "ForegroundSegmenter", "largest_body"]
