"""Pictures of figures, for the documentation and for who trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["Bar", "Curve", "write_bars", "write_curves"]

_DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Bar:
    """Bars beside each other under one name, each with what it spreads by."""

    name: str
    values: Sequence[float]
    spreads: Sequence[float]


@dataclass(frozen=True)
class Curve:
    """Points that belong together, each with a word beside it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str] = ()


def write_bars(path: Path, unit: str, bars: Sequence[Bar], kinds: Sequence[str]) -> None:
    """A PNG of bars from the left, first one on top.

    Args:
        unit: what the values are.
        kinds: names of the values of each bar, in their order.
    """
    figure = Figure((8, 0.6 + 0.7 * len(bars)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        places = [row + (number - (len(kinds) - 1) / 2) * height for row in range(len(bars))]
        axes.barh(
            places, [bar.values[number] for bar in bars], height * 0.92, label=kind,
            xerr=[bar.spreads[number] for bar in bars], error_kw={"capsize": 3, "elinewidth": 1},
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(kinds))
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def write_curves(path: Path, x: str, y: str, curves: Sequence[Curve]) -> None:
    """A PNG of curves over one axis; a curve of one point is a mark."""
    figure = Figure((8, 5), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.x, curve.y, marker="o" if len(curve.x) > 1 else "s", label=curve.name)
        for left, bottom, label in zip(curve.x, curve.y, curve.labels, strict=False):
            axes.annotate(label, (left, bottom), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
