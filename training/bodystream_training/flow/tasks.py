"""What the flow networks bring to the training loop: examples, losses, and what they are judged by."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_training.flow.batches import Augmentation, FlowBatch, Guess, collate
from bodystream_training.flow.data import FlowData
from bodystream_training.flow.judge import Errors, dis_answer, flow_errors
from bodystream_training.flow.light import STRIDES, LightFlow, light_input
from bodystream_training.flow.losses import correspondence_loss, in_cells, weight_loss, weight_target
from bodystream_training.flow.sheets import write_sheet
from bodystream_training.loop import LoopConfig
from bodystream_training.task import Task

__all__ = ["FlowExamples", "FlowTask", "FlowTrainConfig", "LightTask", "Optimiser"]

Optimiser = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class FlowTrainConfig(LoopConfig):
    """Settings of one stage.

    Attributes:
        optimiser: `adamw`, or `sgd` with momentum 0.9, as the paper.
        weight_decay: of adamw.
        loaders: threads that make batches.
    """

    optimiser: Optimiser = "adamw"
    weight_decay: float = 1e-4
    loaders: int = 1


@dataclass(frozen=True)
class FlowExamples:
    """What a run is trained on.

    Attributes:
        train: pairs.
        validation: batches of other pairs, made once, with the guesses that they are begun from.
    """

    train: FlowData
    validation: Sequence[FlowBatch]

    @classmethod
    def of(cls, train: FlowData, held_out: FlowData, count: int, batch: int, seed: int) -> FlowExamples:
        """With the first `count` pairs of `held_out` as validation, changed as in training but for mirroring."""
        generator = torch.Generator().manual_seed(seed)
        batches = []
        for start in range(0, min(count, len(held_out)), batch):
            indices = range(start, min(start + batch, count, len(held_out)))
            samples = [held_out.sample(index, generator) for index in indices]
            batches.append(collate(samples, generator, Augmentation(mirrored=0.0), Guess()))
        return cls(train, batches)


class FlowTask(Task):
    """What the stages of both networks have in common; a stage adds `terms` and `answer`.

    Args:
        name: of the stage.
        sheets: folder of the sample sheets; None for none.
    """

    def __init__(
        self, name: str, model: nn.Module, config: FlowTrainConfig, examples: FlowExamples, sheets: Path | None = None
    ) -> None:
        super().__init__(model)
        self.name, self.config, self.examples, self._sheets = name, config, examples, sheets
        self._others: dict[str, float] = {}
        self._progress = 0.0

    @property
    def loaders(self) -> int:
        return self.config.loaders

    @abstractmethod
    def answer(self, model: nn.Module, batch: FlowBatch) -> tuple[Tensor, Tensor]:
        """What `model`, one like `self.model`, says: (B, 2, H, W) flow [px] and (B, 1, H, W) weight."""

    @abstractmethod
    def losses(self, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        """As `terms`."""

    def terms(self, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        self._progress = progress
        return self.losses(batch, progress)

    def count(self) -> int:
        return len(self.examples.train)

    def batch(self, index: Tensor, generator: torch.Generator) -> FlowBatch:
        samples = [self.examples.train.sample(number, generator) for number in index.tolist()]
        return collate(samples, generator, Augmentation(), Guess())

    def optimiser(self, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self.config.optimiser == "sgd":
            return torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, fused=fused)
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=self.config.weight_decay, fused=fused)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Errors on held out pairs, beside those of the first guess and of DIS on the same ones."""
        device = next(model.parameters()).device
        batches = self.examples.validation
        answers = []
        for batch in batches:
            flow, weight = self.answer(model, batch.to(device))
            answers.append((batch, flow.float().cpu(), weight.float().cpu()))
        found = flow_errors(answers)
        if not self._others:
            dis = flow_errors((batch, *dis_answer(batch)) for batch in batches)
            guess = flow_errors((batch, batch.initial_flow_px, None) for batch in batches)
            self._others = _figures("dis", dis) | {"guess_visible_px": guess.visible_px}
        if self._sheets is not None and answers:
            write_sheet(self._sheets / f"{self.name}-{round(1000 * self._progress):04d}.png", *answers[0])
        return _figures("epe", found) | self._others

    def settings(self) -> dict[str, Any]:
        return {"stage": self.name, "examples": self.examples.train.digest}


class LightTask(FlowTask):
    """Flow and weight of the light network, from the true flow alone.

    The loss of the flow counts the subject's points whose motion is known, hidden ones less: they are what no image
    shows. Its norm is less robust at first, when large errors are what is learned from, and at the end the paper's.
    The weight of a cell is learned as how near its flow came to the truth, times the share of it that is seen.

    Args:
        iterations: passes at each level; every step draws a number up to it, so that fewer serve as well.
    """

    _HIDDEN = 0.2
    _DECAY = 0.6  # of the loss, from the last pass to the first
    _FIRST_Q, _LAST_Q, _EPSILON_PX = 0.7, 0.4, 0.1
    _SIGMA_PX = 1.0
    _WEIGHT = 0.5

    def __init__(
        self,
        model: LightFlow,
        config: FlowTrainConfig,
        examples: FlowExamples,
        sheets: Path | None = None,
        iterations: int = 2,
    ) -> None:
        super().__init__("light", model, config, examples, sheets)
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # a quarter less time per step
        self.iterations, self._sizes = iterations, asdict(model.config)

    def losses(self, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        iterations = int(torch.randint(1, self.iterations + 1, ()))
        estimates = self.model(*_inputs(batch), iterations=iterations)
        known = batch.flow_known * batch.mask
        known = known * (self._HIDDEN + (1 - self._HIDDEN) * batch.visible)
        flows = [estimate.flow_px.float() for estimate in estimates]
        shares = [self._DECAY ** (len(flows) - 1 - number) for number in range(len(flows))]
        q = self._FIRST_Q + (self._LAST_Q - self._FIRST_Q) * progress
        flow = correspondence_loss(flows, batch.flow_px, known, shares, q=q, epsilon=self._EPSILON_PX)
        truth_px, counts = in_cells(batch.flow_px, batch.flow_known * batch.mask, STRIDES[-1])
        visible, _ = in_cells(batch.visible, batch.flow_known * batch.mask, STRIDES[-1])
        with torch.no_grad():
            target = weight_target(flows[-1], truth_px, visible, self._SIGMA_PX)
            error_px = ((flows[-1] - truth_px).norm(dim=1, keepdim=True) * counts).sum() / counts.sum().clamp_min(1)
        weight = weight_loss(estimates[-1].weight_logit.float(), target, counts)
        return {"total": flow + self._WEIGHT * weight, "flow": flow, "weight": weight, "error_px": error_px}

    def answer(self, model: nn.Module, batch: FlowBatch) -> tuple[Tensor, Tensor]:
        last = model(*_inputs(batch), iterations=1)[-1]
        size = batch.mask.shape[-2:]
        flow, weight = (
            F.interpolate(x, size, mode="bilinear", align_corners=False)
            for x in (last.flow_px, torch.sigmoid(last.weight_logit))
        )
        return flow, weight

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"iterations": self.iterations, "sizes": self._sizes}


def _figures(name: str, errors: Errors) -> dict[str, float]:
    return {f"{name}_{key}": value for key, value in asdict(errors).items()}


def _inputs(batch: FlowBatch) -> tuple[Tensor, Tensor, Tensor]:
    return (
        light_input(batch.source_rgb, batch.source_depth_m, batch.mask),
        light_input(batch.target_rgb, batch.target_depth_m, batch.target_mask),
        batch.initial_flow_px,
    )
