"""`bodystream bench`: speed and accuracy of the stages, beside other packages where they are installed."""

from __future__ import annotations

import contextlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from bodystream.cli.options import BundleWords, optional
from bodystream.cli.process import start_warp, use_one_opencv_thread
from bodystream.errors import MissingDependencyError
from bodystream.files import check_output

if TYPE_CHECKING:
    from bodystream_bench.measuring import Context
    from bodystream_bench.metrics import Baseline, Comparison

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """Measure speed and accuracy beside other packages, and compare with an earlier run.

    Recordings are taken from BODYSTREAM_DATA; where there are none, frames are generated. With --compare the exit code
    is 1 when a figure is worse than there by more than its tolerance, or when none could be compared.
    """

    json: bool = False
    """Print only a JSON list of {key, value, unit, direction, tolerance}."""

    only: Annotated[tuple[str, ...], optional("KEY ...")] = ()
    """Keys or beginnings of keys to measure, such as solver or fusion.surface; everything if none is given."""

    repeats: Annotated[int | None, optional("N")] = None
    """Steps per timing; 200 unless given, fewer where a step takes seconds."""

    bundle: BundleWords = ()
    """A bundle of your own, a folder or a zip file: flow=PATH is the light network of learned correspondence,
    flow-full=PATH the full one, default-clothed=PATH the clothed avatar, body=PATH the body's decoder."""

    save_baseline: Annotated[Path | None, optional("FILE")] = None
    """Write the figures and a description of the machine to this file."""

    compare: Annotated[tuple[Path, ...], optional("FILE ...")] = ()
    """Compare with these files, made by --save-baseline or --json. Of several, each suite takes the first one that was
    measured on the same frames."""

    judge: Literal["auto", "all", "ratios"] = "auto"
    """What counts as worse: ratios = ratios to the peers of the same run, and errors, which travel between machines;
    all = times, too; auto: all where the file was made on a machine like this one."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        try:
            from bodystream_bench.metrics import load_baseline, machine_row, metrics_json, save_baseline
            from bodystream_bench.runner import PEERS, measure_suites
        except ImportError as error:
            raise MissingDependencyError(
                "bodystream_bench",
                "for `bodystream bench`",
                "Install bodystream anew: pip install --force-reinstall bodystream",
            ) from error
        from bodystream.bundles import BundleChoice
        from bodystream.device import describe_device, select_device
        from bodystream.sinks.reports.machine import describe_machine

        bundles = BundleChoice.parse(self.bundle, ("flow", "flow-full", "default-clothed", "body"))
        # Read first: a wrong path should not cost minutes.
        baselines = [load_baseline(path) for path in self.compare]
        if self.save_baseline is not None:
            check_output(self.save_baseline, "--save-baseline")
        start_warp()
        use_one_opencv_thread()  # as the commands whose stages are measured
        device = select_device(self.device)
        print(f"bench: kernels run on {describe_device(device)}", file=sys.stderr)
        with contextlib.redirect_stdout(sys.stderr):
            measured = measure_suites(device, self.only, self.repeats, bundles)
        machine = machine_row(describe_machine(PEERS), describe_device(device))
        if self.save_baseline is not None:
            save_baseline(self.save_baseline, measured.metrics, machine, measured.frames)
            print(f"bench: written to {self.save_baseline}", file=sys.stderr)
        if self.json:
            print(metrics_json(measured.metrics))
        elif not baselines:
            for metric in measured.metrics:
                print(f"{metric.key:{_WIDTH}}  {_number(metric.value):>9} {metric.unit}")
        if not baselines:
            return 0
        return self._judge(measured, baselines, machine)

    def _judge(self, measured: Context, baselines: list[Baseline], machine: dict[str, Any]) -> int:
        """Print the run beside the baselines; the exit code."""
        from bodystream_bench.metrics import compare

        rows: list[Comparison] = []
        origins: list[str] = []
        for suite in dict.fromkeys(metric.key.split(".")[0] for metric in measured.metrics):
            frames = measured.frames.get(suite, "")
            baseline = next((b for b in baselines if b.frames.get(suite, frames) == frames), baselines[0])
            theirs = baseline.frames.get(suite, frames)
            other = {} if theirs == frames else {suite: f"measured on {theirs}"}
            times = self.judge == "all" or (self.judge == "auto" and _alike(baseline.machine, machine))
            ours = [metric for metric in measured.metrics if metric.key.split(".")[0] == suite]
            before = [metric for metric in baseline.metrics if metric.key.split(".")[0] == suite]
            rows += compare(ours, before, other_frames=other, times=times)
            origins.append(f"{baseline.path} ({_place(baseline.machine)})")
        if self.only:
            rows = [row for row in rows if row.value is not None]
        file = sys.stderr if self.json else sys.stdout
        print(f"compared with {', '.join(dict.fromkeys(origins))}", file=file)
        print(f"{'figure':{_WIDTH}}  {'now':>9}  {'before':>9}  {'ratio':>5}  unit", file=file)
        for row in rows:
            print(_line(row), file=file)
        judged = [row for row in rows if row.value is not None and row.baseline is not None and not row.not_judged]
        worse = [row for row in judged if row.regressed]
        gone = [row.key for row in rows if row.value is None]
        better = sum(row.improved for row in judged)
        print(
            f"{len(judged)} figures judged: {len(worse)} worse than tolerated, {better} better by as much; "
            f"{len(rows) - len(judged)} only shown",
            file=file,
        )
        if gone:
            print(f"not measured in this run: {', '.join(gone)}", file=file)
        if not judged:
            print(
                "error: nothing could be judged: give --compare a run of the same figures and frames", file=sys.stderr
            )
        return 1 if worse or not judged else 0


_WIDTH = 31


def _alike(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether times of the two machines may be compared."""
    return all(theirs.get(key) == ours[key] for key in ("processor", "processors", "device"))


def _place(machine: dict[str, Any]) -> str:
    if not machine:
        return "machine unknown"
    return f"{machine.get('processor')}, {machine.get('processors')} processors, {machine.get('device')}"


def _number(value: float | None) -> str:
    """Four digits, and no exponent."""
    if value is None:
        return "-"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(0, 4 - whole)}f}"


def _line(row: Comparison) -> str:
    ratio = f"{row.ratio:.2f}" if math.isfinite(row.ratio) else "-"
    mark = "REGRESSED" if row.regressed else "better" if row.improved else row.not_judged
    text = f"{row.key:{_WIDTH}}  {_number(row.value):>9}  {_number(row.baseline):>9}  {ratio:>5}  {row.unit:5} {mark}"
    return text.rstrip()
