"""The table of figures beside the picture, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from bodystream.sinks.viewer.state import ViewerState
from bodystream.timing import SpanSummary
from bodystream.types import Status

__all__ = ["problems_html", "stages_html", "status_html"]

_COLOURS = {Status.TRACKED: "#2b8a3e", Status.DEGRADED: "#b35c00", Status.LOST: "#c92a2a"}
_WORDS = {Status.TRACKED: "Tracking", Status.DEGRADED: "Degraded", Status.LOST: "Lost"}
_FRAME = "font-size:0.8em;line-height:1.35;padding:0 0.75em 0.35em 0.75em"
_NUMBER = "text-align:right;font-variant-numeric:tabular-nums;padding:0 0 0 0.8em"


def status_html(state: ViewerState | None, running: bool) -> str:
    """One line with the status as a coloured word, its reason, and the frame rate."""
    if state is None:
        text = "Waiting for the first frame" if running else "Stopped"
        return f'<div style="{_FRAME}"><b>{text}</b></div>'
    status = Status(state.status)
    word, colour = (_WORDS[status], _COLOURS[status]) if running else ("Stopped", "#5c6670")
    badge = f'<span style="background:{colour};color:#fff;border-radius:0.6em;padding:0.1em 0.7em"><b>{word}</b></span>'
    rate = f'<span style="float:right"><b>{state.fps:.1f}</b> fps</span>' if running else ""
    reason = f'<div style="padding-top:0.3em">{escape(state.reason)}</div>' if state.reason else ""
    return f'<div style="{_FRAME}">{rate}{badge}{reason}</div>'


def stages_html(hud: Mapping[str, SpanSummary], details: Mapping[str, str]) -> str:
    """Durations per stage, then the further lines."""
    head = "".join(f'<th style="{_NUMBER};font-weight:600">{name}</th>' for name in ("p50", "p99"))
    rows = "".join(
        f'<tr><td>{escape(stage)}</td><td style="{_NUMBER}">{s.p50_ms:.1f}</td>'
        f'<td style="{_NUMBER}">{s.p99_ms:.1f}</td></tr>'
        for stage, s in hud.items()
    )
    more = "".join(
        f'<tr><td>{escape(name)}</td><td colspan="2" style="{_NUMBER}">{escape(value)}</td></tr>'
        for name, value in details.items()
    )
    if not rows and not more:
        return f'<div style="{_FRAME}">No figures yet</div>'
    table = '<table style="width:100%;border-collapse:collapse">'
    head = f'<tr><th style="text-align:left;font-weight:600">stage [ms]</th>{head}</tr>' if rows else ""
    return f'<div style="{_FRAME}">{table}{head}{rows}{more}</table></div>'


def problems_html(warnings: Sequence[str]) -> str:
    """The last few warnings, or nothing."""
    lines = "".join(f'<div style="color:#c92a2a">{escape(w)}</div>' for w in warnings[-3:])
    return f'<div style="{_FRAME}">{lines}</div>' if lines else ""
