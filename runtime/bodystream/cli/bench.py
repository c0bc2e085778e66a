"""`bodystream bench`: speed and accuracy of the stages, beside other packages where they are installed."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bodystream.errors import ConfigurationError, MissingDependencyError

if TYPE_CHECKING:
    from bodystream_bench.metrics import Comparison, Metric

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """Measure speed and accuracy beside other packages, and compare with an earlier run.

    Recordings are taken from BODYSTREAM_DATA; where there are none, frames are generated. Exit code 1 when --compare
    is given and a figure is worse than there by more than its tolerance.
    """

    json: bool = False
    """Print only a JSON list of {key, value, unit, direction, tolerance}."""

    only: tuple[str, ...] = ()
    """Keys or beginnings of keys to measure, such as solver or fusion.surface; everything if none is given."""

    repeats: int | None = None
    """Steps per timing; 200 unless given, fewer where a step takes seconds."""

    save_baseline: Path | None = None
    """Write the figures and a description of the machine to this file."""

    compare: Path | None = None
    """Compare with this file, made by --save-baseline or --json."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        try:
            from bodystream_bench.machine import describe_machine
            from bodystream_bench.metrics import compare, load_baseline, metrics_json, save_baseline
            from bodystream_bench.runner import run_suites
        except ImportError as error:
            raise MissingDependencyError(
                "bodystream_bench",
                "for `bodystream bench`",
                "Install bodystream anew: pip install --force-reinstall bodystream",
            ) from error
        from bodystream.device import describe_device, select_device

        # Read first: a wrong path should not cost minutes.
        reference = None if self.compare is None else load_baseline(self.compare)
        if self.save_baseline is not None and not self.save_baseline.absolute().parent.is_dir():
            raise ConfigurationError(
                f"--save-baseline: {self.save_baseline.absolute().parent} is no folder: make it first"
            )
        device = select_device(self.device)
        print(f"bench: kernels run on {describe_device(device)}", file=sys.stderr)
        with contextlib.redirect_stdout(sys.stderr):
            metrics = run_suites(device, self.only, self.repeats)
        if self.save_baseline is not None:
            save_baseline(self.save_baseline, metrics, describe_machine(device))
            print(f"bench: written to {self.save_baseline}", file=sys.stderr)
        if self.json:
            print(metrics_json(metrics))
        elif reference is None:
            _print_metrics(metrics)
        if reference is None:
            return 0
        rows = compare(metrics, reference[0])
        if self.only:
            rows = [row for row in rows if row.value is not None]
        _print_comparison(rows, reference[1], to_stderr=self.json)
        return 1 if any(row.regressed for row in rows) else 0


def _print_metrics(metrics: Sequence[Metric]) -> None:
    width = max((len(metric.key) for metric in metrics), default=0)
    for metric in metrics:
        print(f"{metric.key.ljust(width)}  {metric.value:12.3f} {metric.unit}")


def _print_comparison(rows: Sequence[Comparison], machine: dict[str, object], to_stderr: bool) -> None:
    """A table with the ratio to the baseline; what regressed is marked."""
    file = sys.stderr if to_stderr else sys.stdout
    if machine:
        print(f"baseline: {machine.get('processor')}, {machine.get('device')}", file=file)
    width = max((len(row.key) for row in rows), default=0)
    print(f"{'key'.ljust(width)}  {'now':>12}  {'baseline':>12}  {'ratio':>6}  unit", file=file)
    for row in rows:
        now, before = (f"{x:12.3f}" if x is not None else f"{'-':>12}" for x in (row.value, row.baseline))
        ratio = f"{row.ratio:6.2f}" if math.isfinite(row.ratio) else f"{'-':>6}"
        mark = "  REGRESSED" if row.regressed else ""
        print(f"{row.key.ljust(width)}  {now}  {before}  {ratio}  {row.unit}{mark}", file=file)
