"""Files, for every layer: written whole or not at all, and read within bounds.

Writing goes to another name beside the place, which is renamed at the end. A link is followed and stays; a device, a
FIFO or a descriptor (/dev/null, /dev/stdout) is written through, never replaced. Reading takes ordinary files only, so
that a FIFO or a device among somebody's frames never blocks, and never more bytes than the reader says it can use.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import secrets
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bodystream.errors import InputError

__all__ = [
    "atomic_path",
    "check_output",
    "give_up_writing",
    "growing_path",
    "prepare_folder",
    "read_bounded",
    "read_head",
    "read_text_bounded",
]

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self|proc/\d+)/fd/(\d+)$")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

_unfinished: set[Path] = set()  # a program that ends takes the threads along that were writing these
_given_up = threading.Event()
_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    getattr(errno, "EDQUOT", -1): "the disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "permission denied: choose a folder that you may write to",
    errno.EISDIR: "it is a folder: give the name of a file",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.ENXIO: "no program reads it: start the reader first, or give the name of a file",
    errno.EPIPE: "the program that read it has ended: give the name of a file",
    errno.EFBIG: "the file system cannot hold a file of this size: choose another folder",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which takes the place of `path` when the block ends well.

    Missing folders are made. The data reaches the disk (fsync) before the rename, so a crash or a power cut
    leaves the last whole file or the new whole file. When the block raises, an interrupt included, the temporary
    file is removed and `path` stays as it was. The temporary name keeps the suffix, which some writers go by.

    A link stays and what it leads to is replaced. To what is no ordinary file (a character device, a FIFO that somebody
    reads, an open descriptor such as /dev/stdout) the whole content is written instead.

    Raises:
        InputError: the file system refused (disk full, no permission, ...); says which file and what to do. Where only
            the rename failed, the whole file is kept beside it, under a name that is told.
    """
    target = Path(path)
    if _is_written_through(target):
        with tempfile.TemporaryDirectory(prefix="bodystream-") as folder:
            temporary = Path(folder) / f"whole{target.suffix}"
            try:
                yield temporary
                _write_through(temporary, target)
            except OSError as error:
                raise _refusal(target, error) from error
        return
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(target, error) from error
    _unfinished.add(temporary)
    try:
        yield temporary
        _flush(temporary)
        if _given_up.is_set():
            raise InputError(f"{target} was not written: the program was told to end at once")
        try:
            os.replace(temporary, target)
        except OSError as error:
            raise _refusal(target, error, _kept(temporary, target)) from error
        _flush_folder(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


def give_up_writing() -> None:
    """From now on no file of `atomic_path` takes its place: for a program that is told to end at once, whatever its
    threads are doing. What they were writing is removed."""
    _given_up.set()


@atexit.register
def _remove_unfinished() -> None:
    _given_up.set()
    for temporary in tuple(_unfinished):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def growing_path(path: str | os.PathLike[str], part: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield `part`, a name that nothing has, under which a file grows; it becomes `path` when the block ends well.

    Whatever ends the block otherwise, what was written stays under the name of the part.

    Raises:
        InputError: the file system refused; says where the content is.
    """
    target, growing = Path(path), Path(part)
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise _refusal(target, error) from error
    try:
        yield growing
        _flush(growing)
        os.replace(growing, target)
    except OSError as error:
        raise _refusal(target, error, f"; what was recorded is in {growing}") from error


def finish_part(part: Path, path: Path) -> None:
    """Give a growing file, whose program is gone, its own name.

    Raises:
        InputError: the file system refused; it stays where it is.
    """
    try:
        _flush(part)
        os.replace(part, path)
    except OSError as error:
        raise _refusal(path, error, f"; what was recorded is in {part}") from error


def check_output(path: str | os.PathLike[str], option: str) -> None:
    """Refuse a place where no file can be written, before the work that the file is of. Missing folders are made.

    Args:
        option: that named it (`--report`), for the message.

    Raises:
        InputError: it is a folder or has no name, its folder cannot be made or written to, it is a disk or a socket, or
            a FIFO that nobody reads.
    """
    target = Path(path)
    if str(target) in (".", "..") or "\0" in str(target):
        raise InputError(f"{option}: {str(path)!r} is no name of a file: give one, such as {option} report.json")
    if target.is_dir():
        raise InputError(f"{option}: {target} is a folder: give the name of a file in it")
    if _is_written_through(target):
        try:
            os.close(_open_through(target))
        except OSError as error:
            raise InputError(f"{option}: cannot write to {target}: {_remedy(error)}") from error
        return
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise InputError(f"{option}: {target} is a disk or a socket and is not written to: give the name of a file")
    prepare_folder(target.absolute().parent, option)


def prepare_folder(folder: Path, option: str) -> None:
    """Make a folder and try that files can be written there, so that a wrong path is known before a long session.

    Args:
        option: that named it (`--out`), for the message.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{option}: cannot write to the folder {folder} ({reason}): choose another folder") from error


def _descriptor_of(path: Path) -> int | None:
    """The open descriptor that a path such as /dev/stdout names."""
    text = os.path.abspath(path)
    for _ in range(8):
        if text in _STANDARD:
            return _STANDARD[text]
        found = _DESCRIPTOR.match(text)
        if found:
            return int(found.group(1))
        try:
            text = os.path.normpath(os.path.join(os.path.dirname(text), os.readlink(text)))
        except OSError:
            return None
    return None


def _is_written_through(path: Path) -> bool:
    """Whether the path names something that is written to, and that a file must not replace."""
    if _descriptor_of(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _open_through(path: Path) -> int:
    number = _descriptor_of(path)
    if number is not None:
        return os.dup(number)
    # Without O_NONBLOCK the open of a FIFO waits for somebody to read.
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    os.set_blocking(descriptor, True)
    return descriptor


def _write_through(source: Path, path: Path) -> None:
    descriptor = _open_through(path)
    with open(source, "rb") as file, open(descriptor, "wb", buffering=0) as out:
        while block := file.read(1 << 20):
            view = memoryview(block)
            while view:
                view = view[out.write(view) or 0 :]


def _kept(temporary: Path, target: Path) -> str:
    """Give a whole file, whose last rename failed, a name that tells what it is."""
    kept = target.with_name(f"{target.stem}.kept-{secrets.token_hex(2)}{target.suffix}")
    try:
        os.rename(temporary, kept)
    except OSError:
        return ""
    return f"; the whole file is kept as {kept}"


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, f"{error.strerror or error}: check the folder")


def _refusal(target: Path, error: OSError, kept: str = "") -> InputError:
    unchanged = " (the earlier file is unchanged)" if target.is_file() else ""
    return InputError(f"{target} could not be written{unchanged}: {_remedy(error)}{kept}")


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
