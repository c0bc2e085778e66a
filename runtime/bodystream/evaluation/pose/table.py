"""Evaluations side by side, for a person and as JSON."""
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from bodystream.errors import InputError
from bodystream.evaluation.pose.metrics import METRICS, TRUTH_METRICS
from bodystream.evaluation.pose.protocol import EvaluationResult

__all__ = ["as_json", "comparison", "comparison_table"]

_TITLES = {
    "mpjpe_cm": "MPJPE\n[cm]",
    "mpjpe_upper_cm": "upper\n[cm]",
    "mpjpe_lower_cm": "lower\n[cm]",
    "mpjre_deg": "MPJRE\n[deg]",
    "mpjve_cm_s": "MPJVE\n[cm/s]",
    "jitter_km_s3": "jitter\n[km/s3]",
    "foot_skate_cm_s": "skating\n[cm/s]",
    "head_error_cm": "head\n[cm]",
    "hand_error_cm": "hands\n[cm]",
    "head_error_deg": "head\n[deg]",
    "hand_error_deg": "hands\n[deg]",
    "root_error_cm": "root\n[cm]",
    "lowest_point_cm_p1": "lowest\n[cm]",
    "beyond_limits_share": "beyond\nlimits",
    "largest_step_cm": "step\n[cm]",
}
# Errors of the whole body, and what a person would notice first; side by side they would not fit a terminal.
_TABLES = (METRICS[:5], METRICS[5:11], METRICS[11:])
# A lowest point is the better the higher it is, and only as long as it is below the floor.
_NEVER_BEST = ("jitter_km_s3", "foot_skate_cm_s", "lowest_point_cm_p1", "largest_step_cm")
_LABEL_WIDTH = 22


def comparison(model: EvaluationResult | None, baselines: Sequence[EvaluationResult]) -> dict[str, Any]:
    """What `bodystream eval pose --json` prints.

    Returns:
        `model`: figures of the model (null without one); `baselines`: by their names, the same; `truth`: those of
        `TRUTH_METRICS` for the true motion; `clips`: a list with `name`, `subject`, `frames` and, by estimator (`model`
        for the model), the figures; `skipped`: names and reasons; `frames`; `rate_hz`. Figures are a number per name
        of `METRICS`, `p95` with the same names, and `poses_per_s`; null where there was nothing to average.

    Raises:
        InputError: the results are not of the same clips, or two baselines share a name.
    """
    named = _named(model, baselines)
    first = next(iter(named.values()))
    clips: list[dict[str, Any]] = []
    for index, clip in enumerate(first.clips):
        row: dict[str, Any] = {"name": clip.name, "subject": clip.subject, "frames": clip.frames}
        for name, result in named.items():
            row[name] = _without_truth(result.clips[index].metrics)
        clips.append(row)
    return {
        "model": _figures(model) if model is not None else None,
        "baselines": {result.estimator: _figures(result) for result in baselines},
        "truth": _clean(first.metrics["truth"]),
        "clips": clips,
        "skipped": [{"name": clip.name, "reason": clip.reason} for clip in first.skipped],
        "frames": first.frames,
        "rate_hz": first.rate_hz,
    }


def as_json(model: EvaluationResult | None, baselines: Sequence[EvaluationResult]) -> str:
    """`comparison` as JSON text; strict, that is without nan."""
    return json.dumps(comparison(model, baselines), indent=2, allow_nan=False)


def comparison_table(model: EvaluationResult | None, baselines: Sequence[EvaluationResult]) -> Group:
    """A row per estimator and one for the truth, the best figure of each column in bold; 80 characters are enough."""
    named = _named(model, baselines)
    first = next(iter(named.values()))
    seconds = first.frames / first.rate_hz
    title = f"{len(first.clips)} clips, {first.frames} frames ({seconds / 60:.1f} min) at {first.rate_hz:g} Hz"
    return Group(*(_table(named, metrics, title if index == 0 else "") for index, metrics in enumerate(_TABLES)))


def _table(named: Mapping[str, EvaluationResult], metrics: Sequence[str], title: str) -> Table:
    table = Table(title=title or None)
    table.add_column("", overflow="fold", max_width=_LABEL_WIDTH)
    for metric in metrics:
        table.add_column(escape(_TITLES[metric]), justify="right", no_wrap=True)
    figures = {name: result.metrics for name, result in named.items()}
    best = {metric: _best([float(figures[name][metric]) for name in figures]) for metric in metrics}
    for name, row in figures.items():
        cells = []
        for metric in metrics:
            value = float(row[metric])
            text = _text(value)
            # The least jitter or sliding is not the best: a statue has none.
            marked = metric not in _NEVER_BEST and len(figures) > 1 and value == best[metric]
            cells.append(f"[bold]{text}[/bold]" if marked else text)
        table.add_row(_label(name, named[name]), *cells)
    if any(metric in TRUTH_METRICS for metric in metrics):
        truth = next(iter(named.values())).metrics["truth"]
        table.add_section()
        table.add_row(
            "truth", *[_text(truth[metric]) if metric in TRUTH_METRICS else "" for metric in metrics], style="dim"
        )
    return table


def _named(model: EvaluationResult | None, baselines: Sequence[EvaluationResult]) -> dict[str, EvaluationResult]:
    """The results by the keys that they have in a clip's row; checked to be comparable."""
    named = {"model": model} if model is not None else {}
    for result in baselines:
        if result.estimator in named:
            raise InputError(f"two evaluations are called {result.estimator}: give the baselines names of their own")
        named[result.estimator] = result
    if not named:
        raise InputError("a comparison needs at least one evaluation, got none")
    first = next(iter(named.values()))
    want = [(clip.name, clip.frames) for clip in first.clips]
    for name, result in named.items():
        if [(clip.name, clip.frames) for clip in result.clips] != want or result.rate_hz != first.rate_hz:
            raise InputError(
                f"evaluations can be compared on the same clips only: {name} has {len(result.clips)} clips and "
                f"{result.frames} frames at {result.rate_hz:g} Hz, the first has {len(want)} and {first.frames} at "
                f"{first.rate_hz:g} Hz"
            )
    return named


def _figures(result: EvaluationResult) -> dict[str, Any]:
    rate = result.frames / result.seconds if result.seconds > 0 else None
    return {**_without_truth(result.metrics), "poses_per_s": rate}


def _without_truth(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _clean(value) for name, value in metrics.items() if name != "truth"}


def _clean(value: Any) -> Any:
    """JSON knows no nan."""
    if isinstance(value, Mapping):
        return {name: _clean(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _best(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return min(finite) if finite else math.nan


def _text(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{value:.2f}"


def _label(name: str, result: EvaluationResult) -> str:
    return escape(f"{result.estimator} (model)" if name == "model" else name.replace("_", " "))
