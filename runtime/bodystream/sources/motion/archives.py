"""Archives of takes, unpacked once into the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from bodystream.errors import InputError

__all__ = ["cache_folder", "unpacked"]

_MAX_MEMBERS = 20_000
_MAX_BYTES = 8 << 30
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


def _extract(archive: Path, part: Path) -> None:
    taken = members = 0
    try:
        with tarfile.open(archive, "r:xz") as tar:
            for member in tar:
                members += 1
                taken += max(member.size, 0)
                if members > _MAX_MEMBERS or taken > _MAX_BYTES:
                    raise InputError(
                        f"{archive} holds more than {_MAX_MEMBERS} files or {_MAX_BYTES >> 30} GiB; unpack it yourself "
                        "and name the folder"
                    )
                if member.isfile() and member.name.lower().endswith(_ENDINGS):
                    tar.extract(member, part, filter="data")
    except tarfile.FilterError as error:
        raise InputError(f"{archive} holds a path that leads outside of it, and was not unpacked: {error}") from error
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise InputError(f"{archive} is damaged or no .tar.xz archive: {error}") from error
