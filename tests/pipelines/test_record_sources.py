"""A recorder beside others: nothing that it meets, slow disk, full disk or odd frame, reaches who records."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError, SourceError
from bodystream.pipelines.recording import recorder as module
from bodystream.pipelines.recording.convert import write_folder
from bodystream.pipelines.recording.recorder import TakeRecorder, check_take_path
from bodystream.pipelines.recording.session import TakeRecording
from bodystream.sources import open_source
from bodystream.sources.headset.trace import read_trace
from bodystream.sources.take import TakeSource
from bodystream.takes import TakeReader
from bodystream.takes.messages import EVENTS, Event, decode
from helpers.needs import needs
from helpers.takes import CAMERA, GivenSource, frames, samples, write_take

needs("mcap", "pip install 'bodystream[mcap]'")


class _FullDisk:
    """A file that takes so many bytes and then none, as a disk that is full."""

    def __init__(self, file, room: int) -> None:
        self._file, self._room, self.name = file, room, file.name

    def write(self, data) -> int:
        if self._file.tell() + len(data) > self._room:
            self._file.write(data[: max(0, self._room - self._file.tell())])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def test_a_full_disk_ends_the_recording_and_the_file_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = module.create
    monkeypatch.setattr(module, "create", lambda path: _FullDisk(create(path), 60_000))
    monkeypatch.setattr(module, "_FLUSH_S", 0.02)
    notes: list[str] = []
    recorder = TakeRecorder(tmp_path / "take.mcap", colour="png", on_note=notes.append)
    given = frames(200)
    for frame in given:
        if not recorder.add_frame(frame, GivenSource([]), wait=True):
            break
        time.sleep(0.004)
    recorder.close()
    assert isinstance(recorder.failure, InputError) and "No space left" in str(recorder.failure)
    assert [note for note in notes if note.startswith("error: ")] == [f"error: {recorder.failure}"]
    assert (tmp_path / "take.mcap").stat().st_size <= 60_000
    got = list(TakeSource(tmp_path / "take.mcap"))
    assert 3 < len(got) < 200
    for frame, want in zip(got, given, strict=False):
        np.testing.assert_array_equal(frame.depth_m, want.depth_m)
        np.testing.assert_array_equal(frame.colour, want.colour)
    assert not recorder.add_frame(given[0], GivenSource([]), wait=True)  # and nobody waits for it


def test_a_disk_that_is_nearly_full_leaves_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames_before, room = 5, module.os.statvfs(tmp_path)
    full = os.statvfs_result((*room[:4], 100, *room[5:]))
    monkeypatch.setattr(module, "_FLUSH_S", 0.02)
    monkeypatch.setattr(module.os, "statvfs", lambda path: full if recording.recorder.frames > frames_before else room)
    recording = TakeRecording(tmp_path / "take.mcap", _Slow(frames(100)), colour="png")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nearly full"):
        recording.run()
    with TakeReader(tmp_path / "take.mcap") as reader:
        assert reader.whole
    assert 0 < len(list(TakeSource(tmp_path / "take.mcap"))) < 100


class _Slow(GivenSource):
    """Gives an item each hundredth of a second, as a device does."""

    live = True

    def __init__(self, items) -> None:
        super().__init__(items)
        self.live = True
        self._closed = threading.Event()

    def __iter__(self):
        for item in self.items:
            if self._closed.wait(0.01):
                return
            self.counts.delivered += 1
            yield item

    def close(self) -> None:
        self._closed.set()


def test_a_fault_of_our_own_ends_the_recording_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self, frame) -> None:
        raise RuntimeError("we were wrong")

    notes: list[str] = []
    recorder = TakeRecorder(tmp_path / "take.mcap", on_note=notes.append)
    recorder.add_frame(frames(1)[0], GivenSource([]), wait=True)
    assert recorder.flush()
    monkeypatch.setattr(module.FrameWriter, "write", broken)
    for frame in frames(3):
        recorder.add_frame(frame, GivenSource([]), wait=True)
    recorder.close()
    assert (
        "stopped by a fault, RuntimeError: we were wrong" in str(recorder.failure) == notes[-1].removeprefix("error: ")
    )
    assert len(list(TakeSource(tmp_path / "take.mcap"))) == 1


@pytest.mark.parametrize("patience_s", [0.0, 0.03])
def test_one_thread_steps_in_where_the_other_gets_nothing_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    """The thread that gives way is held, as by a machine that has no time for it: frames come in order all the same."""
    held = threading.Event()
    monkeypatch.setattr(module, "give_way", held.wait)
    monkeypatch.setattr(module, "_PATIENCE_S", patience_s or 1e-9)
    with TakeRecorder(tmp_path / "take.mcap", colour="png") as recorder:
        for frame in frames(20):
            recorder.add_frame(frame, GivenSource([]), wait=False)
        assert recorder.flush()
        held.set()
    assert [frame.index for frame in TakeSource(tmp_path / "take.mcap")] == list(range(20))


def test_what_comes_too_fast_is_dropped_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 20_000)  # three frames
    going = threading.Event()
    write = TakeRecorder._write_frame

    def held(self, frame) -> None:
        going.wait()
        write(self, frame)

    monkeypatch.setattr(TakeRecorder, "_write_frame", held)
    notes: list[str] = []
    with TakeRecorder(tmp_path / "take.mcap", colour="png", on_note=notes.append) as recorder:
        added = [recorder.add_frame(frame, GivenSource([]), wait=False) for frame in frames(10)]
        going.set()
        assert recorder.flush()
        assert recorder.add_frame(frames(11)[10], GivenSource([]), wait=False)
    assert added == [True] * 3 + [False] * 7 or added == [True] * 4 + [False] * 6
    assert (recorder.frames, recorder.dropped) == (sum(added) + 1, 10 - sum(added))
    assert len([note for note in notes if "faster than they can be recorded" in note]) == 1
    assert len(list(TakeSource(tmp_path / "take.mcap"))) == sum(added) + 1
    with TakeReader(tmp_path / "take.mcap") as reader:
        (event,) = [decode(message.data, Event, message.where) for message in reader.messages(EVENTS)]
    assert (event.kind, event.count, event.t_ns) == ("dropped", 10 - sum(added), frames(11)[10].t_ns)


def test_frames_that_can_wait_are_never_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 20_000)
    assert write_take(tmp_path / "take.mcap", frames(40)).dropped == 0
    assert len(list(TakeSource(tmp_path / "take.mcap"))) == 40


def test_an_odd_frame_is_left_out_and_the_others_are_recorded(tmp_path: Path) -> None:
    given = frames(5)
    given[2] = replace(given[2], t_ns=2**70)  # no time of 64 bits
    notes: list[str] = []
    with TakeRecorder(tmp_path / "take.mcap", on_note=notes.append) as recorder:
        for frame in given:
            recorder.add_frame(frame, GivenSource([]), wait=True)
    assert (recorder.frames, recorder.dropped) == (4, 1)
    assert any("could not be recorded" in note for note in notes)
    assert [frame.index for frame in TakeSource(tmp_path / "take.mcap")] == [0, 1, 3, 4]


def test_a_camera_that_changes_is_described_again(tmp_path: Path) -> None:
    first, second = frames(2), frames(2)
    other = replace(CAMERA, fx=40.0)
    given = [*first, *(replace(frame, index=frame.index + 2, intrinsics=other) for frame in second)]
    write_take(tmp_path / "take.mcap", given)
    assert [frame.intrinsics for frame in TakeSource(tmp_path / "take.mcap")] == [CAMERA, CAMERA, other, other]


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    write_take(path, frames(1))
    before = path.read_bytes()
    with pytest.raises(InputError, match="not written over"):
        TakeRecorder(path)
    with pytest.raises(InputError, match="not written over"):
        check_take_path(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("name", "said"), [("take.bag", "ends in .mcap"), ("no/../x", "ends in .mcap")])
def test_a_name_that_is_no_takes_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_take_path(tmp_path / name)


@pytest.mark.parametrize("coding", ["jpeg", "jpeg 0", "jpeg 101", "webp", "jpeg 9.5"])
def test_another_way_to_write_colour_is_refused(tmp_path: Path, coding: str) -> None:
    with pytest.raises(ConfigurationError, match="jpeg of a quality"):
        TakeRecorder(tmp_path / "take.mcap", colour=coding)


def test_both_sources_are_recorded_with_what_they_tell(tmp_path: Path) -> None:
    camera, headset = _Slow(frames(12)), _Slow(samples(30))
    camera.counts.warn("it is dark")
    headset.name = "hands"
    done = TakeRecording(tmp_path / "take.mcap", camera, headset).run()  # type: ignore[arg-type]
    assert (done.recorded.frames, done.recorded.samples, done.recorded.dropped) == (12, 30, 0)
    assert done.camera is not None and done.camera.warnings == ["it is dark"]
    with TakeReader(tmp_path / "take.mcap") as reader:
        events = [decode(message.data, Event, message.where) for message in reader.messages(EVENTS)]
    assert {(event.source, event.kind) for event in events} >= {
        ("given:0", "start"), ("given:0", "warning"), ("given:0", "end"), ("hands", "start"), ("hands", "end"),
    }  # fmt: skip


def test_a_recording_that_is_recorded_again_stays_where_it_was_in_time(tmp_path: Path) -> None:
    """Nothing of it is stamped with the time of the copy, which would make hours of a few frames."""
    from bodystream.sources.headset.take import TakeHeadset

    write_take(tmp_path / "first.mcap", frames(9), samples(20))
    source, headset = TakeSource(tmp_path / "first.mcap"), TakeHeadset(tmp_path / "first.mcap")
    offset_ns = source.host_utc_offset_ns
    TakeRecording(tmp_path / "second.mcap", source, headset, host_utc_offset_ns=offset_ns).run()
    with TakeReader(tmp_path / "first.mcap") as first, TakeReader(tmp_path / "second.mcap") as second:
        assert first.start_ns == second.start_ns == frames(1)[0].t_ns
        times = [message.utc_ns - offset_ns for message in second.messages()]
    assert min(times) == frames(1)[0].t_ns and max(times) == frames(9)[-1].t_ns


def test_limits_end_a_recording(tmp_path: Path) -> None:
    done = TakeRecording(tmp_path / "a.mcap", _Slow(frames(500)), frames=7).run()  # type: ignore[arg-type]
    assert done.recorded.frames == 7
    done = TakeRecording(tmp_path / "b.mcap", _Slow(frames(500)), seconds=0.2).run()  # type: ignore[arg-type]
    assert 0 < done.recorded.frames < 100
    with pytest.raises(ConfigurationError, match="nothing to record"):
        TakeRecording(tmp_path / "c.mcap")


def test_a_camera_that_fails_leaves_a_whole_take(tmp_path: Path) -> None:
    class Failing(GivenSource):
        def __iter__(self):
            yield from self.items
            raise SourceError("the camera was unplugged")

    with pytest.raises(SourceError, match="unplugged"):
        TakeRecording(tmp_path / "take.mcap", Failing(frames(6)), _Slow(samples(1000))).run()  # type: ignore[arg-type]
    with TakeReader(tmp_path / "take.mcap") as reader:
        assert reader.whole
    assert len(list(TakeSource(tmp_path / "take.mcap"))) == 6


def test_a_folder_of_a_take_plays_to_the_same_frames(tmp_path: Path) -> None:
    given = frames(6, unit_m=0.00025, mask=True)
    write_take(tmp_path / "take.mcap", given, samples(9))
    source = TakeSource(tmp_path / "take.mcap")
    from bodystream.sources.headset.take import TakeHeadset

    offset_ns = source.host_utc_offset_ns
    done = write_folder(tmp_path / "out", source, TakeHeadset(tmp_path / "take.mcap"), utc_offset_ns=offset_ns)
    assert (done.frames, done.samples, done.rounded) == (6, 9, 0)
    got = list(open_source(f"folder:{tmp_path / 'out'}"))
    assert len(got) == 6
    for frame, want in zip(got, given, strict=True):
        np.testing.assert_array_equal(frame.depth_m, want.depth_m)
        np.testing.assert_array_equal(frame.colour, want.colour)
        np.testing.assert_array_equal(frame.mask, want.mask)
        assert frame.intrinsics == want.intrinsics
        assert frame.device_t_ns == want.t_ns + offset_ns
    heard = read_trace(tmp_path / "out" / "headset.csv").samples
    assert [s.device_t_ns for s in heard] == [s.t_ns for s in samples(9)]
    with pytest.raises(InputError, match="has files in it"):
        write_folder(tmp_path / "out", source)
