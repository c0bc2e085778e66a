"""Files that are either whole or absent: written beside their place under another name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bodystream.errors import InputError

__all__ = ["atomic_path"]

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
