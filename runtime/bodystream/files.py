"""Files, for every layer: written whole or not at all, and read within bounds.

Writing goes to another name beside the place, which is renamed at the end. Reading takes ordinary files only, so that a
FIFO or a device among somebody's frames never blocks, and never more bytes than the reader says it can use.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bodystream.errors import InputError

__all__ = ["atomic_path", "read_bounded", "read_head", "read_text_bounded"]

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    getattr(errno, "EDQUOT", -1): "the disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "permission denied: choose a folder that you may write to",
    errno.EISDIR: "it is a folder: give the name of a file",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EFBIG: "the file system cannot hold a file of this size: choose another folder",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which takes the place of `path` when the block ends well.

    Missing folders are made. The data reaches the disk (fsync) before the rename, so a crash or a power cut
    leaves the last whole file or the new whole file. When the block raises, an interrupt included, the temporary
    file is removed and `path` stays as it was. The temporary name keeps the suffix, which some writers go by.

    Raises:
        InputError: the file system refused (disk full, no permission, ...); says which file and what to do.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(target, error) from error
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refusal(target: Path, error: OSError) -> InputError:
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}: check the folder")
    kept = " (the earlier file is unchanged)" if target.is_file() else ""
    return InputError(f"{target} could not be written{kept}: {remedy}")


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename durable; Windows cannot open a folder and needs none of this."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: str | os.PathLike[str], max_bytes: int, kind: type[InputError] = InputError) -> bytes:
    """The content of an ordinary file (or a link to one) of 1 to `max_bytes` bytes.

    Args:
        kind: the error to raise, where a caller tells damaged files from other faults.

    Raises:
        InputError: it is absent, unreadable, empty, larger, or no ordinary file (folder, FIFO, device, socket).
    """
    path = Path(path)
    data = read_head(path, max_bytes + 1, kind)
    if not data:
        raise kind(f"{path}: is empty (0 bytes)")
    if len(data) > max_bytes:
        raise kind(f"{path}: is larger than {_size(max_bytes)}, more than is read of a file of this sort: cut it")
    return data


def read_head(path: str | os.PathLike[str], count: int, kind: type[InputError] = InputError) -> bytes:
    """The first `count` bytes of an ordinary file, fewer where it ends before.

    Raises:
        InputError: it is absent, unreadable, or no ordinary file (folder, FIFO, device, socket).
    """
    path = Path(path)
    try:
        # Without O_NONBLOCK the open of a FIFO waits for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise kind(f"{path}: is no ordinary file, and is not read: give a file, or a copy of what it leads to")
            return file.read(count)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise kind(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_text_bounded(path: str | os.PathLike[str], max_bytes: int, kind: type[InputError] = InputError) -> str:
    """The same as text in UTF-8, with or without a byte order mark; what is none is replaced, and no parser takes it.

    Raises:
        InputError: as `read_bounded`.
    """
    return read_bounded(path, max_bytes, kind).decode("utf-8-sig", errors="replace")


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB" if count >= 1 << 10 else f"{count} bytes"
