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
from bodystream.pipelines.capture import session as session_module
from bodystream.pipelines.capture.files import CaptureFiles
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.session import LiveSession, Progress
from bodystream.pipelines.reader import SourceReader
from bodystream.sinks import ReportBuilder
from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.types import RgbdFrame, Status
from helpers.gltf_player import Player
from helpers.pipeline_frames import DEVICE, empty, frames, new_capture


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
        self.source = source
        self.reader = SourceReader(source)
        first = self.reader.take(10.0)
        assert first is not None
        self.capture: Capture = new_capture()
        self.report = ReportBuilder(source.name)
        self.progress: list[Progress] = []
        self.session = LiveSession(
            source, self.capture, self.report, first=first, reader=self.reader, on_progress=self._note, **options
        )
        self.after: Callable[[Progress], None] = lambda progress: None

    def _note(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.after(progress)

    def built(self):
        return self.report.build(
            spans=self.capture.spans, frames_in=self.reader.received, frames_dropped=self.reader.dropped,
            restarts=self.capture.restart_count,
        )  # fmt: skip

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.capture.close()


def test_a_recording_is_processed_to_its_end() -> None:
    with Harness(Scripted(8), quality=QualityMeter(frames()[0].intrinsics, DEVICE), quality_every=2) as h:
        h.session.run()
        report = h.built()
    assert [p.processed for p in h.progress] == list(range(1, 9))
    assert (report.frames.received, report.frames.processed, report.frames.dropped) == (8, 8, 0)
    assert report.tracking.status["tracked"] == 8
    assert report.quality.frames == 4
    assert report.latency.p50_ms is not None and report.latency.p50_ms > 0
    last = h.progress[-1]
    assert last.status is Status.TRACKED and last.nodes > 0 and last.vertices > 0 and last.fps > 0
    assert {"warp", "quality"} <= set(report.stages)
    assert report.tracking.residuals["depth_cost"] is not None


def test_a_limit_counts_processed_frames_and_nothing_that_was_read_ahead() -> None:
    with Harness(Scripted(12), frames=5) as h:
        h.session.run()
        report = h.built()
    assert (report.frames.received, report.frames.processed, report.frames.dropped) == (5, 5, 0)


def test_stop_ends_after_the_frame_in_work() -> None:
    with Harness(Scripted(12)) as h:
        h.after = lambda progress: h.session.stop() if progress.processed == 3 else None
        h.session.run()
    assert len(h.progress) == 3


def test_pause_leaves_frames_aside_until_resume() -> None:
    with Harness(Scripted(8)) as h:
        h.after = lambda progress: h.session.pause() if progress.processed == 3 else None
        thread = threading.Thread(target=h.session.run)
        thread.start()
        deadline = time.monotonic() + 20
        while len(h.progress) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(h.progress) == 3 and thread.is_alive()
        h.session.resume()
        thread.join(20)
        assert not thread.is_alive()
    assert [p.processed for p in h.progress] == list(range(1, 9)), "a recording lost nothing meanwhile"


def test_a_paused_session_can_be_stopped() -> None:
    with Harness(Scripted(8)) as h:
        h.session.pause()
        thread = threading.Thread(target=h.session.run)
        thread.start()
        time.sleep(0.1)
        h.session.stop()
        thread.join(5)
        assert not thread.is_alive() and h.progress == []


def test_reset_starts_the_model_anew_with_the_next_frame() -> None:
    with Harness(Scripted(8)) as h:
        h.after = lambda progress: h.session.reset() if progress.processed == 4 else None
        h.session.run()
        report = h.built()
    assert h.capture.restart_count == 1 and report.tracking.restarts == 1
    assert h.capture.frame_count == 4
    assert report.tracking.status["tracked"] == 8


def test_a_stall_is_reported_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "STALL_S", 0.15)
    source = Scripted(5, before=lambda index: time.sleep(0.8) if index == 3 else None, live=True)
    with Harness(source) as h:
        h.session.run()
    stalls = [p for p in h.progress if p.status is Status.LOST]
    assert stalls and "scripted gave no frame" in stalls[0].reason
    assert h.progress[-1].status is Status.TRACKED
    assert sum("gave no frame" in warning for warning in source.counts.warnings) == 1, "said once"


def test_an_error_of_the_source_comes_after_its_last_frame() -> None:
    def unplug(index: int) -> None:
        if index == 4:
            raise SourceError("unplugged")

    with Harness(Scripted(8, before=unplug)) as h:
        with pytest.raises(SourceError, match="unplugged"):
            h.session.run()
        report = h.built()
    assert report.frames.processed == 4


def test_lost_frames_are_counted_with_their_reason() -> None:
    class Leaving(Scripted):
        def frame(self, index: int) -> RgbdFrame:
            return empty(frames()[index]) if 3 <= index < 6 else frames()[index]

    with Harness(Leaving(9)) as h:
        h.session.run()
        report = h.built()
    assert report.tracking.status["lost"] == 3
    assert sum(report.tracking.reasons.values()) >= 3
    assert [p.status for p in h.progress][3:6] == [Status.LOST] * 3 and all(p.reason for p in h.progress[3:6])


def test_saving_is_done_beside_the_capture_and_while_it_is_paused(tmp_path: Path) -> None:
    told: list[str] = []
    files = CaptureFiles(tmp_path, told.append)
    with Harness(Scripted(6), files=files) as harness:

        def press(progress: Progress) -> None:
            if progress.processed == 3:
                assert harness.session.save() == f"saving to {tmp_path}"
                harness.session.pause()
                threading.Timer(0.5, harness.session.resume).start()

        harness.after = press
        harness.session.run()
        assert files._saving is not None
        files._saving.join()
        assert len(told) == 1 and told[0].startswith("saved ") and "capture.glb" in told[0]
        assert len(Player(tmp_path / "capture.glb").key_times) == 3, "as it stood when it was asked for"
        files.write(harness.capture)
        assert len(Player(tmp_path / "capture.glb").key_times) == 6


def test_without_a_folder_there_is_nowhere_to_save_to() -> None:
    with Harness(Scripted(1)) as harness:
        assert "start with --out" in harness.session.save()
        harness.session.run()


def test_the_end_is_known_where_the_source_knows_its_length() -> None:
    class Sized(Scripted):
        def __len__(self) -> int:
            return 6

    with Harness(Sized(6)) as harness:
        harness.session.run()
        assert [(p.done, p.total) for p in harness.progress] == [(k, 6) for k in range(1, 7)]
    with Harness(Sized(6), frames=4) as harness:
        harness.session.run()
        assert [p.total for p in harness.progress] == [4] * 4
    with Harness(Scripted(3)) as harness:
        harness.session.run()
        assert {p.total for p in harness.progress} == {None}
