"""The figures of `bodystream eval reconstruction` for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from bodystream.evaluation.reconstruction.runner import SequenceScore

__all__ = ["as_json", "score_table"]

_FIGURES = {
    "deformation_error_mm": "deformation_m",
    "geometry_error_mm": "geometry_m",
    "no_motion_mm": "no_motion_m",
}


def as_json(scores: Sequence[SequenceScore]) -> dict[str, Any]:
    """Figures per sequence, with their segments, and the mean over the sequences; null where there are none."""
    sequences = {score.name: _figures(score) for score in scores}
    return {**_overall(list(sequences.values())), "sequences": sequences}


def _figures(score: SequenceScore) -> dict[str, Any]:
    last = score.segments[-1] if score.segments else None
    return {
        **{key: score.mean_mm(figure) for key, figure in _FIGURES.items()},
        "matches": last.matches if last else 0,
        "points": last.points if last else 0,
        "missing": last.missing if last else 0,
        "frames": score.frames,
        "lost_frames": score.lost_frames,
        "restarts": score.restarts,
        "fps": score.frames / score.step_s if score.step_s > 0 else 0.0,
        "segments": [
            {"end": s.end, **{key: _mm(getattr(s, figure)) for key, figure in _FIGURES.items()}} for s in score.segments
        ],
    }


def _overall(sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {}
    for key in _FIGURES:
        known = [sequence[key] for sequence in sequences if sequence[key] is not None]
        means[key] = float(np.mean(known)) if known else None
    counts = {key: sum(s[key] for s in sequences) for key in ("frames", "lost_frames", "restarts", "missing")}
    return {**means, **counts}


def _mm(value_m: float) -> float | None:
    return 1e3 * value_m if math.isfinite(value_m) else None


def score_table(scores: Sequence[SequenceScore]) -> Table:
    """One row per sequence, and the mean over them."""
    columns = (
        ("deformation mm", "deformation_error_mm", "{:.1f}"),
        ("geometry mm", "geometry_error_mm", "{:.1f}"),
        ("no motion mm", "no_motion_mm", "{:.1f}"),
        ("matches", "matches", "{}"),
        ("missing", "missing", "{}"),
        ("restarts", "restarts", "{}"),
        ("lost", "lost_frames", "{}"),
        ("frames", "frames", "{}"),
        ("fps", "fps", "{:.1f}"),
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("sequence")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    told = as_json(scores)

    def cells(values: dict[str, Any]) -> list[str]:
        return ["-" if values.get(key) is None else form.format(values[key]) for _, key, form in columns]

    for name, values in told["sequences"].items():
        table.add_row(name, *cells(values))
    if len(scores) > 1:
        table.add_section()
        table.add_row("mean", *cells(told))
    return table
