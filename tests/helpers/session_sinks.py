"""Sinks with which tests look into a session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bodystream.sinks import Occasion, SinkBase

__all__ = ["Collector", "Gate", "Held"]


class Gate(SinkBase[Any]):
    """Tells the test on the pipeline's thread, after each step.

    Attributes:
        after: called with the result, and how many there were.
        results: all of them.
    """

    name = "gate"

    def __init__(self) -> None:
        self.after: Callable[[Any, int], None] = lambda result, number: None
        self.results: list[Any] = []

    def prepare(self, view: Any) -> None:
        if view.occasion is Occasion.RESULT:
            self.results.append(view.result)
            self.after(view.result, len(self.results))

    def publish(self, result: Any, /) -> None:
        raise AssertionError("nothing is prepared for this sink")


class Collector(SinkBase[Any]):
    """Keeps what it is given.

    Attributes:
        results: in order. threads: that published. closed: how often it was.
    """

    def __init__(self, name: str = "collector", lossless: bool = True, bound: int = 64) -> None:
        self.name, self.lossless, self.bound = name, lossless, bound
        self.results: list[Any] = []
        self.threads: set[str] = set()
        self.closed = 0

    def publish(self, result: Any, /) -> None:
        self.threads.add(threading.current_thread().name)
        self.results.append(result)

    def close(self) -> Sequence[str]:
        self.closed += 1
        return (f"{self.name} took {len(self.results)}",)


class Held(Collector):
    """Does not come back from its first result until the test lets it."""

    close_within_s = 0.3

    def __init__(self, name: str = "held", lossless: bool = True, bound: int = 64) -> None:
        super().__init__(name, lossless, bound)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def publish(self, result: Any, /) -> None:
        self.entered.set()
        assert self.go_on.wait(60)
        super().publish(result)
