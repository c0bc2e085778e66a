"""The batches of a training, one after another; made on other threads meanwhile, where making them takes long."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bodystream_training.order import ShuffledOrder
from bodystream_training.task import Task

__all__ = ["Feed", "Place"]


class Place(NamedTuple):
    """Where a feed stands, for a checkpoint.

    Attributes:
        round_generator, position: as `ShuffledOrder.place` has them.
        generator: state of the generator that the next batch is drawn from.
    """

    round_generator: Tensor
    position: int
    generator: Tensor


class Feed:
    """Batches in the order of a training.

    Where `Task.loaders` says so, threads make the next ones, each from a generator of its own; what is random about
    them then depends on neither their number nor on when they are taken.
    """

    def __init__(self, task: Task, order: ShuffledOrder, generator: torch.Generator) -> None:
        self._task, self._order, self._generator = task, order, generator
        self._pool = ThreadPoolExecutor(task.loaders, "batches") if task.loaders else None
        self._waiting: deque[tuple[Place, Future[Any]]] = deque()

    def take(self) -> Any:
        """The next batch, on the processor."""
        if self._pool is None:
            return self._task.batch(self._order.take(), self._generator)
        while len(self._waiting) < 2 * self._task.loaders:
            place = self._now()
            index = self._order.take()
            own = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=self._generator)))
            self._waiting.append((place, self._pool.submit(self._task.batch, index, own)))
        return self._waiting.popleft()[1].result()

    def place(self) -> Place:
        """Where the batch that is taken next stands."""
        return self._waiting[0][0] if self._waiting else self._now()

    def close(self) -> None:
        """Leave what was made ahead: the next batch is the one after the last that was taken."""
        place = self.place()
        for _, future in self._waiting:
            future.cancel()
        for _, future in self._waiting:
            if not future.cancelled():
                future.exception()  # a thread in the middle of a batch is waited for
        self._waiting.clear()
        self._order.go_to(place.round_generator, place.position)
        self._generator.set_state(place.generator)

    def _now(self) -> Place:
        return Place(*self._order.place(), self._generator.get_state())
