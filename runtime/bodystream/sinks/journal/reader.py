"""Reads a journal, past what was damaged or cut off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bodystream.errors import InputError
from bodystream.sinks.journal.records import HEAD_BYTES, MAGIC, MARK, Record, decode_record, record_size

__all__ = ["JournalReader"]


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
    size = record_size(file.read(HEAD_BYTES))
    return size if size is not None and place + size <= end else None


def _next_mark(file: BinaryIO, place: int, end: int) -> int:
    """Where the next record may begin; `end` if none does."""
    while place < end:
        file.seek(place)
        block = file.read(1 << 20)
        found = block.find(MARK)
        if found >= 0:
            return place + found
        if len(block) < len(MARK):
            return end
        place += len(block) - len(MARK) + 1
    return end


def _decode(file: BinaryIO, place: int, size: int) -> Record | None:
    file.seek(place)
    whole = file.read(size)
    return decode_record(whole) if len(whole) == size else None
