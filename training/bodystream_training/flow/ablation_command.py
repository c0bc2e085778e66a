"""`bodystream-train flow-ablation`: NNRT's table 1 with the light network on generated pairs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.errors import ConfigurationError
from bodystream.files import check_output, prepare_folder
from bodystream_training.options import DeviceOptions

if TYPE_CHECKING:
    from bodystream_training.flow.ablation import RowErrors

__all__ = ["AblateFlow"]


@dataclass(frozen=True, kw_only=True)
class AblateFlow(DeviceOptions):
    """Train the light network with and without the losses through the solver, and with and without weights.

    The six rows of NNRT's table 1, each several times, all with the same number of steps from the same beginning; the
    errors are those of other pairs. It may be interrupted, and goes on where it was.
    """

    out: Path = Path("runs/flow-ablation")
    """Folder of the checkpoints, the pairs, and table.json and table.png."""

    seeds: int = 3
    """Trainings of each row."""

    size: Annotated[str, tyro.conf.arg(metavar="WxH")] = "96x128"
    """Width and height of the crops [px], multiples of 32."""

    pairs: int = 4000
    """Generated pairs to train on."""

    validation_pairs: int = 200
    """Other pairs, which the errors are of."""

    begin_steps: int = 1500
    """Steps by the true flow that all rows of a seed begin from."""

    row_steps: int = 400
    """Steps of each row after that."""

    batch: int = 4
    """Pairs per step."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processor threads of PyTorch; default: all."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Of matrix products: auto is bf16 on graphics cards and on processors that have units for it (AMX), else fp32."""

    json: bool = False
    """Print one JSON object at the end."""

    def run(self) -> int:
        import cv2

        from bodystream.device.quiet import quiet_warp

        if min(self.seeds, self.begin_steps, self.batch) < 1 or self.row_steps < 4:
            raise ConfigurationError("--seeds, --begin-steps and --batch must be at least 1, --row-steps at least 4")
        cv2.setNumThreads(1)  # its pool beside PyTorch's only makes the cores spin
        with quiet_warp():
            return self._run()

    def _run(self) -> int:
        import torch
        from rich.console import Console

        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.devices import open_fabric
        from bodystream_training.flow.ablation import AblationConfig, summary, trainings
        from bodystream_training.flow.data import open_pairs
        from bodystream_training.flow.light import MULTIPLE
        from bodystream_training.flow.samples import crop_size
        from bodystream_training.flow.tasks import FlowExamples

        size = crop_size(self.size)
        if any(side < 64 or side % MULTIPLE for side in size):
            raise ConfigurationError(f"--size must be multiples of {MULTIPLE}, from 64 on, got {self.size}")
        prepare_folder(self.out, "--out")
        check_output(self.out / "table.json", "--out")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        console = Console(stderr=True, highlight=False)
        fabric = open_fabric(self)
        fabric.launch()
        config = AblationConfig(begin_steps=self.begin_steps, row_steps=self.row_steps, batch=self.batch)
        train, held_out = (
            open_pairs("synthetic", size, count=count, seed=seed, cache=self.out / "pairs")
            for seed, count in ((0, self.pairs), (1, self.validation_pairs))
        )
        with console.status("making the pairs that the errors are of"):
            examples = FlowExamples.of(train, held_out, self.validation_pairs, self.batch, 0)
        found: list[tuple[int, dict[str, float]]] = []
        every = list(trainings(self.out, config, self.seeds))
        total, done = sum(training.config.steps for training in every), 0
        with counted_progress("flow-ablation", total, console) as advance:
            for training in every:
                label = f"seed {training.seed}, {training.name}"
                before = done
                figures = training.run(
                    examples, fabric, lambda step, before=before, label=label: advance(before + step, label)
                )
                if figures is None:
                    console.print("stopped; the same command goes on from there")
                    return EXIT_INTERRUPTED
                if training.row is not None and training.last:
                    found.append((training.row, figures))
                done += training.config.steps
                advance(done, label)
        rows = summary(found)
        self._tell(rows, found[0][1], console)
        return 0

    def _tell(self, rows: list[RowErrors], others: dict[str, float], console: object) -> None:
        from rich.console import Console
        from rich.table import Table

        from bodystream_training.plots import Bar, write_bars

        facts = {
            "size": self.size, "pairs": self.pairs, "validation_pairs": self.validation_pairs, "seeds": self.seeds,
            "begin_steps": self.begin_steps, "row_steps": self.row_steps, "batch": self.batch,
            "rows": [asdict(row) for row in rows],
            **{name: round(value, 2) for name, value in others.items() if name.endswith("_mm") and name[:3] != "epe"},
        }  # fmt: skip
        (self.out / "table.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        write_bars(
            self.out / "table.png",
            "error of the tracked motion [mm]",
            [
                Bar(row.name, (row.epe3d_mm, row.graph_error_mm), (row.epe3d_std_mm, row.graph_error_std_mm))
                for row in rows
            ],
            ("EPE 3D", "graph error"),
        )
        table = Table(box=None, pad_edge=False)
        for title in ("losses", "EPE 3D mm", "graph error mm", "paper: EPE 3D", "paper: graph error"):
            table.add_column(title, justify="left" if title == "losses" else "right")
        for row in rows:
            table.add_row(
                row.name,
                f"{row.epe3d_mm:.1f} ± {row.epe3d_std_mm:.1f}",
                f"{row.graph_error_mm:.1f} ± {row.graph_error_std_mm:.1f}",
                f"{row.paper_epe3d_mm:.1f}",
                f"{row.paper_graph_error_mm:.1f}",
            )
        if self.json:
            print(json.dumps(facts))
        else:
            Console(highlight=False).print(table)
        assert isinstance(console, Console)
        console.print(f"wrote {self.out / 'table.json'} and {self.out / 'table.png'}", markup=False, soft_wrap=True)
