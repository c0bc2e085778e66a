"""The figures of `bodystream eval capture` for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bodystream.evaluation.capture.scoring import OverallScore, TakeScore, overall

__all__ = ["TABLE_WIDTH", "as_json", "score_table"]

TABLE_WIDTH = 160
"""Characters that the table needs."""


_COLUMNS = (
    ("mean mm", "surface_error_mean_mm", "{:.1f}"),
    ("p95 mm", "surface_error_p95_mm", "{:.1f}"),
    (">50 mm %", "off_50mm_share", "{:.2%}"),
    ("missing %", "seen_missing_share", "{:.1%}"),
    ("worst mm", "worst_surface_error_mean_mm", "{:.1f}"),
    ("restarts", "restarts", "{}"),
    ("lost", "lost_frames", "{}"),
    ("wrong", "wrong_frames", "{}"),
    ("told", "told_frames", "{}"),
    ("recall", "wrong_recall", "{:.2f}"),
    ("precision", "wrong_precision", "{:.2f}"),
    ("slip mm", "node_slip_end_mm", "{:.1f}"),
    ("largest %", "largest_component_share", "{:.1%}"),
    ("edge cm", "longest_edge_m", "{:.1f}"),
    ("fps", "fps", "{:.1f}"),
)
_SCALE = {"longest_edge_m": 100.0}


def as_json(takes: Sequence[TakeScore]) -> dict[str, Any]:
    """Figures per take, of all, and of the takes for tuning and the held-out ones where both are there."""
    groups = _groups(takes)
    return {
        "takes": {
            take.name: {
                "held_out": take.held_out,
                **take.figures().as_json(),
                "no_model_at": take.no_model(),
                "worst_frame": None if take.worst is None else take.worst.index,
            }
            for take in takes
        },
        "overall": overall(takes).as_json(),
        **{name: score.as_json() for name, score in groups.items()},
    }


def score_table(takes: Sequence[TakeScore]) -> Table:
    """One row per take, held-out ones marked, and a row of all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("take")
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right")
    for take in takes:
        table.add_row(f"{take.name} (held out)" if take.held_out else take.name, *_cells(take.figures()))
    table.add_section()
    for name, score in _groups(takes).items():
        table.add_row(name.replace("_", "-"), *_cells(score))
    table.add_row("overall", *_cells(overall(takes)))
    return table


def _groups(takes: Sequence[TakeScore]) -> dict[str, OverallScore]:
    parts = {"tuning": [t for t in takes if not t.held_out], "held_out": [t for t in takes if t.held_out]}
    return {name: overall(part) for name, part in parts.items()} if all(parts.values()) else {}


def _cells(score: OverallScore) -> list[str]:
    values = score.as_json()
    cells = []
    for _, key, form in _COLUMNS:
        value: Any = values[key]
        cells.append("-" if value is None else form.format(value * _SCALE[key] if key in _SCALE else value))
    return cells
