"""Which pixels of a frame are the person or object."""

from bodystream.foreground.config import ForegroundConfig
from bodystream.foreground.segmenter import ForegroundSegmenter

__all__ = ["ForegroundConfig", "ForegroundSegmenter"]
