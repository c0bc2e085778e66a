"""Numbers for who watches many machines: the text format of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CONTENT_TYPE", "Metric", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number, or one of several that differ by their labels.

    Attributes:
        name: without the prefix `bodystream_`; of a counter it ends in `_total`.
        kind: whether it only grows.
        help: a sentence.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def metrics_text(metrics: Iterable[Metric]) -> str:
    """All of them as one page; those of one name stand together, as the format wants it."""
    groups: dict[str, list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.name, []).append(metric)
    lines = []
    for name, group in groups.items():
        lines.append(f"# HELP bodystream_{name} {_escaped(group[0].help)}")
        lines.append(f"# TYPE bodystream_{name} {group[0].kind}")
        for metric in group:
            pairs = ",".join(f'{key}="{_escaped(text, quotes=True)}"' for key, text in metric.labels.items())
            value = "NaN" if math.isnan(metric.value) else repr(float(metric.value))
            lines.append(f"bodystream_{name}{{{pairs}}} {value}" if pairs else f"bodystream_{name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
