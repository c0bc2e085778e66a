"""A journal: what a session recorded, on disk while it goes on, so that whatever ends it loses less than a second.

A file begins with `MAGIC`, a line that says what it is. Records follow, each of them

- 24 bytes: `BSJ1`, the lengths of what follows (two unsigned 32-bit numbers), the CRC-32 of what follows, 4 bytes of
  zero, and the CRC-32 of the 20 bytes before; all little-endian;
- JSON: the record's kind, its fields, and name, dtype and shape of each of its arrays;
- the arrays' bytes, one after the other.

Records are only ever appended. What was cut off or damaged is passed over: a reader goes on at the next whole record.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["MAGIC", "JournalReader", "JournalWriter", "Record", "encode_record", "is_being_written", "session_name"]

MAGIC = b"bodystream journal 1\n"
_MARK = b"BSJ1"
_HEAD = Struct("<4sIIIII")
_MAX_JSON = 1 << 16
_MAX_DATA = 1 << 28
_MAX_ARRAYS = 16
_DTYPES = ("<f4", "<f8", "<i4", "<i8", "<u2", "|u1")
_INTERVAL_S = 0.25
_RETRY_S = 1.0
_SYNC_S = 5.0
_MAX_WAITING = 64 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One entry.

    Attributes:
        kind: of the entry, e.g. `motion`.
        fields: numbers, texts, lists of these, None.
        arrays: by name; of float32, float64, int32, int64, uint16 or uint8.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class _Layout(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: list[int]


class _Json(msgspec.Struct, frozen=True):
    kind: str
    fields: dict[str, Any]
    arrays: list[_Layout]


_DECODER = msgspec.json.Decoder(_Json)


def session_name(folder: Path, what: str) -> str:
    """A name for the parts of one session that nothing in `folder` begins with: `capture-20261231-235959`."""
    stem = f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
    with contextlib.suppress(OSError):
        taken = os.listdir(folder)
        return stem if not any(name.startswith(stem) for name in taken) else f"{stem}-{secrets.token_hex(2)}"
    return stem


def encode_record(record: Record) -> bytes:
    """The record's bytes.

    Raises:
        InputError: an array of another kind of number, or a record that is too large to be read back.
    """
    layouts, parts = [], []
    for name, values in record.arrays.items():
        array = np.ascontiguousarray(values)
        dtype = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
        if dtype not in _DTYPES:
            raise InputError(f"a journal takes no array of {array.dtype} ({name})")
        layouts.append(_Layout(name, dtype, list(array.shape)))
        parts.append(array.astype(dtype, copy=False).tobytes())
    text = msgspec.json.encode(_Json(record.kind, dict(record.fields), layouts))
    data = b"".join(parts)
    if len(text) > _MAX_JSON or len(data) > _MAX_DATA or len(layouts) > _MAX_ARRAYS:
        raise InputError(f"a record of {len(data) >> 20} MiB is larger than a journal takes")
    body = text + data
    head = _HEAD.pack(_MARK, len(text), len(data), zlib.crc32(body), 0, 0)[:20]
    return head + zlib.crc32(head).to_bytes(4, "little") + body


class JournalReader:
    """Iterates over the whole records of a journal; may be done while another thread or program appends.

    Args:
        path: of the journal.

    Attributes:
        passed_over: bytes of records that were damaged, without the last one, which a killed program cut off.
        cut: bytes after the last whole record.

    Raises:
        InputError: the file cannot be opened, or is no journal.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.passed_over = 0
        self.cut = 0
        if not self._path.is_file():
            raise InputError(f"{path}: there is no such journal")
        with self._open() as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise InputError(
                    f"{path}: is no journal of a session: it does not begin with {MAGIC.decode().strip()!r}"
                )

    def __iter__(self) -> Iterator[Record]:
        for record, _ in self.placed():
            yield record

    def placed(self) -> Iterator[tuple[Record, int]]:
        """The records with their places in the file, for `at`."""
        self.passed_over = self.cut = 0
        with self._open() as file:
            end = os.fstat(file.fileno()).st_size
            place = good = len(MAGIC)
            spent = 0  # bytes of damaged records that were looked at; who makes them nest must not cost minutes
            while place < end:
                size = _size_at(file, place, end)
                if size is None:  # no head here, or one whose record was cut off: go on at the next mark
                    place = _next_mark(file, place + 1, end)
                    continue
                record = _decode(file, place, size)
                if record is not None:
                    self.passed_over += place - good
                    good = place + size
                    yield record, place
                elif spent < 4 * end:  # a cut record may be followed by a whole one
                    spent += size
                    place = _next_mark(file, place + 1, end)
                    continue
                place += size
            self.cut = end - good

    def at(self, place: int) -> Record:
        """The record at a place that `placed` gave.

        Raises:
            InputError: it is there no more.
        """
        with self._open() as file:
            size = _size_at(file, place, os.fstat(file.fileno()).st_size)
            record = None if size is None else _decode(file, place, size)
        if record is None:
            raise InputError(f"{self._path}: the record at byte {place} was changed while it was read")
        return record

    def _open(self) -> BinaryIO:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from error


def _size_at(file: BinaryIO, place: int, end: int) -> int | None:
    """Bytes of the record at `place`, if there is a whole one."""
    file.seek(place)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, text, data, _, _, check = _HEAD.unpack(head)
    if mark != _MARK or check != zlib.crc32(head[:20]) or text > _MAX_JSON or data > _MAX_DATA:
        return None
    size = _HEAD.size + text + data
    return size if place + size <= end else None


def _next_mark(file: BinaryIO, place: int, end: int) -> int:
    """Where the next record may begin; `end` if none does."""
    while place < end:
        file.seek(place)
        block = file.read(1 << 20)
        found = block.find(_MARK)
        if found >= 0:
            return place + found
        if len(block) < len(_MARK):
            return end
        place += len(block) - len(_MARK) + 1
    return end


def _decode(file: BinaryIO, place: int, size: int) -> Record | None:
    """The record whose head is known to be whole; None where what follows is damaged."""
    file.seek(place)
    whole = file.read(size)
    if len(whole) < size:
        return None
    _, text, _, check, _, _ = _HEAD.unpack_from(whole)
    body = memoryview(whole)[_HEAD.size :]
    if zlib.crc32(body) != check:
        return None
    try:
        told = _DECODER.decode(body[:text])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    arrays: dict[str, Array] = {}
    start = text
    for layout in told.arrays[:_MAX_ARRAYS]:
        if layout.dtype not in _DTYPES or any(n < 0 or n > _MAX_DATA for n in layout.shape) or len(layout.shape) > 4:
            return None
        count = math.prod(layout.shape)
        stop = start + count * np.dtype(layout.dtype).itemsize
        if stop > len(body):
            return None
        arrays[layout.name] = np.frombuffer(body[start:stop], layout.dtype).reshape(layout.shape)
        start = stop
    return Record(told.kind, told.fields, arrays)


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
