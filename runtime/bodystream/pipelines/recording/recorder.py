"""Writes what comes in to a take, on threads of its own: neither encoding nor a slow disk holds anything up."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import cv2

from bodystream.errors import BodystreamError, InputError
from bodystream.pipelines.recording.frame_writer import FrameWriter, KeptFrame
from bodystream.takes import Event, TakeWriter
from bodystream.takes.images import check_colour_coding
from bodystream.takes.packages import require_mcap
from bodystream.takes.writer import create
from bodystream.timing import Spans, now_ns
from bodystream.types import Array, HeadsetSample, RgbdFrame

__all__ = ["COLOUR_CODING", "TakeRecorder", "check_take_path", "give_way"]

COLOUR_CODING = "jpeg 95"
"""How colour is written unless something else is asked for."""
_FLUSH_S = 0.4
"""So often what came is put into the file: a process that is killed loses no more, and what waits."""
_PATIENCE_S = 0.2
"""What waits for longer is done by a thread that gives way to nobody."""
_NICENESS = 10
_MAX_WAITING_BYTES = 256 << 20
"""Of frames that wait: four seconds of 640x480."""
_LEAST_FREE_BYTES = 64 << 20
"""Recording stops while there is room for the rest of the file and its table of contents."""


def check_take_path(path: Path, option: str = "") -> None:
    """Refuse a place where no take can be recorded, before a camera is opened. Missing folders are made.

    Raises:
        InputError: its name does not end in .mcap, there is such a file, or its folder cannot be written to.
        MissingDependencyError: the packages of the extra `mcap` are not installed.
    """
    named = f"{option}: " if option else ""
    if path.suffix.lower() != ".mcap":
        raise InputError(f"{named}{path} is no name of a take: give one that ends in .mcap, such as take.mcap")
    require_mcap()
    if path.exists() or path.is_symlink():
        raise InputError(f"{named}{path} is there already, and a recording is not written over: give another name")
    create(path).close()
    path.unlink()


class TakeRecorder:
    """Records frames, samples and events, in the order in which they are added; any thread may call its methods.

    One thread encodes and writes, with what others leave of the processors, so that a capture beside it goes on as
    before. On a machine that leaves it too little a second one takes over, until nothing waits for long.

    Nothing is raised to who adds: `failure` says what ended the recording, and what was recorded before stays in the
    file, which can be opened.

    Args:
        path: of the new take; it grows under its own name.
        colour: `jpeg N`, of a quality from 1 to 100, or `png`, which loses nothing.
        on_note: is called with lines for a person, from the recorder's threads.
        host_utc_offset_ns: nanoseconds since 1970 minus the clock of the times that are added; default: this host's.
        about: what else the file says of itself.

    Attributes:
        frames, samples, poses: in the file or on their way there.
        dropped: frames for which there was no room.
        failure: what ended the recording, or None.
        spans: on the recorder's threads: `encode` of each frame, and `write` of what came since the last time.

    Raises:
        ConfigurationError: another way to write colour.
        InputError: there is such a file, or none can be made.
        MissingDependencyError: the packages of the extra `mcap` are not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        colour: str = COLOUR_CODING,
        on_note: Callable[[str], None] | None = None,
        host_utc_offset_ns: int | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        check_colour_coding(colour)
        require_mcap()
        self.path = path
        self.frames = self.samples = self.poses = self.dropped = self._untold = 0
        self.failure: BodystreamError | None = None
        self.spans = Spans()
        self._on_note = on_note
        self._waiting: deque[tuple[Callable[[], None], int, float]] = deque()  # job, bytes, since when
        self._waiting_bytes = 0
        self._wake = threading.Condition()
        self._closing = self._ended = self._busy = self._dirty = self._hurried = False
        self._flushed_s = time.monotonic()
        self._began_ns = now_ns()
        self._end_ns: int | None = None
        offset_ns = time.time_ns() - now_ns() if host_utc_offset_ns is None else host_utc_offset_ns
        file = create(path)
        try:
            self._writer = TakeWriter(file, offset_ns, about)
        except OSError as error:
            file.close()
            path.unlink(missing_ok=True)
            raise InputError(f"cannot record to {path}: {error.strerror or error}: choose another folder") from error
        self._frame_writer = FrameWriter(self._writer, colour, self._note)
        self._threads = [
            threading.Thread(target=self._run, args=(gives_way,), name="take-recorder", daemon=True)
            for gives_way in (True, False)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def rounded(self) -> int:
        """Frames whose depth was in no whole units, and is up to half a unit off."""
        return self._frame_writer.rounded

    @property
    def seconds(self) -> float:
        """How long it has been recording [s]."""
        return ((self._end_ns or now_ns()) - self._began_ns) * 1e-9

    @property
    def written_bytes(self) -> int:
        """In the file so far."""
        return self._writer.written_bytes

    def add_frame(self, frame: RgbdFrame, source: object, *, wait: bool) -> bool:
        """Record a frame. Its arrays must not be written to any more.

        Args:
            source: that it came from; its name and what it knows of its depth's unit are taken down.
            wait: for room, as the frames of a recording can; else a frame that finds none is dropped and counted.

        Returns:
            Whether it will be in the file.
        """
        kept = KeptFrame.of(frame, source)
        size = kept.nbytes
        with self._wake:
            full = self._waiting_bytes + size > _MAX_WAITING_BYTES
            if full and wait:
                self._wake.wait_for(lambda: self._waiting_bytes < _MAX_WAITING_BYTES // 2 or self._is_over())
            if self._is_over():
                return False
            if full and not wait:
                self.dropped += 1
                self._untold += 1
                if self.dropped == 1:
                    self._note("warning: frames come faster than they can be recorded: some are left out of the take")
                return False
            if self._untold:
                event = Event(t_ns=int(frame.t_ns), source="recorder", kind="dropped", count=self._untold)
                self._put(lambda: self._writer.add_event(event), 1000)
                self._untold = 0
            self.frames += 1
            self._put(lambda: self._write_frame(kept), size)
        return True

    def add_sample(self, sample: HeadsetSample) -> bool:
        """Record what a headset knew; False where the recording is over."""
        with self._wake:
            if self._is_over():
                return False
            self.samples += 1
            self._put(lambda: self._writer.add_sample(sample), 1000)
        return True

    def add_pose(self, t_ns: int, data: bytes, positions_m: Array, rotations_xyzw: Array) -> bool:
        """Record a driven body, see `TakeWriter.add_pose`; False where the recording is over."""
        with self._wake:
            if self._is_over():
                return False
            self.poses += 1
            self._put(lambda: self._writer.add_pose(t_ns, data, positions_m, rotations_xyzw), 3000)
        return True

    def add_event(self, event: Event) -> bool:
        """Record something that happened; False where the recording is over."""
        with self._wake:
            if self._is_over():
                return False
            self._put(lambda: self._writer.add_event(event), 1000)
        return True

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was added is in the file; False where that takes longer, or the recording is over."""
        done = threading.Event()

        def write() -> None:
            self._writer.flush()
            done.set()

        with self._wake:
            if self._is_over():
                return False
            self._put(write, 0)
        return done.wait(timeout_s)

    def close(self) -> None:
        """Write what waits, finish the file and wait for that; safe to call again. `failure` says how it went.

        A file to which nothing came is removed.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()
            if not (self.frames or self.samples or self.failure):
                self.path.unlink(missing_ok=True)

    @property
    def summary(self) -> str:
        """What is in the file, for a person: `300 frames and 900 samples, 85.2 MB`."""
        counts = [(self.frames, "frame"), (self.samples, "sample"), (self.poses, "pose")]
        parts = [f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in counts if count]
        return f"{' and '.join(parts) or 'nothing'}, {self.written_bytes * 1e-6:.1f} MB"

    def __enter__(self) -> TakeRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_over(self) -> bool:
        return self._closing or self.failure is not None

    def _put(self, write: Callable[[], None], size: int) -> None:
        self._waiting.append((write, size, time.monotonic()))
        self._waiting_bytes += size
        self._wake.notify_all()

    def _note(self, line: str) -> None:
        if self._on_note is not None:
            self._on_note(line)

    # What the two threads do

    def _run(self, gives_way: bool) -> None:
        if gives_way:
            give_way()
        while self._work(gives_way):
            pass

    def _work(self, gives_way: bool) -> bool:
        """Wait until there is something for this thread to do, and do it; False at the end."""
        with self._wake:
            while self._busy or (wait_s := self._due_in_s(gives_way)) is None or wait_s > 0:
                if self._ended:
                    return False
                self._wake.wait(None if self._busy else wait_s)
            if self._ended:
                return False
            self._busy = True
            job, size, _ = self._waiting.popleft() if self._waiting else (None, 0, 0.0)
        ended = True
        try:
            ended = self._do(job, is_last=self._closing and job is None)
        finally:
            del job  # a frame must not live until the next one comes
            with self._wake:
                self._busy = False
                self._waiting_bytes -= size
                if ended:
                    self._ended, self._end_ns = True, now_ns()
                    self._waiting.clear()
                    self._waiting_bytes = 0
                self._wake.notify_all()
        return not ended

    def _due_in_s(self, gives_way: bool) -> float | None:
        """When there will be something for a thread to do; None where nobody knows, 0 or less: now.

        Once something has waited for too long, the thread that gives way to nobody does all until nothing waits: the
        other one would hold it up with each job that it began.
        """
        if self._closing or self._ended:
            return 0.0
        due_s = [self._waiting[0][2]] if self._waiting else []
        due_s += [self._flushed_s + _FLUSH_S] if self._dirty else []
        if not due_s:
            self._hurried = False
            return None
        left_s = min(due_s) - time.monotonic()
        if not self._waiting and left_s > 0:
            self._hurried = False
        if left_s <= -_PATIENCE_S:
            self._hurried = True
        if self._hurried:
            return None if gives_way else left_s
        return left_s if gives_way else left_s + _PATIENCE_S

    def _do(self, job: Callable[[], None] | None, is_last: bool) -> bool:
        """One job, and what is due of the file; whether that was the end of the recording."""
        try:
            if job is not None:
                job()
                self._dirty = True
            if is_last:
                self._writer.close()
                return True
            if self._dirty and time.monotonic() - self._flushed_s >= _FLUSH_S:
                with self.spans.measure("write"):
                    self._writer.flush()
                self._flushed_s, self._dirty = time.monotonic(), False
                if self._is_nearly_full():
                    self._writer.close()
                    self._fail(
                        f"{self.path}: the disk is nearly full: the recording was stopped, and the take is whole: free "
                        "some space or choose another folder"
                    )
                    return True
            return False
        except OSError as error:
            self._writer.give_up()
            self._fail(
                f"{self.path}: nothing more can be written ({error.strerror or error}): the recording was stopped, and "
                "what came before can be opened: free some space or choose another folder"
            )
            return True
        except Exception as error:  # ours: whoever records is told, and what came before is kept
            self._writer.give_up()
            self._fail(f"{self.path}: the recording was stopped by a fault, {type(error).__name__}: {error}")
            return True

    def _write_frame(self, frame: KeptFrame) -> None:
        """What is wrong with one frame must not end the recording."""
        try:
            with self.spans.measure("encode"):
                self._frame_writer.write(frame)
        except (BodystreamError, ValueError, TypeError, cv2.error) as error:
            with self._wake:
                self.frames -= 1
                self.dropped += 1
            self._note(f"warning: a frame could not be recorded: {error}")

    def _fail(self, text: str) -> None:
        with self._wake:
            self.failure = InputError(text)
            self._wake.notify_all()
        self._note(f"error: {text}")

    def _is_nearly_full(self) -> bool:
        try:
            found = os.statvfs(self.path.parent)
        except (OSError, AttributeError):  # no statvfs on this system
            return False
        return found.f_bavail * found.f_frsize < _LEAST_FREE_BYTES


def give_way() -> None:
    """Let the calling thread have what others leave of the processors, where the system can do that for a thread."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
