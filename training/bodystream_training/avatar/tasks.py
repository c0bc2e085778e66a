"""What an avatar's network brings to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bodystream_training.avatar.batches import AvatarBatch, AvatarExamples
from bodystream_training.avatar.beginning import FirstShape, shape_terms
from bodystream_training.avatar.losses import iou, logits_of, prior_terms, skinning_terms, stick_terms
from bodystream_training.avatar.model import Ins, InsConfig
from bodystream_training.loop import LoopConfig
from bodystream_training.task import Task

__all__ = ["AvatarTask", "AvatarTrainConfig"]

_START_POINTS = 4000


@dataclass(frozen=True)
class AvatarTrainConfig(LoopConfig):
    """Settings of an avatar's training.

    Attributes:
        points: of each frame and step.
        pin_rate: learning rate of the PINs as a share of the others' (table 4: 1e-4 and 1e-3), and of the skinning
            weights after a start from scans.
        prior_share: of the training in which the auxiliary losses count; the paper's first epoch of 250 is too short
            for few steps.
        settle_share: of the training in which the PINs rest, so that they do not do what the skinning can. After a
            start from scans, which know the skinning, neither counts.
        start: from the average of some scans, or from a figure of sticks. start_steps: quick steps towards it, before
            the first one; 0 = none, as the paper.
        stillness: what a square centimetre costs that H_c moves a place by, beside the cross-entropy.
        smoothness: what a square centimetre costs by which layers are off from coarse tables of what they do, from the
            share `smooth_from` of the training on: before, the PINs find the motion unhindered.
    """

    points: int = 2000
    pin_rate: float = 0.1
    prior_share: float = 0.05
    settle_share: float = 0.1
    start: Literal["scans", "sticks"] = "sticks"
    start_steps: int = 300
    stillness: float = 0.01
    smoothness: float = 100.0
    smooth_from: float = 0.5


class AvatarTask(Task):
    """Trains `Ins` on the frames of one person."""

    max_gradient_norm = 4.0  # table 4

    def __init__(
        self,
        config: AvatarTrainConfig,
        network: InsConfig,
        examples: AvatarExamples,
        first: FirstShape | None = None,
        *,
        data: str = "",
        begun: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
    ) -> None:
        """
        Args:
            first: what a start from scans goes towards.
            data: what `open_take` made the examples' take of, for the checkpoint to say.
            begun: a checkpoint is there to go on from, so that no start is needed.
            on_start: told the steps of the start that are done.
        """
        super().__init__(Ins(network))
        self.config, self.network, self.examples, self.data = config, network, examples, data
        self.joints: Tensor
        self.register_buffer("joints", torch.from_numpy(examples.joints).float(), persistent=False)
        self._priors = torch.Generator().manual_seed(config.seed)
        self._nodes = torch.Generator().manual_seed(config.seed + 3)
        generator = torch.Generator().manual_seed(config.seed + 1)
        if not begun:
            self._begin(first, on_start)
        self._validation = examples.held_out(4000, generator)

    def _begin(self, first: FirstShape | None, on_start: Callable[[int], None]) -> None:
        model, generator = self.model, torch.Generator().manual_seed(self.config.seed + 2)
        assert isinstance(model, Ins)
        assert (first is None) == (self.config.start == "sticks")
        steps = self.config.start_steps
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
        known = None if first is None else [torch.from_numpy(x) for x in (first.points, first.inside, first.weights)]
        for step in range(steps):
            if known is None:
                terms = stick_terms(model, self.joints, self.examples.parents, 1000, generator)
            else:
                pick = torch.randint(len(known[0]), (_START_POINTS,), generator=generator)
                terms = shape_terms(model, *(x[pick] for x in known))
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            if known is not None:
                falling.step()
            on_start(step + 1)

    def terms(self, batch: AvatarBatch, progress: float) -> dict[str, Tensor]:
        model = self.model
        assert isinstance(model, Ins)
        # Points in metres have to be exact to fractions of a millimetre all the way: nothing here may have 16 bits.
        with torch.autocast(batch.points.device.type, enabled=False):
            nodes = self._nodes if progress >= self.config.smooth_from else None
            terms = skinning_terms(model, batch, pins=self._pins(progress), joints=self.joints, generator=nodes)
            moved, coarse = (terms.pop(name, batch.points.new_zeros(())) for name in ("moved_cm2", "coarse_cm2"))
            if self.config.start == "sticks" and progress < self.config.prior_share:
                terms |= prior_terms(model, self.joints, self.examples.parents, self._priors)
        total = torch.stack(list(terms.values())).sum()
        total = total + self.config.stillness * moved + self.config.smoothness * coarse
        return {"total": total, "occupancy": terms["occupancy"], "moved_cm2": moved, "coarse_cm2": coarse}

    def _pins(self, progress: float) -> bool:
        settled = self.config.start == "scans" or progress >= self.config.settle_share
        return settled or self.network.posed_occupancy or not self.network.skinning

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
        slow: list[nn.Module | None] = [model.deformed, model.canonical]
        if self.config.start == "scans":
            # They begin as a body's. Occupancies do not feel it where points slide along the surface.
            slow.append(model.weights)
        pins = [p for part in slow if part is not None for p in part.parameters()]
        held = {id(p) for p in pins}
        rest = [p for p in model.parameters() if id(p) not in held]
        groups: list[dict[str, Any]] = [{"params": rest, "lr": learning_rate}]
        if pins:
            groups.append({"params": pins, "lr": learning_rate * self.config.pin_rate})
        return torch.optim.Adam(groups, fused=fused)

    def settings(self) -> dict[str, Any]:
        return {"network": asdict(self.network)}

    def facts(self) -> dict[str, Any]:
        return {"data": self.data} if self.data else {}
