"""The tables of figures beside the picture, as HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from bodystream.sinks.viewer.body_state import BodyViewerState
from bodystream.sinks.viewer.capture_state import ViewerState
from bodystream.sinks.viewer.notices import Notice
from bodystream.timing import SpanSummary
from bodystream.types import Status
from bodystream.web.invitation import Invitation

__all__ = [
    "PHONE_STYLE",
    "body_status_html",
    "invitation_html",
    "legend_html",
    "notices_html",
    "stages_html",
    "status_html",
    "waiting_html",
]

# The library puts its panel over the picture of a phone. This puts it below, where it scrolls, and lets the picture
# have what is left, also when the panel is folded. On a page that is built otherwise it finds and does nothing.
_PHONE_PANEL = 'div[style*="position: fixed"][style*="bottom: 0px"][style*="z-index: 10"]'
PHONE_STYLE = f"""<style>@media (max-width: 36em) {{
div:has(> {_PHONE_PANEL}) {{ flex-direction: column !important; }}
div:has(> {_PHONE_PANEL}) > div[style*="flex-grow: 1"] {{ height: auto !important; min-height: 0; }}
{_PHONE_PANEL} {{ position: static !important; width: 100% !important; max-height: 45vh !important; }}
{_PHONE_PANEL} div[style*="width: 20em"] {{ width: 100% !important; }}
}}</style>"""

_COLOURS = {Status.TRACKED: "#2b8a3e", Status.DEGRADED: "#b35c00", Status.LOST: "#c92a2a"}
_WORDS = {Status.TRACKED: "Tracking", Status.DEGRADED: "Degraded", Status.LOST: "Lost"}
_GREY = "#5c6670"
_WARNING = "#ff8787"
_FRAME = "font-size:0.8em;line-height:1.35;padding:0 0.75em 0.35em 0.75em"
_NUMBER = "text-align:right;font-variant-numeric:tabular-nums;padding:0 0 0 0.8em"


def waiting_html(running: bool, what: str = "the first frame") -> str:
    """Before the first state."""
    return f'<div style="{_FRAME}"><b>{f"Waiting for {what}" if running else "Paused"}</b></div>'


def status_html(state: ViewerState, running: bool) -> str:
    """One line with the status as a coloured word, its reason, and the frame rate."""
    return f'<div style="{_FRAME}">{_head(state.status, state.reason, state.fps, "fps", running)}</div>'


def body_status_html(state: BodyViewerState, running: bool) -> str:
    """Status, reason and pose rate; the times; the flags; and which feet stand on the floor."""
    pose = state.pose
    head = _head(pose.status, pose.reason, state.rate_hz, "poses/s", running)
    rows = [
        f'<tr><td>{name}</td><td style="{_NUMBER}">{value:.1f} ms</td></tr>'
        for name, value in (("latency", state.latency_ms), ("data age", state.data_age_ms))
        if value is not None
    ]
    if pose.contacts is not None:
        feet = "".join(
            f'<span style="margin-left:0.7em;color:{_COLOURS[Status.TRACKED] if stands else _GREY}">'
            f"{'&#9679;' if stands else '&#9675;'}</span> {side}"
            for side, stands in zip(("left", "right"), pose.contacts, strict=True)
        )
        rows.append(f'<tr><td>feet on the floor</td><td style="{_NUMBER}">{feet}</td></tr>')
    start = '<table style="width:100%;border-collapse:collapse;margin-top:0.4em">'
    table = f"{start}{''.join(rows)}</table>" if rows else ""
    chips = "".join(
        f'<span style="display:inline-block;border:1px solid {_COLOURS[Status.DEGRADED]};border-radius:0.6em;'
        f'padding:0 0.6em;margin:0.3em 0.4em 0 0">{escape(flag.replace("_", " "))}</span>'
        for flag in state.flags or ()
    )
    return f'<div style="{_FRAME}">{head}{table}{f"<div>{chips}</div>" if chips else ""}</div>'


def _head(status: Status, reason: str, rate: float, unit: str, running: bool) -> str:
    status = Status(status)
    word, colour = (_WORDS[status], _COLOURS[status]) if running else ("Paused", _GREY)
    badge = f'<span style="background:{colour};color:#fff;border-radius:0.6em;padding:0.1em 0.7em"><b>{word}</b></span>'
    right = f'<span style="float:right"><b>{rate:.1f}</b> {unit}</span>' if running else ""
    below = f'<div style="padding-top:0.3em">{escape(reason)}</div>' if reason else ""
    return right + badge + below


def stages_html(hud: Mapping[str, SpanSummary], details: Mapping[str, str]) -> str:
    """Durations per stage, then the further lines."""
    head = "".join(f'<th style="{_NUMBER};font-weight:600">{name}</th>' for name in ("p50", "p99"))
    rows = "".join(
        f'<tr><td>{escape(stage)}</td><td style="{_NUMBER}">{_ms(s.p50_ms)}</td>'
        f'<td style="{_NUMBER}">{_ms(s.p99_ms)}</td></tr>'
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


def _ms(value: float) -> str:
    """One digit after the point, or two for stages that take less than a millisecond."""
    return f"{value:.2f}" if value < 1.0 else f"{value:.1f}"


def notices_html(notices: Sequence[Notice]) -> str:
    """Notices in their order, with how often each happened; or nothing."""
    lines = []
    for notice in notices:
        times = f" ({notice.times} times)" if notice.times > 1 else ""
        colour = f' style="color:{_WARNING}"' if notice.warning else ""
        lines.append(f"<div{colour}>{escape(notice.text)}{times}</div>")
    return f'<div style="{_FRAME};overflow-wrap:anywhere">{"".join(lines)}</div>' if lines else ""


def invitation_html(invitation: Invitation) -> str:
    """The address to open elsewhere, and its QR code as a picture, in which nothing of the document can run."""
    picture = ""
    if invitation.svg:
        data = base64.b64encode(invitation.svg.encode()).decode()
        picture = (
            '<img alt="QR code of the address" style="display:block;width:100%;max-width:15em;margin:0.5em auto 0;'
            f'background:#fff;padding:0.5em;box-sizing:border-box" src="data:image/svg+xml;base64,{data}">'
        )
    return (
        f'<div style="{_FRAME}">{escape(invitation.purpose)}:'
        f'<div style="user-select:all;overflow-wrap:anywhere"><b>{escape(invitation.address)}</b></div>{picture}</div>'
    )


def legend_html(entries: Sequence[tuple[str, str]]) -> str:
    """What colours mean.

    Args:
        entries: a CSS background (a colour, or a gradient) and a text each.
    """
    rows = "".join(
        f'<tr><td style="width:3em;padding:0.1em 0.6em 0.1em 0"><div style="height:0.6em;border-radius:0.3em;'
        f'background:{background}"></div></td><td>{escape(text)}</td></tr>'
        for background, text in entries
    )
    return f'<div style="{_FRAME}"><table style="width:100%;border-collapse:collapse">{rows}</table></div>'
