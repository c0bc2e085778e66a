"""Clocks, per-stage spans, newest-wins slots and the gate that tells whether time goes on."""

from bodystream.timing.clock import now_ns
from bodystream.timing.gate import LONGEST_GAP_S, ClockGate, Tick
from bodystream.timing.slots import Slot
from bodystream.timing.spans import Spans, SpanSummary

__all__ = ["LONGEST_GAP_S", "ClockGate", "Slot", "SpanSummary", "Spans", "Tick", "now_ns"]
