"""The tasks of the two networks: the light one, and the paper's."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bodystream.errors import InputError
from bodystream_training.checkpoints import load_checkpoint
from bodystream_training.flow.batches import FlowBatch, halved
from bodystream_training.flow.light import MULTIPLE, STRIDES, LightFlow, light_input
from bodystream_training.flow.losses import correspondence_loss, in_cells, weight_loss, weight_target
from bodystream_training.flow.model import FLOW_SCALE_PX, PwcNet, WeightNet, rgbd_input
from bodystream_training.flow.tasks import FlowExamples, FlowTask, FlowTrainConfig, Said
from bodystream_training.flow.tracked import TrackedBatch

__all__ = ["MULTIPLES", "FullNet", "FullTask", "LightTask", "Net", "flow_task", "load_flow_model"]

Net = Literal["light", "full"]

MULTIPLES: dict[Net, int] = {"light": MULTIPLE, "full": 64}
"""What width and height of an image are multiples of."""


class LightTask(FlowTask):
    """The light network.

    Its first stage learns flow and weight from the true flow alone. The loss of the flow counts the subject's points
    whose motion is known, hidden ones less: they are what no image shows. Its norm is less robust at first, when large
    errors are what is learned from, and at the end the paper's. The weight of a cell is learned as how near its flow
    came to the truth, times the share of it that is seen.

    Half of the batches are shown at half their size where that is a size of the network, since live capture looks at
    people in few pixels and evaluation in many.

    Args:
        iterations: passes at each level; every step draws a number up to it, so that fewer serve as well.
    """

    solved_scale = 20.0  # its loss of the flow is some 20 times as large as the full network's
    _HIDDEN = 0.2
    _DECAY = 0.6  # of the loss, from the last pass to the first
    _FIRST_Q, _LAST_Q, _EPSILON_PX = 0.7, 0.4, 0.1
    _SIGMA_PX = 1.0
    _WEIGHT = 0.5
    _HALVED = 0.5

    def __init__(
        self,
        model: LightFlow,
        config: FlowTrainConfig,
        examples: FlowExamples,
        sheets: Path | None = None,
        iterations: int = 2,
    ) -> None:
        super().__init__("light", model, config, examples, sheets)
        # a quarter less time per step on a processor
        nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
        self.iterations, self._sizes = iterations, asdict(model.config)
        if not self.stage.flow:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(".head." in name and name.startswith("decoder.levels.1."))

    def train(self, mode: bool = True) -> LightTask:
        super().train(mode)
        if not self.stage.flow:  # the statistics of what is not trained stay as they are
            self.model.eval()
        return self

    def batch(self, index: Tensor, generator: torch.Generator) -> FlowBatch | TrackedBatch:
        batch = super().batch(index, generator)
        if isinstance(batch, TrackedBatch) or any(side % (2 * MULTIPLE) for side in batch.mask.shape[-2:]):
            return batch
        return halved(batch) if torch.rand((), generator=generator) < self._HALVED else batch

    def said(self, model: nn.Module, batch: FlowBatch, weighted: bool) -> Said:
        iterations = int(torch.randint(1, self.iterations + 1, ())) if model.training else 1
        estimates = model(
            light_input(batch.source_rgb, batch.source_depth_m, batch.mask),
            light_input(batch.target_rgb, batch.target_depth_m, batch.target_mask),
            batch.initial_flow_px,
            iterations=iterations,
        )
        return Said([estimate.flow_px for estimate in estimates], estimates[-1].weight_logit)

    def flow_terms(self, said: Said, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        known = batch.flow_known * batch.mask
        counted = known * (self._HIDDEN + (1 - self._HIDDEN) * batch.visible)
        flows = [flow.float() for flow in said.flows_px]
        shares = [self._DECAY ** (len(flows) - 1 - number) for number in range(len(flows))]
        q = self._FIRST_Q + (self._LAST_Q - self._FIRST_Q) * progress
        flow = correspondence_loss(flows, batch.flow_px, counted, shares, q=q, epsilon=self._EPSILON_PX)
        assert said.logit is not None
        truth_px, counts = in_cells(batch.flow_px, known, STRIDES[-1])
        visible, _ = in_cells(batch.visible, known, STRIDES[-1])
        target = weight_target(flows[-1].detach(), truth_px, visible, self._SIGMA_PX)
        return {"flow": flow, "weight": self._WEIGHT * weight_loss(said.logit.float(), target, counts)}

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"iterations": self.iterations, "sizes": self._sizes}


class FullNet(nn.Module):
    """PWC-Net and the weight net, as one checkpoint holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.flow, self.weights = PwcNet(), WeightNet()


class FullTask(FlowTask):
    """The paper's networks. Levels count as in PWC-Net's own training (Sun et al. 2018), from coarse to fine."""

    _LEVELS = (0.32, 0.08, 0.02, 0.01, 0.005)
    _EPSILON = 0.01

    def __init__(
        self, model: FullNet, config: FlowTrainConfig, examples: FlowExamples, sheets: Path | None = None
    ) -> None:
        super().__init__("full", model, config, examples, sheets)
        model.flow.requires_grad_(self.stage.flow)
        model.weights.requires_grad_(self.stage.weights)

    def said(self, model: nn.Module, batch: FlowBatch, weighted: bool) -> Said:
        assert isinstance(model, FullNet)
        found = model.flow(batch.source_rgb, batch.target_rgb)
        if not (weighted and self.stage.weighted):
            return Said(found.flows_px, None)
        source = rgbd_input(batch.source_rgb, batch.source_depth_m, batch.intrinsics)
        target = rgbd_input(batch.target_rgb, batch.target_depth_m, batch.intrinsics)
        return Said(found.flows_px, model.weights(source, target, found.flows_px[-1], found.features))

    def flow_terms(self, said: Said, batch: FlowBatch, progress: float) -> dict[str, Tensor]:
        flows = [flow.float() / FLOW_SCALE_PX for flow in said.flows_px]
        truth, known = batch.flow_px / FLOW_SCALE_PX, batch.flow_known
        return {"flow": correspondence_loss(flows, truth, known, self._LEVELS, epsilon=self._EPSILON)}


def flow_task(
    net: Net, config: FlowTrainConfig, examples: FlowExamples, sheets: Path | None = None, start: Path | None = None
) -> FlowTask:
    """The task of a network, new or begun from the averaged weights of a checkpoint.

    Raises:
        InputError: the checkpoint is not readable, or of another network.
    """
    model: LightFlow | FullNet = LightFlow() if net == "light" else FullNet()
    facts = {} if start is None else load_flow_model(model, start)
    task: FlowTask
    if isinstance(model, LightFlow):
        task = LightTask(model, config, examples, sheets)
    else:
        task = FullTask(model, config, examples, sheets)
    task.start = facts
    return task


def load_flow_model(model: nn.Module, path: Path) -> dict[str, Any]:
    """Put the averaged weights of a checkpoint into a network like the one that was trained; what the checkpoint says.

    Raises:
        InputError: it is not readable, or of another network.
    """
    tensors, facts = load_checkpoint(path)
    average = {key.removeprefix("average/"): value for key, value in tensors.items() if key.startswith("average/")}
    try:
        model.load_state_dict(average)
    except RuntimeError as error:
        name = type(model).__name__
        raise InputError(f"{path} ({facts.get('stage')}) holds no weights of {name}: {error}") from error
    return facts
