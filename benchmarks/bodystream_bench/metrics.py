"""A benchmark's figures: typed, written as JSON, and compared with an earlier run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bodystream.errors import InputError, excerpt
from bodystream.files import atomic_path, read_text_bounded
from bodystream.sinks.reports.machine import MachineSection

__all__ = [
    "Baseline",
    "Comparison",
    "Direction",
    "Metric",
    "compare",
    "load_baseline",
    "machine_row",
    "metrics_json",
    "save_baseline",
]

_MAX_BASELINE_BYTES = 1 << 20

Direction = Literal["lower", "higher"]
_FIELDS = ("key", "value", "unit", "direction", "tolerance")


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    Attributes:
        key: dotted name, suite first: `solver.10k.p50_ms`.
        value: finite.
        unit: `ms`, `mm`, `us`, `x` (a ratio) or `count`.
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
        regressed, improved: worse, or better, than the baseline by more than the metric's tolerance.
        not_judged: why the two say nothing of each other; empty where they are compared.
    """

    key: str
    value: float | None
    baseline: float | None
    unit: str
    ratio: float
    regressed: bool
    improved: bool = False
    not_judged: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """An earlier run.

    Attributes:
        path: of its file.
        machine: what it says of the machine; empty where it says nothing.
        frames: by suite, the recording that it was measured on; a suite that is absent has the same input everywhere.
    """

    path: Path
    metrics: list[Metric]
    machine: dict[str, Any] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)


def metrics_json(metrics: Iterable[Metric]) -> str:
    """A JSON list of `{key, value, unit, direction, tolerance}`."""
    return json.dumps([asdict(metric) for metric in metrics], indent=2)


def machine_row(host: MachineSection, device: str) -> dict[str, Any]:
    """A machine as a baseline has it: enough to know whether two runs can be compared.

    Args:
        host: of this process, with the versions of the peers.
        device: where kernels ran.
    """
    packages = dict(host.libraries)
    return {
        "processor": host.cpu,
        "processors": host.cores,
        "memory_gib": round(host.memory_mb / 1024, 1),
        "device": device,
        "system": host.os,
        "python": host.python,
        "bodystream": packages.pop("bodystream", None),
        "packages": packages,
    }


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
            raise InputError(f"{origin}: each metric must have exactly {', '.join(_FIELDS)}, got {excerpt(row)}")
        if not isinstance(row["key"], str):
            raise InputError(f"{origin}: a metric's key must be text, got {excerpt(row['key'])}")
        metrics.append(Metric(**row))
    keys = [metric.key for metric in metrics]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise InputError(f"{origin}: metrics come twice: {', '.join(twice)}")
    return metrics


def save_baseline(
    path: Path, metrics: Sequence[Metric], machine: dict[str, Any], frames: Mapping[str, str] | None = None
) -> None:
    """Write `{machine, frames, metrics}`; the file is whole or not there.

    Raises:
        InputError: it cannot be written.
    """
    content = {"machine": machine, "frames": dict(frames or {}), "metrics": [asdict(m) for m in metrics]}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_baseline(path: Path) -> Baseline:
    """A saved baseline, or a list that `--json` printed, which says nothing of machine and frames.

    Raises:
        InputError: it cannot be read or holds something else.
    """
    try:
        content = json.loads(read_text_bounded(path, _MAX_BASELINE_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON ({error}): make it with `bodystream bench --save-baseline {path}`"
        ) from error
    if not isinstance(content, dict):
        return Baseline(path, parse_metrics(content, str(path)))
    machine, frames = content.get("machine", {}), content.get("frames", {})
    if not isinstance(machine, dict) or not isinstance(frames, dict):
        raise InputError(f"{path}: machine and frames must be objects, got {excerpt(machine)} and {excerpt(frames)}")
    return Baseline(
        path, parse_metrics(content.get("metrics"), str(path)), machine, {k: str(v) for k, v in frames.items()}
    )


def _beyond(metric: Metric, baseline: float, direction: Direction) -> bool:
    """Whether a figure differs from the baseline by more than its tolerance, against `direction`."""
    allowed = metric.tolerance * abs(baseline)
    if direction == "lower":
        return metric.value > baseline + allowed
    return metric.value < baseline - allowed


def compare(
    metrics: Sequence[Metric],
    baseline: Sequence[Metric],
    *,
    other_frames: Mapping[str, str] | None = None,
    times: bool = True,
) -> list[Comparison]:
    """Each figure beside its baseline, in the run's order, then what only the baseline has.

    The run's own direction and tolerance count. A figure without a counterpart is no regression.

    Args:
        other_frames: suites whose input is not the baseline's, and why: they are shown and not judged.
        times: judge milliseconds too; a machine's times say nothing of another's, while ratios and errors do.
    """
    before = {metric.key: metric for metric in baseline}
    reasons = other_frames or {}
    rows = []
    for metric in metrics:
        old = before.pop(metric.key, None)
        if old is None:
            rows.append(Comparison(metric.key, metric.value, None, metric.unit, math.nan, False))
            continue
        reason = reasons.get(metric.key.split(".")[0], "")
        if not reason and metric.unit == "ms" and not times:
            reason = "another machine's time"
        ratio = metric.value / old.value if old.value != 0 else math.nan
        worse, better = metric.direction, "higher" if metric.direction == "lower" else "lower"
        rows.append(
            Comparison(
                metric.key,
                metric.value,
                old.value,
                metric.unit,
                ratio,
                not reason and _beyond(metric, old.value, worse),
                not reason and _beyond(metric, old.value, better),
                reason,
            )
        )
    rows += [Comparison(old.key, None, old.value, old.unit, math.nan, False) for old in before.values()]
    return rows
