"""What the flow networks bring to the training loop: examples, losses, and what they are judged by."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_training.flow.batches import Augmentation, FlowBatch, Guess, collate
from bodystream_training.flow.data import FlowData
from bodystream_training.flow.graphs import GraphConfig
from bodystream_training.flow.judge import Answer, Errors, dis_answer, errors_of, used_weight
from bodystream_training.flow.losses import in_cells
from bodystream_training.flow.sheets import write_sheet
from bodystream_training.flow.stages import STAGES, StageName, solver_config
from bodystream_training.flow.tracked import TrackedBatch, collate_tracked, tracking_terms
from bodystream_training.loop import LoopConfig
from bodystream_training.task import Task

__all__ = ["FlowExamples", "FlowTask", "FlowTrainConfig", "Optimiser", "Said"]

Optimiser = Literal["adamw", "sgd"]

_JUDGED = GraphConfig(matches=2000, least_matches=400)
"""Fewer matches than one is trained by: the figures are the same within a hundredth, in a fifth of the time."""


@dataclass(frozen=True)
class FlowTrainConfig(LoopConfig):
    """Settings of one stage.

    Attributes:
        stage: of `stages.STAGES`.
        optimiser: `adamw`, or `sgd` with momentum 0.9, as the paper.
        weight_decay: of adamw.
        loaders: threads that make batches.
        matches: most points of a pair that go through the solver.
        most_nodes: of a pair's graph; one that would need more has them farther apart.
        weight_truth: share of appendix C.3's supervised loss of the weights in stages 3 and 4; the paper's method has
            none.
    """

    stage: StageName = 1
    optimiser: Optimiser = "adamw"
    weight_decay: float = 1e-4
    loaders: int = 1
    matches: int = 10_000
    most_nodes: int = 400
    weight_truth: float = 0.0


@dataclass(frozen=True)
class FlowExamples:
    """What a run is trained on.

    Attributes:
        train: pairs.
        validation: batches of other pairs, made once, with the guesses that they are begun from.
    """

    train: FlowData
    validation: Sequence[TrackedBatch]
    _others: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def others(self) -> dict[str, float]:
        """Errors of DIS and of the first guess on the validation pairs, worked out once for all that are judged."""
        if not self._others and self.validation:
            dis = errors_of((batch, *dis_answer(batch.pairs)) for batch in self.validation)
            guess = errors_of((batch, batch.pairs.initial_flow_px, None) for batch in self.validation)
            self._others.update(_figures("dis", dis) | _figures("guess", guess))
        return self._others

    @classmethod
    def of(cls, train: FlowData, held_out: FlowData, count: int, batch: int, seed: int) -> FlowExamples:
        """With the first `count` pairs of `held_out` as validation, changed as in training but for mirroring."""
        generator = torch.Generator().manual_seed(seed)
        batches = []
        for start in range(0, min(count, len(held_out)), batch):
            indices = range(start, min(start + batch, count, len(held_out)))
            samples = [held_out.sample(index, generator) for index in indices]
            batches.append(collate_tracked(samples, generator, Augmentation(mirrored=0.0), Guess(), _JUDGED))
        return cls(train, batches)


@dataclass
class Said:
    """What a network says of a batch.

    Attributes:
        flows_px: (B, 2, h, w) of each pass, the answer last, in pixels of the image.
        logit: (B, 1, h, w) of the weights; None where they are not asked for.
    """

    flows_px: list[Tensor]
    logit: Tensor | None


class FlowTask(Task):
    """What both networks have in common; each says what it sees, and what its loss of the flow is.

    Args:
        name: of the network.
        sheets: folder of the sample sheets; None for none.

    Attributes:
        solved_scale: of the losses through the solver. The paper's lambdas weigh them against the loss of its flow.
        start: what the checkpoint says that it was begun from; empty of a new network.
    """

    solved_scale = 1.0

    def __init__(
        self, name: str, model: nn.Module, config: FlowTrainConfig, examples: FlowExamples, sheets: Path | None = None
    ) -> None:
        super().__init__(model)
        self.name = name if config.stage == 1 else f"{name}-{config.stage}"
        self.config, self.examples, self._sheets = config, examples, sheets
        self.stage = STAGES[config.stage]
        self.start: dict[str, Any] = {}
        self._progress = 0.0

    @property
    def loaders(self) -> int:
        return self.config.loaders

    @abstractmethod
    def said(self, model: nn.Module, batch: FlowBatch, weighted: bool) -> Said:
        """What `model`, one like `self.model`, says; in training and in evaluation."""

    @abstractmethod
    def flow_terms(self, said: Said, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        """Losses against the true flow: `flow`, and what the network adds to `total` in its first stage."""

    def terms(self, batch: FlowBatch | TrackedBatch, progress: float) -> dict[str, Tensor]:
        self._progress = progress
        if isinstance(batch, FlowBatch):
            said = self.said(self.model, batch, weighted=False)
            terms = self.flow_terms(said, batch, progress)
            if not self.stage.direct:
                terms = {"flow": terms["flow"]}
            return {"total": torch.stack(list(terms.values())).sum(), **terms, "error_px": _error_px(said, batch)}
        stage, pairs = self.stage, batch.pairs
        said = self.said(self.model, pairs, weighted=stage.weighted)
        flow_px = said.flows_px[-1] if stage.flow else said.flows_px[-1].detach()
        weight = torch.sigmoid(said.logit.float()) if stage.weighted and said.logit is not None else None
        terms, _ = tracking_terms(batch, flow_px.float(), weight, solver_config(pairs.intrinsics))
        total = torch.zeros_like(terms["graph"])
        for share, name in ((stage.graph, "graph"), (stage.warp, "warp")):
            if share > 0:
                total = total + self.solved_scale * share * terms[name]
        if stage.correspondence > 0:
            terms["flow"] = self.flow_terms(said, pairs, progress)["flow"]
            total = total + stage.correspondence * terms["flow"]
        if weight is not None:
            total = total + self.config.weight_truth * terms["supervised"]
        return {"total": total, **terms, "error_px": _error_px(said, pairs)}

    def count(self) -> int:
        return len(self.examples.train)

    def batch(self, index: Tensor, generator: torch.Generator) -> FlowBatch | TrackedBatch:
        samples = [self.examples.train.sample(number, generator) for number in index.tolist()]
        if not self.stage.solved:
            return collate(samples, generator, Augmentation(), Guess())
        config = self.config
        graphs = GraphConfig(
            matches=config.matches, least_matches=config.matches // 5, most_nodes=config.most_nodes
        )  # fmt: skip
        return collate_tracked(samples, generator, Augmentation(), Guess(), graphs)

    def optimiser(self, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self.config.optimiser == "sgd":
            return torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, fused=fused)
        # what shares a layer with the weights, and is to stay as it is, does not decay
        decay = self.config.weight_decay if self.stage.flow else 0.0
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=decay, fused=fused)

    def answer(self, model: nn.Module, batch: FlowBatch) -> tuple[Tensor, Tensor | None]:
        """What `model` says at every pixel: (B, 2, H, W) flow [px], and (B, 1, H, W) weight if it was trained, as the
        runtime uses it."""
        said = self.said(model, batch, weighted=True)
        size = batch.mask.shape[-2:]
        flow_px = F.interpolate(said.flows_px[-1].float(), size, mode="bilinear", align_corners=False)
        if said.logit is None or not (self.stage.weighted or self.stage.direct):
            return flow_px, None
        weight = F.interpolate(torch.sigmoid(said.logit.float()), size, mode="bilinear", align_corners=False)
        return flow_px, used_weight(weight)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Errors on held out pairs, beside those of the first guess and of DIS on the same ones."""
        batches = self.examples.validation
        if not batches:
            return {}
        device = next(model.parameters()).device
        answers: list[Answer] = []
        for batch in batches:
            flow, weight = self.answer(model, batch.pairs.to(device))
            answers.append((batch, flow.cpu(), None if weight is None else weight.cpu()))
        if self._sheets is not None:
            batch, flow, weight = answers[0]
            path = self._sheets / f"{self.name}-{round(1000 * self._progress):04d}.png"
            write_sheet(path, batch.pairs, flow, torch.ones_like(flow[:, :1]) if weight is None else weight)
        return _figures("epe", errors_of(answers)) | self.examples.others()

    def settings(self) -> dict[str, Any]:
        return {"stage": self.name, "examples": self.examples.train.digest}

    def facts(self) -> dict[str, Any]:
        kept = ("stage", "config", "step", "steps", "seconds", "examples", "pairs", "size", "start")
        start = {"start": {name: self.start[name] for name in kept if name in self.start}} if self.start else {}
        return {"pairs": len(self.examples.train), "size": list(self.examples.train.size), **start}


@torch.no_grad()
def _error_px(said: Said, batch: FlowBatch) -> Tensor:
    """Mean error of the flow over the subject's known cells [px]."""
    flow_px = said.flows_px[-1].float()
    truth_px, counts = in_cells(batch.flow_px, batch.flow_known * batch.mask, batch.mask.shape[-1] // flow_px.shape[-1])
    return ((flow_px - truth_px).norm(dim=1, keepdim=True) * counts).sum() / counts.sum().clamp_min(1)


def _figures(name: str, errors: Errors) -> dict[str, float]:
    return {f"{name}_{key}": value for key, value in asdict(errors).items() if math.isfinite(value)}
