"""The order of a training's examples: in rounds, each shuffled anew, that can be taken up in the middle."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ShuffledOrder"]


class ShuffledOrder:
    """Indices of the next batch, without end; the last short batch of a round is left out.

    Args:
        count: of examples.
        batch: examples per step, of all processes together.
        generator: draws the order of a round when its first batch is asked for.
        rank, world: which of how many processes this is; each takes its share of every batch.
    """

    def __init__(self, count: int, batch: int, generator: torch.Generator, rank: int = 0, world: int = 1) -> None:
        self._count, self._generator, self._rank, self._world = count, generator, rank, world
        self._batch = min(batch, count) // world * world
        self._order: Tensor | None = None
        self._before = generator.get_state()
        self._position = 0

    def take(self) -> Tensor:
        """(batch / world,) indices of this process."""
        if self._order is None or self._position + self._batch > self._count:
            self._before = self._generator.get_state()
            self._order = torch.randperm(self._count, generator=self._generator)
            self._position = 0
        index = self._order[self._position : self._position + self._batch]
        self._position += self._batch
        return index[self._rank :: self._world]

    def place(self) -> tuple[Tensor, int]:
        """Where it stands: the generator's state before the round was drawn, and how many of the round are taken."""
        return self._before, self._position

    def go_to(self, before: Tensor, position: int) -> None:
        """Take up where `place` was; moves the generator to where it was when the round had just been drawn."""
        self._generator.set_state(before)
        self._before, self._position = before, position
        self._order = torch.randperm(self._count, generator=self._generator) if position else None
