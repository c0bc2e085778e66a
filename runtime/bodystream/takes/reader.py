"""Reads a take, or what is left of one: by its table of contents, and from the start where it has none.

The file comes from anywhere. Sizes are bounded before memory is taken, chunks are checked by their checksums, and what
is damaged is passed over and told.
"""

from __future__ import annotations

import io
import itertools
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from bodystream.errors import InputError, excerpt
from bodystream.takes.messages import FORMAT, METADATA, TOPICS
from bodystream.takes.packages import require_mcap

__all__ = ["TakeMessage", "TakeReader"]

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_BYTES = 9 + 20 + 8  # head of a record, footer, magic
_KNOWN = range(1, 16)
"""Kinds of records; others are passed over, as the format says."""
_MAX_CHUNK_BYTES = 64 << 20
"""Of a chunk in the file and unpacked. Ours have 4 MiB and one frame; other programs may write them anew."""
_MAX_SUMMARY_BYTES = 256 << 20
_MOST_CHANNELS = 10_000
_FIRST_CHUNKS = 4
"""Those of the camera and of the headset that were put into the file first."""
_AGAIN = "copy it again from where it was recorded"


@dataclass(frozen=True, slots=True)
class TakeMessage:
    """One message as it is in the file.

    Attributes:
        topic: one of `takes.messages`.
        utc_ns: when it was logged, since 1970.
        sequence: of the frame that an image belongs to.
        data: as the topic's schema has it.
        where: file, topic and time, for messages to people.
    """

    topic: str
    utc_ns: int
    sequence: int
    data: bytes
    where: str


@dataclass(frozen=True, slots=True)
class _Chunk:
    """An entry of the table of contents."""

    offset: int
    length: int
    channels: frozenset[int]


class TakeReader:
    """An open take; a context manager. One thread at a time may read it.

    Args:
        path: of the file.

    Attributes:
        whole: whether its writer finished it. Else it is read from its start, as far as its chunks are whole.
        about: what the file says of itself.
        counts: messages by topic, where the file tells; empty where it is not whole.
        host_utc_offset_ns: nanoseconds since 1970 minus the clock of the times in it.
        start_ns: host monotonic time of its first message, or None where it has none.
        problems: what was noticed while reading, for a person, in order.

    Raises:
        InputError: there is no such file, it is no MCAP file, no take, or one of a later version.
        MissingDependencyError: the packages of the extra `mcap` are not installed.
    """

    def __init__(self, path: Path) -> None:
        require_mcap()
        self.path = path
        self.problems: list[str] = []
        self._file = _opened(path)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._topics: dict[int, str] = {}
            self._first_utc_ns: int | None = None
            self.counts: dict[str, int] = {}
            self._chunks = self._table_of_contents()
            self.whole = self._chunks is not None
            self.about = self._read_about()
            offset = self.about.get("host_utc_offset_ns", "0")
            self.host_utc_offset_ns = int(offset) if offset.lstrip("-").isdecimal() and len(offset) < 20 else 0
            self.start_ns: int | None = self._first_ns()
        except BaseException:
            self._file.close()
            raise
        if not self.whole:
            self.problems.append(
                f"{path.name} has no table of contents: its recording was cut off, goes on, or the file is a part of "
                "one; it is read as far as its chunks are whole"
            )

    def __enter__(self) -> TakeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; an iteration under way ends. Safe to call twice."""
        self._file.close()

    def messages(self, *topics: str) -> Iterator[TakeMessage]:
        """The messages of some topics, or of all that a take has, in the order in which they were written.

        Damaged chunks are passed over (`problems`).
        """
        from mcap.records import Channel, Message

        wanted = set(topics or TOPICS)
        for records in self._record_groups(wanted):
            for record in records:
                if isinstance(record, Channel):
                    self._note_channel(record)
                elif isinstance(record, Message):
                    topic = self._topics.get(record.channel_id)
                    if topic in wanted:
                        at_s = (record.log_time - self.host_utc_offset_ns - (self.start_ns or 0)) * 1e-9
                        where = f"{self.path.name}: {topic} at {at_s:.3f} s"
                        yield TakeMessage(topic, record.log_time, record.sequence, record.data, where)

    def _problem(self, text: str) -> None:
        if text not in self.problems and len(self.problems) < 100:
            self.problems.append(text)

    def _note_channel(self, channel: Any) -> None:
        if len(self._topics) < _MOST_CHANNELS:
            self._topics[channel.id] = channel.topic

    # The table of contents

    def _table_of_contents(self) -> list[_Chunk] | None:
        """The chunks in order, or None where the file has no whole table."""
        from mcap.records import Channel, ChunkIndex, Statistics

        footer = self._footer()
        if footer is None:
            return None
        start, length = footer
        self._file.seek(start)
        chunks: list[_Chunk] = []
        statistics: Any = None
        try:
            for record in _records(io.BytesIO(self._file.read(length))):
                if isinstance(record, Channel):
                    self._note_channel(record)
                elif isinstance(record, ChunkIndex):
                    if record.chunk_start_offset + record.chunk_length > start:
                        return None
                    channels = frozenset(record.message_index_offsets)
                    chunks.append(_Chunk(record.chunk_start_offset, record.chunk_length, channels))
                elif isinstance(record, Statistics):
                    statistics = record
        except _Damaged:
            return None
        if not chunks and statistics is not None and statistics.message_count:
            return None  # its messages are there, and no table of them
        if statistics is not None:
            counts = statistics.channel_message_counts
            self._first_utc_ns = statistics.message_start_time if statistics.message_count else None
            self.counts = {self._topics[key]: count for key, count in counts.items() if key in self._topics}
        return sorted(chunks, key=lambda chunk: chunk.offset)

    def _footer(self) -> tuple[int, int] | None:
        """Where the table of contents begins and how long it is."""
        from mcap.records import Footer

        if self._size < len(_MAGIC) + _FOOTER_BYTES:
            return None
        self._file.seek(self._size - _FOOTER_BYTES)
        tail = self._file.read(_FOOTER_BYTES)
        if not tail.endswith(_MAGIC):
            return None
        try:
            record = next(_records(io.BytesIO(tail[: -len(_MAGIC)])), None)
        except _Damaged:
            return None
        end = self._size - _FOOTER_BYTES
        if not isinstance(record, Footer) or not 0 < record.summary_start <= end:
            return None
        length = end - record.summary_start
        return (record.summary_start, length) if length <= _MAX_SUMMARY_BYTES else None

    def _read_about(self) -> dict[str, str]:
        """The record that says what the file is; it stands before the first chunk."""
        from mcap.records import Chunk, Metadata

        self._file.seek(len(_MAGIC))
        others: list[str] = []
        try:
            for record in _records(self._file, self._size):
                if isinstance(record, Metadata) and record.name == METADATA:
                    return self._checked_about(record.metadata)
                if isinstance(record, Chunk) or len(others) > 100:
                    break
                others.append(type(record).__name__)
        except _Damaged as error:
            raise InputError(
                f"{self.path}: an MCAP file that is cut off or damaged at its start ({error}): {_AGAIN}"
            ) from error
        topics = ", ".join(sorted(set(self._topics.values()))[:8]) or "unknown"
        raise InputError(
            f"{self.path}: an MCAP file of another program (its topics: {excerpt(topics, 200)}), wanted a take of "
            "`bodystream record` or `bodystream convert`"
        )

    def _checked_about(self, about: dict[str, str]) -> dict[str, str]:
        version = about.get("format", "")
        if not (version.isdecimal() and len(version) < 6 and 1 <= int(version) <= FORMAT):
            raise InputError(
                f"{self.path}: a take of the format {excerpt(version, 20)}, this bodystream reads up to {FORMAT}: use "
                "a newer one"
            )
        return about

    def _first_ns(self) -> int | None:
        """Host time of the earliest message; of a take without a table of contents, of those in its first chunks."""
        from mcap.records import Message

        if self._first_utc_ns is not None:
            return self._first_utc_ns - self.host_utc_offset_ns
        times: list[int] = []
        for records in itertools.islice(self._record_groups(None), _FIRST_CHUNKS):
            times += [record.log_time for record in records if isinstance(record, Message)]
        return min(times) - self.host_utc_offset_ns if times else None

    # Chunks

    def _record_groups(self, topics: set[str] | None) -> Iterator[list[Any]]:
        """The records of each chunk that may hold messages of the topics; None: of all."""
        from mcap.records import Chunk

        if self._chunks is None:
            yield from self._groups_from_the_start()
            return
        wanted = {key for key, topic in self._topics.items() if topics is None or topic in topics}
        for entry in self._chunks:
            if entry.channels and not entry.channels & wanted:
                continue
            if self._file.closed:
                return
            self._file.seek(entry.offset)
            try:
                record = next(_records(self._file, entry.offset + entry.length), None)
            except _Damaged as error:
                self._problem(f"{self.path.name}: a chunk at byte {entry.offset} is damaged and left out ({error})")
                continue
            if isinstance(record, Chunk):
                yield self._records_of(record)
            else:
                self._problem(f"{self.path.name}: there is no chunk at byte {entry.offset}, it is left out")

    def _groups_from_the_start(self) -> Iterator[list[Any]]:
        """Of each chunk, and each record that is in none, until the data ends or is not whole."""
        from mcap.records import Channel, Chunk, DataEnd, Message

        position = len(_MAGIC)
        while not self._file.closed:
            self._file.seek(position)
            try:
                record, position = _record_at(self._file, position, self._size)
            except _Damaged:
                return
            if isinstance(record, Chunk):
                yield self._records_of(record)
            elif isinstance(record, Channel | Message):
                yield [record]
            elif isinstance(record, DataEnd):
                return

    def _records_of(self, chunk: Any) -> list[Any]:
        """What is in a chunk; nothing where it is damaged."""
        from mcap.exceptions import McapError
        from mcap.stream_reader import breakup_chunk

        try:
            plain = replace(chunk, compression="", data=_unpacked(chunk))
            if len(plain.data) != chunk.uncompressed_size:
                raise _Damaged(f"{len(plain.data)} of {chunk.uncompressed_size} bytes")
            return breakup_chunk(plain, validate_crc=True)
        # what the library raises on damaged records; a checksum that is wrong is a ValueError
        except (McapError, _Damaged, ValueError, struct.error, OverflowError) as error:
            self._problem(f"{self.path.name}: a chunk is damaged and left out ({str(error)[:100] or 'cut off'})")
            return []


class _Damaged(Exception):
    """A record is not whole."""


def _opened(path: Path) -> IO[bytes]:
    """The file, of which the first bytes are those of MCAP.

    Raises:
        InputError: it is not.
    """
    try:
        # Without O_NONBLOCK the open of a FIFO waits for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = open(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise InputError(f"{path} is no ordinary file: give a take, or a copy of it")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"there is no take {path} that can be read ({reason}): check the path") from error
    head = file.read(len(_MAGIC))
    if head != _MAGIC:
        file.close()
        said = "is empty" if not head else f"is no MCAP file (it begins with {head!r})"
        raise InputError(f"{path} {said}: wanted a take of `bodystream record`, or {_AGAIN}")
    return file


def _records(file: IO[bytes], end: int | None = None) -> Iterator[Any]:
    """Records from where the file stands to its end, or to the byte `end`; chunks are not broken up."""
    position = file.tell()
    size = len(file.getbuffer()) if isinstance(file, io.BytesIO) else (end or 0)
    while position < size:
        file.seek(position)
        record, position = _record_at(file, position, size)
        if record is not None:
            yield record


def _record_at(file: IO[bytes], position: int, size: int) -> tuple[Any, int]:
    """The record that the file stands at, and where the next one begins.

    The library takes a record that the file ends in for whole, so its length is looked at first.

    Raises:
        _Damaged: it is not whole, or holds something else.
    """
    from mcap.exceptions import McapError
    from mcap.stream_reader import StreamReader

    head = file.read(9)
    if len(head) < 9:
        raise _Damaged("the file ends")
    (length,) = struct.unpack_from("<Q", head, 1)
    if length > min(_MAX_CHUNK_BYTES, size - position - 9):
        raise _Damaged("the file ends within a record")
    if head[0] not in _KNOWN:
        if head[0] == 0:  # as in what a crash left of a file
            raise _Damaged("the file is empty from here on")
        return None, position + 9 + length
    body = file.read(length)
    try:
        reader = StreamReader(io.BytesIO(head + body), skip_magic=True, emit_chunks=True)
        record = next(reader.records, None)
    except (McapError, ValueError, struct.error, OverflowError, MemoryError) as error:
        raise _Damaged(str(error)[:100] or type(error).__name__) from error
    return record, position + 9 + length


def _unpacked(chunk: Any) -> bytes:
    """The content of a chunk, within bounds.

    Raises:
        _Damaged: it cannot be unpacked, or is larger than it says or than is read.
    """
    size = chunk.uncompressed_size
    if size > _MAX_CHUNK_BYTES:
        raise _Damaged(f"{size >> 20} MiB, of which up to {_MAX_CHUNK_BYTES >> 20} are read")
    if chunk.compression == "":
        return chunk.data
    if chunk.compression == "zstd":
        import zstandard

        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(chunk.data) as stream:
                return stream.read(size + 1)
        except zstandard.ZstdError as error:
            raise _Damaged(str(error)) from error
    if chunk.compression == "lz4":
        import lz4.frame

        try:
            return lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        except (RuntimeError, EOFError) as error:
            raise _Damaged(str(error)) from error
    raise _Damaged(f"packed by {chunk.compression[:20]!r}, wanted zstd or lz4")
