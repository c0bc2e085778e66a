"""The stream of a captured surface as a sink: on which thread what is packed, how often, and in which order."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bodystream.pipelines.serve import sinks
from bodystream.pipelines.serve.sinks import SurfaceStreamSink
from bodystream.sinks.base import Occasion
from bodystream.sinks.stream import Update
from bodystream.types import GraphSnapshot, SkinnedMesh, Status
from bodystream.wire.envelope import open_message
from helpers.waving_sheet import waving_sheet

S = 1_000_000_000


class Hub:
    """Keeps what it is given, and on which thread; clients want surfaces at `wanted_hz`, 0 = nobody does."""

    def __init__(self, wanted_hz: float = 30.0, *, graph: bool = False) -> None:
        self.wanted_hz, self.graph = wanted_hz, graph
        self.took: list[Update] = []
        self.threads: list[str] = []

    def wants(self, what: str) -> bool:
        return self.rate_hz(what) > 0

    def rate_hz(self, what: str) -> float:
        return self.wanted_hz if what == "surface" or (what == "graph" and self.graph) else 0.0

    def publish(self, subject: str, update: Update) -> None:
        assert subject == "surface"
        self.took.append(update)
        self.threads.append(threading.current_thread().name)


class Clock:
    """The time that the sink is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = S
        monkeypatch.setattr(sinks, "now_ns", lambda: self.ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def sink_of(hub: Hub) -> SurfaceStreamSink:
    return SurfaceStreamSink(hub)  # pyright: ignore[reportArgumentType]


def view_of(graph: GraphSnapshot | None, skin: SkinnedMesh | None, occasion: Occasion = Occasion.RESULT) -> Any:
    result = SimpleNamespace(status=Status.TRACKED, reason="")
    return SimpleNamespace(
        occasion=occasion, result=result, motion=graph, graph=graph, skinned=skin, rate_hz=60.0, latency_ms=1.0,
        warnings={}, capture=SimpleNamespace(surface=skin),
    )  # fmt: skip


def beside(sink: SurfaceStreamSink, captured: Any) -> None:
    thread = threading.Thread(target=lambda: sink.publish(captured), name="sink")
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("camera_hz", "wanted_hz", "low", "high"),
    [(41, 30, 290, 312), (30, 30, 299, 300), (90, 15, 145, 156), (30, 120, 300, 300)],
)
def test_frames_that_no_client_takes_are_not_packed(
    clock: Clock, camera_hz: float, wanted_hz: float, low: int, high: int
) -> None:
    skin, graph = waving_sheet()
    hub = Hub(wanted_hz)
    sink = sink_of(hub)
    for frame in range(round(10 * camera_hz)):
        jitter_ns = (frame * 7919 % 13 - 6) * 300_000
        clock.ns = S + round(frame * S / camera_hz) + jitter_ns
        sink.prepare(view_of(graph, skin))
    assert low <= len(hub.took) <= high
    sequences = [open_message(update.motion).sequence for update in hub.took if update.motion is not None]
    assert sequences == list(range(1, len(hub.took) + 1))  # none was packed and left out


def test_motions_are_packed_at_once_and_pieces_beside_the_pipeline(clock: Clock) -> None:
    skin, graph = waving_sheet()
    hub = Hub(graph=True)
    sink = sink_of(hub)
    first = sink.prepare(view_of(graph, skin))
    assert len(hub.took) == 1 and hub.took[0].begins and hub.took[0].motion is not None and not hub.took[0].pieces
    beside(sink, first)
    assert hub.took[1].pieces and hub.took[1].graph is not None and hub.took[1].motion is None
    clock.ns += S // 10
    assert sink.prepare(view_of(graph, skin)) is None  # it is not looked at again so soon
    assert hub.took[2].motion is not None and not hub.took[2].begins
    here = threading.current_thread().name
    assert hub.threads == [here, "sink", here]


def test_pieces_of_a_surface_that_was_forgotten_are_left_out(clock: Clock) -> None:
    skin, graph = waving_sheet()
    hub = Hub()
    sink = sink_of(hub)
    late = sink.prepare(view_of(graph, skin))
    assert sink.prepare(view_of(None, None, Occasion.FORGET)) is None
    beside(sink, late)
    assert len(hub.took) == 1
    clock.ns += S
    again = sink.prepare(view_of(graph, skin))
    beside(sink, late)
    assert [update.begins for update in hub.took] == [True, True]
    beside(sink, again)
    assert hub.took[-1].pieces
    skins = {open_message(data).skin for data in hub.took[-1].pieces.values()}
    assert hub.took[1].motion is not None and skins == {open_message(hub.took[1].motion).skin}


def test_a_surface_that_begins_anew_is_looked_at_at_once(clock: Clock) -> None:
    skin, graph = waving_sheet()
    hub = Hub(graph=True)
    sink = sink_of(hub)
    beside(sink, sink.prepare(view_of(graph, skin)))
    sink.prepare(view_of(None, None, Occasion.FORGET))
    clock.ns += S // 10
    beside(sink, sink.prepare(view_of(graph, skin)))
    assert hub.took[-1].pieces and hub.took[-1].graph is not None


def test_a_client_that_wants_a_frame_now_and_then_holds_up_no_other_and_no_figures(clock: Clock) -> None:
    skin, graph = waving_sheet()
    hub = Hub(wanted_hz=0.01)
    sink = sink_of(hub)
    for wanted_hz, low, high in ((0.01, 9, 12), (30.0, 29, 32), (0.0, 9, 12)):
        hub.wanted_hz, before = wanted_hz, len(hub.took)
        for _ in range(60):
            sink.prepare(view_of(graph, skin))
            clock.ns += S // 60
        assert low <= len(hub.took) - before <= high
    assert all(update.figures is not None for update in hub.took)


def test_of_a_session_that_nobody_watches_figures_are_told_now_and_then(clock: Clock) -> None:
    skin, graph = waving_sheet()
    hub = Hub(wanted_hz=0.0)
    sink = sink_of(hub)
    for _ in range(60):
        assert sink.prepare(view_of(graph, skin)) is None
        clock.ns += S // 60
    assert 8 <= len(hub.took) <= 12
    assert all(update.figures is not None and update.motion is None for update in hub.took)
