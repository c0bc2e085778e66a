"""Where frames come from: cameras, recordings and generated scenes."""

from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.sources.open import open_source

__all__ = ["RgbdSource", "SourceCounts", "open_source"]
