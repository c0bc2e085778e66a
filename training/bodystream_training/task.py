"""What a network brings to be trained."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Task"]


class Task(nn.Module, ABC):
    """A network with its examples and losses. `loop.Trainer` does all else.

    It is a module, so that everything it holds goes to the device with it: a normalisation, another network that stays
    as it is. `model` alone is trained, averaged and exported; parts of it that `terms` leaves out have to be frozen.

    Args:
        model: the network.
    """

    max_gradient_norm = 100.0
    """Gradients are made no longer than this (L2)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def loaders(self) -> int:
        """How many threads make batches ahead, `batch` being called on them; 0: each is made when it is needed."""
        return 0

    @abstractmethod
    def terms(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Losses of a batch, each a scalar; `total` is what is made small, the others are for the log.

        Args:
            batch: what `batch` gave, on the device.
            progress: share of the training that is done, from 0 to 1.
        """

    @abstractmethod
    def count(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def batch(self, index: Tensor, generator: torch.Generator) -> Any:
        """The examples `index` (B,), on the processor: tensors, collections of them, or an object with `to(device)`.

        Args:
            generator: of all that is random about them.
        """

    def epoch(self) -> int:
        """Examples per epoch; fewer than `count` where there are several variants of each."""
        return self.count()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """What the log says of the averaged network from time to time, such as its error on what is not trained on.

        Args:
            model: as `self.model`, with the averaged weights, in evaluation mode. No gradients are computed.
        """
        return {}

    def fresh(self) -> nn.Module:
        """Another network like `model`, to put averaged weights into."""
        return copy.deepcopy(self.model)

    def optimiser(self, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
        """Its parameters in groups; the schedule scales the learning rate of each."""
        return torch.optim.Adam(self.model.parameters(), lr=learning_rate, fused=fused)

    def constants(self) -> dict[str, nn.Module]:
        """Modules whose tensors a checkpoint keeps beside the network's, by name: what it needs to be understood."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be resumed, as JSON."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What else a checkpoint says, as JSON."""
        return {}

    def forward(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """`terms`, as the loop calls it; gradients flow from `total` alone."""
        terms = self.terms(batch, progress)
        return {name: term if name == "total" else term.detach() for name, term in terms.items()}
