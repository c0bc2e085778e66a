"""A session's controls: stop, pause, reset, a frame limit; and what it says of a source that stalls or fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bodystream.errors import SourceError
from bodystream.evaluation.surface import QualityMeter
from bodystream.pipelines import run as run_module
from bodystream.pipelines.capture.files import CaptureFiles
from bodystream.pipelines.capture.result import CaptureResult
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.run import Progress, State
from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.types import RgbdFrame, Status
from helpers.gltf_player import Player
from helpers.pipeline_frames import DEVICE, empty, frames
from helpers.session_sinks import Gate


class Scripted(RgbdSource):
    """The shared frames; `before` is called with each index first, and may wait or raise."""

    def __init__(self, count: int = 12, before: Callable[[int], None] = lambda index: None, live: bool = False):
        self.name, self.live, self.rate_hz, self.counts = "scripted", live, 30.0, SourceCounts()
        self._count, self._before = count, before
        self.closed = threading.Event()

    def frame(self, index: int) -> RgbdFrame:
        return frames()[index]

    def __iter__(self) -> Iterator[RgbdFrame]:
        for index in range(self._count):
            if self.closed.is_set():
                return
            self._before(index)
            self.counts.delivered += 1
            yield self.frame(index)

    def close(self) -> None:
        self.closed.set()


class Harness:
    """A session over a scripted source, with everything it reports."""

    def __init__(self, source: Scripted, **options: Any) -> None:
        self.progress: list[Progress] = []
        self.gate = Gate()
        self.session = CaptureSession(source, device=DEVICE, on_progress=self.progress.append, **options)
        self.session.add_sink(self.gate)

    @property
    def statuses(self) -> list[Status]:
        return [result.status for result in self.gate.results]

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def test_a_recording_is_processed_to_its_end() -> None:
    with Harness(Scripted(8), meter=QualityMeter, meter_every=2) as h:
        report = h.session.run()
    assert h.session.processed == 8 and h.statuses == [Status.TRACKED] * 8
    told = [p.processed for p in h.progress]
    assert told == sorted(set(told)) and told[-1] == 8, "the newest is told, the last one always"
    assert (report.frames.received, report.frames.processed, report.frames.dropped) == (8, 8, 0)
    assert report.tracking.status["tracked"] == 8
    assert report.quality.frames == 4
    assert report.latency.p50_ms is not None and report.latency.p50_ms > 0
    last = h.progress[-1]
    assert last.status is Status.TRACKED and last.nodes > 0 and last.vertices > 0 and last.rate_hz > 0
    assert {"warp", "quality"} <= set(report.stages)
    assert report.tracking.residuals["depth_cost"] is not None


def test_a_limit_counts_processed_frames_and_nothing_that_was_read_ahead() -> None:
    with Harness(Scripted(12), frames=5) as h:
        report = h.session.run()
    assert (report.frames.received, report.frames.processed, report.frames.dropped) == (5, 5, 0)


def test_stop_ends_after_the_frame_in_work() -> None:
    with Harness(Scripted(12)) as h:
        h.gate.after = lambda result, number: h.session.stop() if number == 3 else None
        h.session.run()
    assert h.session.processed == 3


def test_pause_leaves_frames_aside_until_resume() -> None:
    with Harness(Scripted(8)) as h:
        paused = threading.Event()

        def pause(result: CaptureResult, number: int) -> None:
            if number == 3:
                h.session.pause()
                paused.set()

        h.gate.after = pause
        h.session.start()
        assert paused.wait(30)
        with pytest.raises(TimeoutError, match="has not ended within 0.3 s"):
            h.session.wait(0.3)
        assert h.session.processed == 3 and h.session.state is State.RUNNING
        h.session.resume()
        assert h.session.wait(30).frames.processed == 8, "a recording lost nothing meanwhile"
        assert h.session.state is State.ENDED


def test_a_paused_session_can_be_stopped() -> None:
    with Harness(Scripted(8)) as h:
        h.session.pause()
        h.session.start()
        time.sleep(0.1)
        h.session.stop()
        assert h.session.wait(10).frames.processed == 0


def test_reset_starts_the_model_anew_with_the_next_frame() -> None:
    with Harness(Scripted(8)) as h:
        h.gate.after = lambda result, number: h.session.reset() if number == 4 else None
        report = h.session.run()
        assert h.session._capture is not None and h.session._capture.frame_count == 4
    assert report.tracking.restarts == 1
    assert report.tracking.status["tracked"] == 8


def test_a_stall_is_reported_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "STALL_S", 0.15)
    go_on = threading.Event()
    source = Scripted(5, before=lambda index: go_on.wait(30) and None if index == 3 else None, live=True)
    source.on_demand = True  # type: ignore[attr-defined]  # each frame is asked for when the last one was taken
    stalls: list[Progress] = []

    def listen(progress: Progress) -> None:
        if progress.status is Status.LOST:
            stalls.append(progress)
            go_on.set()

    with CaptureSession(source, device=DEVICE, on_progress=listen) as session:
        report = session.run()
    assert "scripted gave no frame" in stalls[0].reason
    assert session.result is not None and session.result.frame.index == 4
    assert report.frames.processed + report.frames.dropped == report.frames.received == 5
    assert sum("gave no frame" in warning for warning in source.counts.warnings) == 1, "said once"


def test_an_error_of_the_source_comes_after_its_last_frame() -> None:
    def unplug(index: int) -> None:
        if index == 4:
            raise SourceError("unplugged")

    with Harness(Scripted(8, before=unplug)) as h:
        with pytest.raises(SourceError, match="unplugged"):
            h.session.run()
        assert h.session.report.frames.processed == 4


def test_lost_frames_are_counted_with_their_reason() -> None:
    class Leaving(Scripted):
        def frame(self, index: int) -> RgbdFrame:
            return empty(frames()[index]) if 3 <= index < 6 else frames()[index]

    with Harness(Leaving(9)) as h:
        report = h.session.run()
    assert report.tracking.status["lost"] == 3
    assert sum(report.tracking.reasons.values()) >= 3
    assert h.statuses[3:6] == [Status.LOST] * 3 and all(result.reason for result in h.gate.results[3:6])


def test_saving_is_done_beside_the_capture_and_while_it_is_paused(tmp_path: Path) -> None:
    told: list[str] = []
    files = CaptureFiles(tmp_path, told.append)
    with Harness(Scripted(6), sinks=[files]) as harness:
        paused = threading.Event()

        def pause(result: CaptureResult, number: int) -> None:
            if number == 3:
                harness.session.pause()
                paused.set()

        harness.gate.after = pause
        harness.session.start()
        assert paused.wait(30)
        assert harness.session.save() == f"saving to {tmp_path}"
        deadline = time.monotonic() + 30
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(told) == 1 and told[0].startswith("saved ") and "capture.glb" in told[0]
        assert len(Player(tmp_path / "capture.glb").key_times) == 3, "as it stood when it was asked for"
        harness.session.resume()
        harness.session.wait(30)
    assert len(Player(tmp_path / "capture.glb").key_times) == 6


def test_without_a_folder_there_is_nowhere_to_save_to() -> None:
    with Harness(Scripted(1)) as harness:
        assert "start with --out" in harness.session.save()


def test_the_end_is_known_where_the_source_knows_its_length() -> None:
    class Sized(Scripted):
        def __len__(self) -> int:
            return 4

    with Harness(Sized(4)) as harness:
        harness.session.run()
        assert (harness.progress[-1].done, {p.total for p in harness.progress}) == (4, {4})
    with Harness(Sized(4), frames=2) as harness:
        harness.session.run()
        assert {p.total for p in harness.progress} == {2}
    with Harness(Scripted(2)) as harness:
        harness.session.run()
        assert {p.total for p in harness.progress} == {None}
