"""What the losses through the solver and the weights are good for: NNRT's table 1, row by row, with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from lightning_fabric import Fabric

from bodystream_training.flow.networks import flow_task
from bodystream_training.flow.stages import StageName
from bodystream_training.flow.tasks import FlowExamples, FlowTrainConfig
from bodystream_training.loop import Trainer

__all__ = ["ROWS", "AblationConfig", "Phase", "Row", "RowErrors", "Training", "summary", "trainings"]


@dataclass(frozen=True)
class Phase:
    """A part of a row's training.

    Attributes:
        stage: of `stages.STAGES`.
        share: of the row's steps.
        rate: of the learning rate. The weights begin from nothing, and so fast.
        weight_truth: see `FlowTrainConfig`.
    """

    stage: StageName
    share: float
    rate: float = 0.2
    weight_truth: float = 0.0


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: as the paper writes it, in plain letters.
        epe3d_mm, graph_error_mm: what the paper reports, of its networks on DeepDeform.
        phases: the shares add up to 1, so that each row has the same number of steps.
    """

    name: str
    epe3d_mm: float
    graph_error_mm: float
    phases: tuple[Phase, ...]


ROWS: tuple[Row, ...] = (
    Row("c", 42.33, 67.14, (Phase("c", 1.0),)),
    Row("c+g", 37.26, 57.34, (Phase("c+g", 1.0),)),
    Row("c+g+w", 35.32, 54.24, (Phase(2, 1.0),)),
    Row("c, weights supervised", 28.29, 36.77, (Phase("c", 0.5), Phase("psi", 0.5, 1.0, 1.0))),
    Row(
        "c+g+w, weights supervised",
        26.77,
        34.68,
        (Phase(2, 0.5), Phase("psi", 0.25, 1.0, 1.0), Phase(4, 0.25, weight_truth=1.0)),
    ),
    Row("c+g+w, weights by themselves", 25.70, 31.00, (Phase(2, 0.5), Phase(3, 0.25, 1.0), Phase(4, 0.25))),
)
"""From the one with the largest error to the one with the smallest, in the paper."""


@dataclass(frozen=True)
class AblationConfig:
    """Budget of each row.

    Attributes:
        begin_steps: of the training by the true flow that all rows of a seed go on from.
        row_steps: that each row goes on for.
        batch, learning_rate: see `FlowTrainConfig`.
        matches, most_nodes: of a pair, for the solver.
    """

    begin_steps: int = 1500
    row_steps: int = 400
    batch: int = 4
    learning_rate: float = 1e-3
    matches: int = 1000
    most_nodes: int = 60

    def of(self, stage: StageName, steps: int, seed: int, rate: float, weight_truth: float) -> FlowTrainConfig:
        """Settings of one training."""
        return FlowTrainConfig(
            steps=steps, batch=self.batch, learning_rate=self.learning_rate * rate, seed=seed, stage=stage,
            matches=self.matches, most_nodes=self.most_nodes, weight_truth=weight_truth,
        )  # fmt: skip


@dataclass(frozen=True)
class Training:
    """One training of the table.

    Attributes:
        row: its number in `ROWS`; None of the one that all rows begin from.
        last: whether the row is judged after it.
    """

    seed: int
    row: int | None
    name: str
    path: Path
    start: Path | None
    config: FlowTrainConfig
    last: bool

    def run(self, examples: FlowExamples, fabric: Fabric, on_step: Callable[[int], None]) -> dict[str, float] | None:
        """Train, or go on, or find it done; the errors on the validation pairs, or None where it was interrupted."""
        trainer = Trainer(
            lambda _: flow_task("light", self.config, replace(examples, validation=()), None, self.start),
            self.path,
            self.config,
            fabric=fabric,
        )
        if not trainer.run(lambda step, *_: on_step(step)):
            return None
        if not self.last:
            return {}
        judged = flow_task("light", self.config, examples, None, self.path)
        judged.eval()
        with torch.no_grad():
            return judged.validate(judged.model)


def trainings(out: Path, config: AblationConfig, seeds: int) -> Iterator[Training]:
    """All trainings in an order in which each finds what it begins from."""
    for seed in range(seeds):
        folder = out / f"seed-{seed}"
        begin = folder / "begin.safetensors"
        yield Training(seed, None, "begin", begin, None, config.of("c", config.begin_steps, seed, 1.0, 0.0), False)
        for number, row in enumerate(ROWS):
            start = begin
            for part, phase in enumerate(row.phases):
                last = part == len(row.phases) - 1
                path = folder / f"row-{number + 1}{'' if last else f'-{part + 1}'}.safetensors"
                steps = round(phase.share * config.row_steps)
                settings = config.of(phase.stage, steps, seed, phase.rate, phase.weight_truth)
                yield Training(seed, number, row.name, path, start, settings, last)
                start = path


@dataclass(frozen=True)
class RowErrors:
    """A row over the seeds: means, and standard deviations of single trainings (0 of one)."""

    name: str
    epe3d_mm: float
    epe3d_std_mm: float
    graph_error_mm: float
    graph_error_std_mm: float
    paper_epe3d_mm: float
    paper_graph_error_mm: float
    seeds: int


def summary(found: Sequence[tuple[int, dict[str, float]]]) -> list[RowErrors]:
    """Of (number of the row, figures of one training) of all seeds."""
    rows = []
    for number, row in enumerate(ROWS):
        of_row = [figures for other, figures in found if other == number]
        if not of_row:
            continue
        spread: list[float] = []
        for key in ("epe_epe3d_mm", "epe_graph_error_mm"):
            values = [figures[key] for figures in of_row]
            spread += [mean(values), stdev(values) if len(values) > 1 else 0.0]
        epe, epe_std, graph, graph_std = spread
        rows.append(RowErrors(row.name, epe, epe_std, graph, graph_std, row.epe3d_mm, row.graph_error_mm, len(of_row)))
    return rows
