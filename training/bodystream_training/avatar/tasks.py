"""What an avatar's network brings to the training loop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bodystream_training.avatar.batches import AvatarBatch, AvatarExamples
from bodystream_training.avatar.losses import iou, logits_of, prior_terms, skinning_terms, stick_terms
from bodystream_training.avatar.model import Ins, InsConfig
from bodystream_training.loop import LoopConfig
from bodystream_training.task import Task

__all__ = ["AvatarTask", "AvatarTrainConfig"]


@dataclass(frozen=True)
class AvatarTrainConfig(LoopConfig):
    """Settings of an avatar's training.

    Attributes:
        points: of each frame and step.
        pin_rate: learning rate of the PINs as a share of the others' (table 4: 1e-4 and 1e-3).
        prior_share: of the training in which the auxiliary losses count; the paper's first epoch of 250 is too short
            for few steps.
        settle_share: of the training in which the PINs rest, so that they do not do what the skinning can.
        stick_steps: quick steps before the first one, towards a figure of sticks; 0 = none, as the paper.
    """

    points: int = 2000
    pin_rate: float = 0.1
    prior_share: float = 0.05
    settle_share: float = 0.1
    stick_steps: int = 300


class AvatarTask(Task):
    """Trains `Ins` on the frames of one person."""

    max_gradient_norm = 4.0  # table 4

    def __init__(self, config: AvatarTrainConfig, network: InsConfig, examples: AvatarExamples) -> None:
        super().__init__(Ins(network))
        self.config, self.network, self.examples = config, network, examples
        self.joints: Tensor
        self.register_buffer("joints", torch.from_numpy(examples.joints).float(), persistent=False)
        self._priors = torch.Generator().manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed + 1)
        self._begin(config.stick_steps)
        self._validation = examples.held_out(4000, generator)

    def _begin(self, steps: int) -> None:
        model, generator = self.model, torch.Generator().manual_seed(self.config.seed + 2)
        assert isinstance(model, Ins)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(steps):
            terms = stick_terms(model, self.joints, self.examples.parents, 1000, generator)
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()

    def terms(self, batch: AvatarBatch, progress: float) -> dict[str, Tensor]:
        model = self.model
        assert isinstance(model, Ins)
        # Points in metres have to be exact to fractions of a millimetre all the way: nothing here may have 16 bits.
        with torch.autocast(batch.points.device.type, enabled=False):
            terms = skinning_terms(model, batch, pins=self._pins(progress), joints=self.joints)
            if progress < self.config.prior_share:
                terms |= prior_terms(model, self.joints, self.examples.parents, self._priors)
        return {"total": torch.stack(list(terms.values())).sum(), "occupancy": terms["occupancy"]}

    def _pins(self, progress: float) -> bool:
        return progress >= self.config.settle_share or self.network.posed_occupancy or not self.network.skinning

    def count(self) -> int:
        return len(self.examples.frames)

    def batch(self, index: Tensor, generator: torch.Generator) -> AvatarBatch:
        return self.examples.batch(index, self.config.points, generator)

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Ins)
        near, box = [], []
        device = next(model.parameters()).device
        for batch in (held.to(device) for held in self._validation):
            logits = logits_of(model, batch, hard=True, joints=self.joints)
            half = logits.shape[1] // 2
            near.append(iou(logits[:, :half], batch.inside[:, :half]))
            box.append(iou(logits[:, half:], batch.inside[:, half:]))
        if not near:  # a take without motions to test by
            return {}
        return {"iou_surface": sum(near) / len(near), "iou_bbox": sum(box) / len(box)}

    def optimiser(self, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
        model = self.model
        assert isinstance(model, Ins)
        pins = [p for pin in (model.deformed, model.canonical) if pin is not None for p in pin.parameters()]
        held = {id(p) for p in pins}
        rest = [p for p in model.parameters() if id(p) not in held]
        groups: list[dict[str, Any]] = [{"params": rest, "lr": learning_rate}]
        if pins:
            groups.append({"params": pins, "lr": learning_rate * self.config.pin_rate})
        return torch.optim.Adam(groups, fused=fused)

    def settings(self) -> dict[str, Any]:
        return {"network": asdict(self.network)}
