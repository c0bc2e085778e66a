"""`bodystream-export flow-curve`: error of the light network over its time, for several sizes and iterations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodystream.errors import ConfigurationError, InputError
from bodystream.files import check_output

if TYPE_CHECKING:
    from rich.console import Console

    from bodystream_export.flow.points import CurvePoint

__all__ = ["FlowCurve"]


@dataclass(frozen=True)
class FlowCurve:
    """Show what error the light network reaches in what time, beside DIS on the same pairs.

    Errors are of generated pairs that no training has: of flow in pixels of 192x256, and of the motion that is solved
    from it. Times are of the processor, of one frame encoded and one direction decoded by ONNX Runtime on one thread,
    and of DIS in both of its directions; all take turns, pair by pair.
    """

    checkpoint: Path
    """File that `bodystream-train flow` wrote."""

    out: Path = Path("flow-curve.png")
    """Picture of the curve."""

    sizes: tuple[str, ...] = ("96x128", "128x160", "160x224", "192x256", "256x320")
    """Widths and heights of the crops [px], multiples of 32."""

    iterations: tuple[int, ...] = (1, 2, 3)
    """Passes at each level."""

    pairs: int = 96
    """Generated pairs of each size."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from bodystream.device.quiet import quiet_warp

        if self.pairs < 1 or not self.sizes or min(self.iterations, default=0) < 1:
            raise ConfigurationError("--pairs and each of --iterations must be at least 1, and --sizes must be given")
        check_output(self.out, "--out")
        with quiet_warp():
            return self._run()

    def _run(self) -> int:
        import cv2
        import torch
        from rich.console import Console

        from bodystream.evaluation.progress import counted_progress
        from bodystream_export.flow.command import load_network
        from bodystream_export.flow.points import measure_size
        from bodystream_training.flow.light import MULTIPLE, LightFlow
        from bodystream_training.flow.samples import crop_size

        net, model, _ = load_network(self.checkpoint)
        if not isinstance(model, LightFlow):
            raise InputError(f"{self.checkpoint} is of the {net} network, which has no iterations: give a light one")
        sizes = [crop_size(size) for size in self.sizes]
        if any(side < 64 or side % MULTIPLE for size in sizes for side in size):
            raise ConfigurationError(
                f"--sizes must be multiples of {MULTIPLE}, from 64 on, got {', '.join(self.sizes)}"
            )
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        console = Console(stderr=True, highlight=False)
        points: list[CurvePoint] = []
        with counted_progress("flow-curve", len(sizes), console) as advance:
            for number, size in enumerate(sizes):
                points += measure_size(model, size, self.iterations, self.pairs)
                advance(number + 1, "{}x{}".format(*size))
        self._tell(points, console)
        return 0

    def _tell(self, points: list[CurvePoint], console: Console) -> None:
        from dataclasses import asdict

        from rich.console import Console
        from rich.table import Table

        from bodystream_training.plots import Curve, write_curves

        curves = []
        for iterations in (*self.iterations, 0):
            of = [point for point in points if point.iterations == iterations]
            name = "DIS" if iterations == 0 else f"light network, {iterations} iteration{'s' * (iterations > 1)}"
            labels = ["{}x{}".format(*point.size) for point in of]
            curves.append(Curve(name, [p.ms for p in of], [p.epe3d_mm for p in of], labels))
        write_curves(self.out, "processor time of a pair [ms]", "error of the tracked motion [mm]", curves)
        if self.json:
            print(json.dumps({"points": [_plain(asdict(point)) for point in points], "out": str(self.out)}))
            return
        table = Table(box=None, pad_edge=False)
        for title in ("size", "iterations", "ms", "px off", "EPE 3D mm", "graph error mm"):
            table.add_column(title, justify="right")
        for p in points:
            what = "DIS" if p.iterations == 0 else str(p.iterations)
            cells = (f"{v:.2f}" for v in (p.ms, p.visible_px, p.epe3d_mm, p.graph_error_mm))
            table.add_row("{}x{}".format(*p.size), what, *cells)
        Console(highlight=False).print(table)
        console.print(f"wrote {self.out}", markup=False, soft_wrap=True)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in facts.items()}
