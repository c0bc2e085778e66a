"""The reading thread: recordings lose nothing, of a live source the newest frame wins, errors come through."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bodystream.errors import SourceError
from bodystream.pipelines.reader import SourceReader
from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.types import CameraIntrinsics, RgbdFrame

CAMERA = CameraIntrinsics(10.0, 10.0, 1.5, 1.5, 4, 4)


class Fake(RgbdSource):
    """Gives `count` frames, each when it is let, and then ends or fails."""

    def __init__(self, count: int, live: bool = False, failure: BaseException | None = None, gated: bool = False):
        self.name, self.live, self.rate_hz, self.counts = "fake", live, None, SourceCounts()
        self._count, self._failure = count, failure
        self._gate = threading.Semaphore(0) if gated else None
        self.closed = threading.Event()
        self.given = 0

    def let(self, frames: int = 1) -> None:
        assert self._gate is not None
        before = self.given
        self._gate.release(frames)
        deadline = time.monotonic() + 5
        while self.given < min(before + frames, self._count) and time.monotonic() < deadline:
            time.sleep(0.002)

    def __iter__(self) -> Iterator[RgbdFrame]:
        for index in range(self._count):
            while self._gate is not None and not self._gate.acquire(timeout=0.02):
                if self.closed.is_set():
                    return
            self.counts.delivered += 1
            yield RgbdFrame(index, index, np.zeros((4, 4), np.float32), CAMERA)
            self.given += 1
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self.closed.set()


def taken(reader: SourceReader) -> list[int]:
    indices = []
    while (arrival := reader.take(5.0)) is not None:
        indices.append(arrival.frame.index)
    return indices


def test_a_recording_loses_nothing_however_slow_it_is_taken() -> None:
    source = Fake(20)
    reader = SourceReader(source)
    first = reader.take(5.0)
    time.sleep(0.1)
    assert source.counts.delivered <= 3, "it waits instead of reading on"
    assert first is not None and [first.frame.index, *taken(reader)] == list(range(20))
    assert (reader.received, reader.dropped) == (20, 0)
    reader.close()


def test_frames_read_ahead_are_not_counted_as_received() -> None:
    source = Fake(20)
    reader = SourceReader(source)
    for _ in range(5):
        assert reader.take(5.0) is not None
    time.sleep(0.05)
    assert source.counts.delivered > 5
    assert (reader.received, reader.dropped) == (5, 0)
    reader.close()


def test_of_a_live_source_the_newest_wins() -> None:
    source = Fake(10, live=True, gated=True)
    reader = SourceReader(source)
    source.let()
    first = reader.take(5.0)
    source.let(4)
    newest = reader.take(5.0)
    assert first is not None and newest is not None
    assert (first.frame.index, newest.frame.index) == (0, 4)
    assert (reader.received, reader.dropped) == (5, 3), "every frame was either taken or dropped"
    assert newest.arrived_ns >= first.arrived_ns
    reader.pass_over()
    assert (reader.received, reader.dropped) == (5, 4)
    reader.close()


def test_a_silent_source_times_out_and_may_go_on() -> None:
    source = Fake(2, live=True, gated=True)
    reader = SourceReader(source)
    with pytest.raises(TimeoutError):
        reader.take(0.02)
    source.let()
    assert reader.take(5.0) is not None
    reader.close()


def test_errors_come_after_the_last_frame() -> None:
    reader = SourceReader(Fake(3, failure=SourceError("unplugged")))
    assert [reader.take(5.0).frame.index for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    with pytest.raises(SourceError, match="unplugged"):
        reader.take(5.0)
    assert reader.received == 3
    reader.close()


def test_errors_before_the_first_frame_come_through() -> None:
    reader = SourceReader(Fake(0, failure=ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        reader.take(5.0)
    reader.close()


@pytest.mark.parametrize("live", [False, True])
def test_close_ends_thread_and_source(live: bool) -> None:
    source = Fake(1000, live=live, gated=live)
    reader = SourceReader(source)
    names = [thread.name for thread in threading.enumerate()]
    assert "source-reader" in names
    reader.close()
    reader.close()
    assert source.closed.is_set()
    assert "source-reader" not in [thread.name for thread in threading.enumerate()]
