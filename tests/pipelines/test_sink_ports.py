"""A session's ports: what a sink's failures on the pipeline's own thread lead to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bodystream.pipelines.ports import SinkPort
from bodystream.sinks import Occasion, SinkBase


class Preparing(SinkBase[Any]):
    """Prepares by a function of the moment, and keeps what comes of it."""

    name = "preparing"

    def __init__(self, prepared: Callable[[int], int | None]) -> None:
        self._prepared = prepared
        self.seen: list[int] = []

    def prepare(self, view: int) -> int | None:
        return self._prepared(view)

    def publish(self, result: int) -> None:
        self.seen.append(result)


def shown(sink: Preparing, moments: int) -> SinkPort:
    port = SinkPort(sink)
    for moment in range(moments):
        port.show(moment, Occasion.RESULT, None)
    return port


def test_rare_failures_of_a_sink_that_seldom_sends_do_not_switch_it_off() -> None:
    def seldom(moment: int) -> int | None:
        if moment % 50 == 7:
            raise OSError("a message was lost")
        return None

    port = shown(Preparing(seldom), 3000)
    assert port.worker.failed == 60 and not port.worker.broken
    assert port.close() and port.warnings == ["preparing: OSError: a message was lost"]


def test_a_sink_that_never_can_prepare_is_switched_off_though_another_value_is_consumed_meanwhile() -> None:
    def broken(moment: int) -> int:
        if moment == 0:
            return 0
        raise OSError("gone")

    sink = Preparing(broken)
    port = SinkPort(sink)
    port.show(0, Occasion.RESULT, None)
    for moment in range(1, 15):
        port.show(moment, Occasion.RESULT, None)
    end = time.monotonic() + 5
    while not sink.seen and time.monotonic() < end:
        time.sleep(0.005)
    assert sink.seen == [0] and not port.worker.broken
    for moment in range(15, 40):
        port.show(moment, Occasion.RESULT, None)
    assert port.worker.broken and port.worker.failed == 20
    assert port.close()
