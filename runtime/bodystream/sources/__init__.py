"""Where frames come from: cameras, recordings and generated scenes."""

from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.sources.open import SourceOptions, open_source

__all__ = ["RgbdSource", "SourceCounts", "SourceOptions", "open_source"]
