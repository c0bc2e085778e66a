"""Appends to a journal on a thread of its own, whatever the disk does meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sinks.journal.records import MAGIC, Record, encode_record

__all__ = ["JournalWriter", "is_being_written", "session_name"]

_INTERVAL_S = 0.25
_RETRY_S = 1.0
_SYNC_S = 5.0
_MAX_WAITING = 64 << 20


def session_name(folder: Path, what: str) -> str:
    """A name for the parts of one session that nothing in `folder` begins with: `capture-20261231-235959`."""
    stem = f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
    with contextlib.suppress(OSError):
        taken = os.listdir(folder)
        return stem if not any(name.startswith(stem) for name in taken) else f"{stem}-{secrets.token_hex(2)}"
    return stem


class JournalWriter:
    """Appends records on a thread of its own, a quarter of a second after they came at the latest.

    Where the file system refuses (full, gone, read-only), that is told once, records wait in memory, and it is tried
    again each second; beyond 64 MiB every second record that `may_thin` names is let go. Where the file or its folder
    was removed or moved away, what was written comes back under its name. Nothing is ever raised to who adds records.

    Args:
        path: of the new file.
        on_trouble: is called once with a line for a person, on the writer's thread.
        may_thin: kinds of records of which some can be spared.

    Attributes:
        path: of the file.
        trouble: what the file system said, or None while all is well.
        thinned: records that were let go. unusable: that could not be made or encoded.

    Raises:
        InputError: the file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        on_trouble: Callable[[str], None] | None = None,
        may_thin: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.trouble: OSError | None = None
        self.thinned = 0
        self.unusable = 0
        self._told = False
        self._on_trouble, self._may_thin = on_trouble, may_thin
        self._lock = threading.Condition()
        self._waiting: list[Record | Callable[[], Record]] = []
        self._encoded: list[tuple[str, bytes]] = []
        self._closing = False
        self._hurry = False
        self._tries = 0
        self._written = 0
        self._file = -1
        try:
            self._file = _create(path)
            self._append(MAGIC)
        except OSError as error:
            if self._file >= 0:  # an empty file would be taken for a session's
                os.close(self._file)
                with contextlib.suppress(OSError):
                    path.unlink()
            raise InputError(f"cannot record to {path}: {error.strerror or error}: choose another folder") from error
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def add(self, record: Record | Callable[[], Record]) -> None:
        """Append a record, or what a function makes of values that nobody changes any more; returns at once."""
        with self._lock:
            self._waiting.append(record)
            self._lock.notify_all()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was added is in the file; False where the file system refuses or it takes longer."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            tries = self._tries
            self._hurry = True
            self._lock.notify_all()
            while (self._waiting or self._encoded) and self._thread.is_alive():
                left = deadline - time.monotonic()
                if left <= 0 or (self.trouble is not None and self._tries > tries):
                    return False
                self._lock.wait(min(left, 0.1))
            return not (self._waiting or self._encoded)

    def close(self) -> bool:
        """Write what waits and close the file, which stays; False where something could not be written."""
        done = self.flush()
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join(timeout=10.0)
        if not self._thread.is_alive() and self._file >= 0:
            os.close(self._file)
            self._file = -1
        return done

    def remove(self) -> None:
        """Remove the file of a closed journal, whose content is in other files now."""
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        synced_s = time.monotonic()
        while True:
            with self._lock:
                while not (self._waiting or self._encoded or self._closing):
                    self._lock.wait()
                if not self._closing and not self._hurry:
                    # Together with what comes in the meantime: few writes, and none of them waits for long.
                    self._lock.wait_for(
                        lambda: self._closing or self._hurry, _INTERVAL_S if self.trouble is None else _RETRY_S
                    )
                self._hurry = False
                taken, self._waiting = self._waiting, []
                closing = self._closing
                self._encoded += [("", b"")] if taken else []  # `flush` sees that something is under way
            new = [(record.kind, data) for record, data in map(_encoded, taken) if data]
            self.unusable += len(taken) - len(new)
            with self._lock:
                self._encoded = [item for item in self._encoded if item[1]] + new
                pending = list(self._encoded)
            count = self._write(pending)
            wrote = count == len(pending)
            with self._lock:
                self._tries += 1
                del self._encoded[:count]
                if not wrote:
                    self._thin()
                self._lock.notify_all()
                if closing and not self._waiting:
                    return
            if wrote and time.monotonic() - synced_s > _SYNC_S:
                synced_s = time.monotonic()
                with contextlib.suppress(OSError):
                    os.fsync(self._file)

    def _write(self, pending: list[tuple[str, bytes]]) -> int:
        """How many of the records are in the file now."""
        count = 0
        if not pending:
            return count
        try:
            self._bring_back()
            self._append(b"".join(data for _, data in pending))
        except OSError as error:
            with contextlib.suppress(OSError):  # what still fits, as whole records
                for _, data in pending if os.path.lexists(self.path) else ():
                    self._append(data)
                    count += 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._written)
            self.trouble = error
            if not self._told and self._on_trouble is not None:
                self._told = True
                self._on_trouble(
                    f"nothing more can be written to {self.path}: {error.strerror or error}: what was recorded before "
                    "is there, and it is tried again each second: make room"
                )
            return count
        self.trouble = None
        return len(pending)

    def _bring_back(self) -> None:
        """Give a file that was removed or moved away its name again, with all that was written to it."""
        if os.name == "nt" or os.path.lexists(self.path):  # Windows lets nobody remove an open file
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = _create(self.path)
        try:
            place = 0
            while place < self._written:
                block = memoryview(os.pread(self._file, min(1 << 20, self._written - place), place))
                if not block:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                place += len(block)
                while block:
                    block = block[os.write(new, block) :]
        except OSError:
            os.close(new)
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise
        os.close(self._file)
        self._file = new

    def _append(self, data: bytes) -> None:
        view, place = memoryview(data), self._written
        os.lseek(self._file, place, os.SEEK_SET)
        while view:
            view = view[os.write(self._file, view) :]
        self._written += len(data)

    def _thin(self) -> None:
        """Within the lock: let every second of the records go that can be spared, once too many wait."""
        if sum(len(data) for _, data in self._encoded) <= _MAX_WAITING:
            return
        kept, spare = [], False
        for item in self._encoded:
            spare = not spare if item[0] in self._may_thin else False
            if not spare:
                kept.append(item)
        self.thinned += len(self._encoded) - len(kept)
        self._encoded = kept


def _create(path: Path) -> int:
    """A new file that this process holds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    _lock(descriptor)
    return descriptor


def _encoded(record: Record | Callable[[], Record]) -> tuple[Record, bytes]:
    """A record that cannot be made or encoded is none: a fault in one frame must not end the recording."""
    try:
        made = record() if callable(record) else record
        return made, encode_record(made)
    except (InputError, ValueError, TypeError):
        return Record("unusable"), b""


def _lock(descriptor: int) -> None:
    """Hold the file while this process lives, so that nobody takes it for one that was left behind."""
    try:
        import fcntl
    except ImportError:  # Windows keeps others from removing an open file
        return
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_being_written(path: str | os.PathLike[str]) -> bool:
    """Whether a living program holds the file for writing."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
