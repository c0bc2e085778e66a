"""Clocks, per-stage spans and newest-wins slots."""

from bodystream.timing.clock import now_ns
from bodystream.timing.slots import Slot
from bodystream.timing.spans import Spans, SpanSummary

__all__ = ["Slot", "SpanSummary", "Spans", "now_ns"]
