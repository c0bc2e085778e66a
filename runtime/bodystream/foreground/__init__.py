"""Which pixels of a frame are the person or object."""

from bodystream.foreground.segmenter import ForegroundConfig, ForegroundSegmenter

__all__ = ["ForegroundConfig", "ForegroundSegmenter"]
