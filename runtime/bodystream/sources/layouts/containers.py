"""What recordings in one file have in common: ordinary files only, read piece by piece, never more than asked for."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from bodystream.errors import InputError
from bodystream.sources.layouts.images import DamagedFileError

__all__ = ["MAX_DEPTH_PIXELS", "PieceReader", "open_regular"]

MAX_DEPTH_PIXELS = 16 << 20
"""Of one depth image; no camera has more."""


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; a FIFO or a device would block.

    Raises:
        InputError: it is none, or cannot be opened.
    """
    try:
        # Without O_NONBLOCK the open of a FIFO waits for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: is no ordinary file, and is not read: give a file, or a copy of what it leads to")
    return open(descriptor, "rb")


class PieceReader:
    """Pieces of one file, by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path)
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            DamagedFileError: the file ends before, or is closed.
        """
        if offset < 0 or count < 0 or offset + count > self.size:
            raise DamagedFileError(f"{self.path}: ends after {self.size} bytes, {offset + count} are needed")
        try:
            with self._lock:
                self._file.seek(offset)
                data = self._file.read(count)
        except (OSError, ValueError) as error:
            raise DamagedFileError(
                f"{self.path}: cannot be read ({getattr(error, 'strerror', None) or error})"
            ) from error
        if len(data) != count:
            raise DamagedFileError(f"{self.path}: became shorter while it was read")
        return data

    def close(self) -> None:
        with self._lock:
            self._file.close()
