"""A benchmark's figures: typed, written as JSON, and compared with an earlier run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bodystream.errors import InputError

__all__ = ["Comparison", "Direction", "Metric", "compare", "load_baseline", "metrics_json", "save_baseline"]

Direction = Literal["lower", "higher"]
_FIELDS = ("key", "value", "unit", "direction", "tolerance")


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    Attributes:
        key: dotted name, suite first: `solver.10k.p50_ms`.
        value: finite.
        unit: `ms`, `mm`, `x` (a ratio) or `count`.
        direction: which way is better.
        tolerance: relative worsening against a baseline that is still noise: 0.25 = 25 %.
    """

    key: str
    value: float
    unit: str
    direction: Direction
    tolerance: float

    def __post_init__(self) -> None:
        if not self.key or any(not part for part in self.key.split(".")):
            raise InputError(f"a metric's key must be dotted words, got {self.key!r}")
        for name in ("value", "tolerance"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise InputError(f"metric {self.key}: {name} must be a finite number, got {number!r}")
        if self.tolerance < 0:
            raise InputError(f"metric {self.key}: tolerance must not be negative, got {self.tolerance}")
        if not isinstance(self.unit, str) or self.direction not in get_args(Direction):
            raise InputError(
                f"metric {self.key}: unit must be text and direction lower or higher, "
                f"got {self.unit!r} and {self.direction!r}"
            )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure beside its baseline.

    Attributes:
        ratio: value / baseline; nan where one of them is missing or the baseline is 0.
        regressed: worse than the baseline by more than the metric's tolerance.
    """

    key: str
    value: float | None
    baseline: float | None
    unit: str
    ratio: float
    regressed: bool


def metrics_json(metrics: Iterable[Metric]) -> str:
    """A JSON list of `{key, value, unit, direction, tolerance}`."""
    return json.dumps([asdict(metric) for metric in metrics], indent=2)


def parse_metrics(rows: Any, origin: str) -> list[Metric]:
    """Metrics from decoded JSON.

    Raises:
        InputError: it is not a list of metrics, or a key comes twice.
    """
    if not isinstance(rows, list):
        raise InputError(f"{origin}: expected a list of metrics, got {type(rows).__name__}")
    metrics = []
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(_FIELDS):
            raise InputError(f"{origin}: each metric must have exactly {', '.join(_FIELDS)}, got {row!r}")
        if not isinstance(row["key"], str):
            raise InputError(f"{origin}: a metric's key must be text, got {row['key']!r}")
        metrics.append(Metric(**row))
    keys = [metric.key for metric in metrics]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise InputError(f"{origin}: metrics come twice: {', '.join(twice)}")
    return metrics


def save_baseline(path: Path, metrics: Sequence[Metric], machine: dict[str, Any]) -> None:
    """Write `{machine, metrics}`; the file is whole or not there."""
    content = json.dumps({"machine": machine, "metrics": [asdict(m) for m in metrics]}, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another place") from error


def load_baseline(path: Path) -> tuple[list[Metric], dict[str, Any]]:
    """Metrics and machine of a saved baseline, or of a list that `--json` printed (machine empty).

    Raises:
        InputError: it cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            f"{path}: not JSON ({error}): make it with `bodystream bench --save-baseline {path}`"
        ) from error
    if isinstance(content, dict):
        machine = content.get("machine", {})
        return parse_metrics(content.get("metrics"), str(path)), machine if isinstance(machine, dict) else {}
    return parse_metrics(content, str(path)), {}


def _regressed(metric: Metric, baseline: float) -> bool:
    allowed = metric.tolerance * abs(baseline)
    if metric.direction == "lower":
        return metric.value > baseline + allowed
    return metric.value < baseline - allowed


def compare(metrics: Sequence[Metric], baseline: Sequence[Metric]) -> list[Comparison]:
    """Each figure beside its baseline, in the run's order, then what only the baseline has.

    The run's own direction and tolerance count. A figure without a counterpart is no regression.
    """
    before = {metric.key: metric for metric in baseline}
    rows = []
    for metric in metrics:
        old = before.pop(metric.key, None)
        if old is None:
            rows.append(Comparison(metric.key, metric.value, None, metric.unit, math.nan, False))
            continue
        ratio = metric.value / old.value if old.value != 0 else math.nan
        regressed = _regressed(metric, old.value)
        rows.append(Comparison(metric.key, metric.value, old.value, metric.unit, ratio, regressed))
    rows += [Comparison(old.key, None, old.value, old.unit, math.nan, False) for old in before.values()]
    return rows
