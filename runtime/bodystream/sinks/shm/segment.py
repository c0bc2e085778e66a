"""Named memory that programs share: POSIX shared memory, on Windows a named mapping."""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import ConfigurationError, InputError, excerpt
from bodystream.sinks.shm.layout import DEAD_AFTER_NS, HEADER, MAGIC, shared_now_ns
from bodystream.types import Array

__all__ = ["Segment", "check_name", "create_segment", "making", "open_segment", "published_names"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,18}")
"""macOS has 31 letters for a name, of which the prefix takes some."""
_PREFIX = "bodystream."
_FOLDER = Path("/dev/shm")  # where Linux has POSIX shared memory (shm_overview(7))


def check_name(name: str) -> str:
    """The name, if shared memory can have it.

    Raises:
        ConfigurationError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"shm: a name has 1 to 18 letters, digits, - or _, got {excerpt(name)}: choose another, as shm:body0"
        )
    return name


class Segment:
    """Mapped memory.

    Args:
        name: without prefix.
        memory: mapped; kept open until `close`.

    Attributes:
        header: its first 1024 bytes, as `layout.HEADER`.
    """

    def __init__(self, name: str, memory: mmap.mmap, inode: int = 0) -> None:
        self.name, self._memory, self._inode = name, memory, inode
        self.bytes: Array = np.frombuffer(memory, np.uint8)
        self.header: Array = self.bytes[: HEADER.itemsize].view(HEADER)[0]

    @property
    def is_ours(self) -> bool:
        """Whether a bodystream wrote it, of whatever version."""
        return bytes(self.bytes[: len(MAGIC)]) == MAGIC

    def words(self, offset: int) -> Array:
        """The 8 bytes at an offset, as an array of one number that is read and written as a whole."""
        return self.bytes[offset : offset + 8].view(np.uint64)

    def close(self) -> None:
        """Give the memory back; the name stays."""
        del self.header, self.bytes
        with contextlib.suppress(BufferError):  # somebody keeps an array of it: it goes with that
            self._memory.close()

    def remove(self) -> None:
        """Take the name away, unless somebody else has it by now. Who has the memory mapped keeps it."""
        if sys.platform == "win32":
            return  # it goes with its last handle
        if _inode_of(self.name) == self._inode:
            _unlink(self.name)


@contextlib.contextmanager
def making() -> Iterator[None]:
    """One writer of this user at a time makes its memory, from the name to the last field of the header.

    Without it, who looks at memory that is not whole yet takes it for that of somebody who died over it.
    """
    if sys.platform == "win32":  # a mapping has its name and its size at once
        yield
        return
    import fcntl

    folder = _FOLDER if _FOLDER.is_dir() else Path("/tmp")
    file = os.open(folder / f"bodystream-{os.getuid()}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def create_segment(name: str, size: int) -> Segment:
    """New memory of zeros. What a dead writer left under the name is replaced; who still reads that keeps it.

    To be called, and its header to be filled, within `making`.

    Args:
        size: [bytes], which are taken at once, so that none is missing later.

    Raises:
        ConfigurationError: a writer that lives has the name; it belongs to another user; there is not so much memory.
    """
    check_name(name)
    if sys.platform == "win32":
        return _create_on_windows(name, size)
    for _ in range(8):
        try:
            file = _shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileExistsError:
            _remove_stale(name)
            continue
        except OSError as error:
            raise ConfigurationError(f"shm:{name} cannot be made: {error.strerror or error}") from error
        try:
            _take(file, size)
            return Segment(name, mmap.mmap(file, size), os.fstat(file).st_ino)
        except OSError as error:
            _unlink(name)
            raise ConfigurationError(
                f"shm:{name} needs {size >> 20} MB of shared memory, which are not there ({error.strerror or error}): "
                "give the system more of it (a container has --shm-size), or take fewer by max_vertices, or "
                "surface_hz=0"
            ) from error
        finally:
            os.close(file)
    raise ConfigurationError(f"shm:{name} is taken again and again by another program: choose another name")


def open_segment(name: str) -> Segment:
    """The memory under a name, to be read only.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    check_name(name)
    if sys.platform == "win32":
        memory = mmap.mmap(-1, HEADER.itemsize, tagname=_tag(name), access=mmap.ACCESS_READ)
        header = np.frombuffer(memory, HEADER)[0]
        if header["magic"] != MAGIC.rstrip(b"\0"):
            raise InputError(f"nobody publishes under the name {name}: start `bodystream publish --name {name}`")
        return Segment(name, mmap.mmap(-1, int(header["total_bytes"]), tagname=_tag(name), access=mmap.ACCESS_READ))
    try:
        file = _shm_open(name, os.O_RDONLY)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(
                f"nobody publishes under the name {name}: start `bodystream publish --name {name}`"
            ) from error
        raise InputError(f"shm:{name} cannot be read: {error.strerror or error}") from error
    try:
        size = os.fstat(file).st_size
        if size < HEADER.itemsize:
            raise InputError(f"shm:{name} is being made, or no memory of bodystream: try again")
        return Segment(name, mmap.mmap(file, size, access=mmap.ACCESS_READ), os.fstat(file).st_ino)
    finally:
        os.close(file)


def published_names() -> list[str]:
    """Names that have memory on this machine, whether their writers live or not; only Linux can list them."""
    try:
        found = [path.name.removeprefix(_PREFIX) for path in _FOLDER.glob(f"{_PREFIX}*")]
    except OSError:
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))


def _remove_stale(name: str) -> None:
    """Take the name from a writer that is dead.

    Raises:
        ConfigurationError: it lives, or the name belongs to another user.
    """
    try:
        old = open_segment(name)
    except InputError as error:
        if "cannot be read" in str(error):
            raise ConfigurationError(f"{error}: choose another name") from error
        _unlink(name)  # somebody died while they made it
        return
    try:
        if old.is_ours and _lives(old):
            raise ConfigurationError(
                f"shm:{name} is in use: process {int(old.header['writer_pid'])} publishes under this name. End it, or "
                "choose another name"
            )
        old.remove()
    except PermissionError as error:
        raise ConfigurationError(f"shm:{name} belongs to another user: choose another name") from error
    finally:
        old.close()


def _lives(segment: Segment) -> bool:
    """Whether its writer gives a heartbeat. One that gave none for a moment is waited for."""
    first = int(segment.header["heartbeat_ns"])
    while int(segment.header["ended_ns"]) == 0 and 0 <= shared_now_ns() - first < DEAD_AFTER_NS:
        time.sleep(0.02)
        if int(segment.header["heartbeat_ns"]) != first:
            return True
    return False


def _shm_open(name: str, flags: int) -> int:
    """A descriptor that only the user has access to."""
    if sys.platform == "linux":
        return os.open(_FOLDER / f"{_PREFIX}{name}", flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return _posix().shm_open(f"/{_PREFIX}{name}", flags, mode=0o600)


def _posix() -> Any:
    """What Python's own `multiprocessing.shared_memory` is made of; that class unlinks what others made."""
    return importlib.import_module("_posixshmem")


def _unlink(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if sys.platform == "linux":
            os.unlink(_FOLDER / f"{_PREFIX}{name}")
            return
        _posix().shm_unlink(f"/{_PREFIX}{name}")


def _inode_of(name: str) -> int:
    try:
        file = _shm_open(name, os.O_RDONLY)
    except OSError:
        return -1
    try:
        return os.fstat(file).st_ino
    finally:
        os.close(file)


def _take(file: int, size: int) -> None:
    """Reserve memory: what is only promised ends a program by SIGBUS when it is first written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def _tag(name: str) -> str:
    return f"Local\\{_PREFIX}{name}"


def _create_on_windows(name: str, size: int) -> Segment:
    """There the system gives what is there under the name, for as long as somebody has it open."""
    assert sys.platform == "win32"
    segment = Segment(name, mmap.mmap(-1, size, tagname=_tag(name)))
    if segment.is_ours and _lives(segment):
        raise ConfigurationError(
            f"shm:{name} is in use: process {int(segment.header['writer_pid'])} publishes under this name. End it, or "
            "choose another name"
        )
    segment.bytes[:] = 0
    return segment
