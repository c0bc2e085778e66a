"""Archives of takes, unpacked once into the user's cache folder."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from bodystream.errors import InputError, excerpt

__all__ = ["cache_folder", "unpacked"]

_MAX_MEMBERS = 20_000
_MAX_BYTES = 8 << 30
_MAX_ARCHIVE_BYTES = 4 << 30
_MAX_RATIO, _RATIO_FROM_BYTES = 100, 64 << 20
"""Text of motion shrinks to a tenth; what unpacks to far more than that is no motion."""
_MAX_DECODER_BYTES = 256 << 20
"""Of xz: its highest preset needs 65 MiB; a header may ask for gigabytes."""
_CHUNK_BYTES = 1 << 16
_LIST = ".unpacked.json"
_ENDINGS = (".bvh", ".amc", ".asf", ".npz", ".csv")


def cache_folder() -> Path:
    """Where bodystream may keep what it can make again; `BODYSTREAM_CACHE` overrides the system's place."""
    if os.environ.get("BODYSTREAM_CACHE"):
        return Path(os.environ["BODYSTREAM_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "bodystream" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bodystream"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bodystream"


def unpacked(archive: Path) -> Path:
    """The folder with the archive's takes; unpacked on first use, found by the archive's content afterwards.

    Only regular files that are takes, skeletons or tables are written, and none outside the folder.

    Raises:
        InputError: the archive is damaged, too large, or holds a path that leads outside.
    """
    try:
        size = archive.stat().st_size
        if not archive.is_file() or size > _MAX_ARCHIVE_BYTES:
            raise InputError(
                f"{archive} is no ordinary file or has more than {_MAX_ARCHIVE_BYTES >> 30} GiB; unpack it yourself "
                "and name the folder"
            )
        with archive.open("rb") as stream:
            key = hashlib.file_digest(stream, "sha256").hexdigest()[:24]
    except OSError as error:
        raise InputError(f"{archive} cannot be read: {error.strerror}") from error
    place = cache_folder() / "takes" / f"{archive.name.split('.')[0]}-{key}"
    if _is_whole(place):
        return place
    shutil.rmtree(place, ignore_errors=True)  # cut off by a crash or changed since: never trusted, made again
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
    except OSError as error:
        raise InputError(
            f"the cache folder {place.parent} cannot be written ({error.strerror}): set BODYSTREAM_CACHE to another"
        ) from error
    try:
        _extract(archive, part)
        sizes = {p.relative_to(part).as_posix(): p.stat().st_size for p in sorted(part.rglob("*")) if p.is_file()}
        (part / _LIST).write_text(json.dumps(sizes), encoding="utf-8")
        try:
            part.rename(place)
        except OSError:
            if not _is_whole(place):  # else another process was faster with the same content
                raise
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked into {place}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place


def _is_whole(place: Path) -> bool:
    """Whether the folder holds what was unpacked into it."""
    try:
        sizes = json.loads((place / _LIST).read_text(encoding="utf-8"))
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


class _XzStream(io.RawIOBase):
    """The content of an .xz file, read on with bounded memory: `lzma.open` knows no bound."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder: lzma.LZMADecompressor | None = None
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._decoder is None:  # at the beginning of the file, or of another stream in it
                self._left = self._left or self._file.read(_CHUNK_BYTES)
                if not self._left.strip(b"\x00"):
                    return 0
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_DECODER_BYTES)
            if self._decoder.needs_input and not self._left:
                self._left = self._file.read(_CHUNK_BYTES)
                if not self._left:
                    raise EOFError("it ends in the middle of its data")
            data = self._decoder.decompress(self._left, max_length=len(buffer))
            self._left = b""
            if self._decoder.eof:
                self._left, self._decoder = self._decoder.unused_data, None
            if data:
                buffer[: len(data)] = data
                return len(data)


def _extract(archive: Path, part: Path) -> None:
    taken = members = 0
    most = min(_MAX_BYTES, max(_MAX_RATIO * archive.stat().st_size, _RATIO_FROM_BYTES))
    try:
        with (
            archive.open("rb") as file,
            io.BufferedReader(_XzStream(file), _CHUNK_BYTES) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                members += 1
                taken += max(member.size, 0)
                if members > _MAX_MEMBERS or taken > most:
                    raise InputError(
                        f"{archive} holds more than {_MAX_MEMBERS} files or {most >> 20} MiB, which for its size is no "
                        "motion data; unpack it yourself and name the folder"
                    )
                if member.isfile() and member.name.lower().endswith(_ENDINGS):
                    _copy(tar, member, part, archive)
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError, OverflowError, UnicodeError, LookupError) as error:
        raise InputError(f"{archive} is damaged or no .tar.xz archive: {error}") from error


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, part: Path, archive: Path) -> None:
    """One ordinary file of the archive, below `part`. `TarFile.extract` has such a rule from 3.11.4 on."""
    target = (part / member.name.lstrip("/\\")).resolve()
    if not target.is_relative_to(part.resolve()):
        raise InputError(
            f"{archive} holds a path that leads outside of it, and was not unpacked: {excerpt(member.name)}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None  # it is an ordinary file
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
