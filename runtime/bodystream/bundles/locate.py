"""Where bundles are found, the check of their hashes, and the one way in which their arrays are read."""

from __future__ import annotations

import io
import lzma
import os
import re
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bodystream.bundles.manifest import MANIFEST_NAME, Manifest, read_manifest, sha256_of
from bodystream.errors import BundleError, InputError
from bodystream.files import read_bounded
from bodystream.types import Array

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "Bundle",
    "bundle_folders",
    "find_bundle",
    "load_npz",
    "open_bundle",
    "shipped_bundles",
]

ENVIRONMENT_VARIABLE = "BODYSTREAM_BUNDLES"
_SHIPPED = Path(__file__).resolve().parent / "shipped"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MAX_ARRAYS = 10_000
_MAX_HEADER_BYTES = 1 << 16
_DAMAGE = (ArithmeticError, AttributeError, lzma.LZMAError, struct.error, tokenize.TokenError)
"""What else numpy and zipfile raise for a damaged header or stream."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were found to be those that its manifest names.

    Attributes:
        folder: where it is.
        manifest: what it says of itself.
    """

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """The file `name` of this bundle.

        Raises:
            BundleError: the manifest does not list it.
        """
        names = [file.path for file in self.manifest.files]
        if name not in names:
            raise BundleError(f"bundle {self.manifest.name!r} has no file {name!r}, only {', '.join(names)}")
        return self.folder / name


def bundle_folders() -> list[Path]:
    """Folders that are searched, first the shipped one, then those of `BODYSTREAM_BUNDLES` (split as PATH is)."""
    extra = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [_SHIPPED, *(Path(part) for part in extra.split(os.pathsep) if part)]


def shipped_bundles() -> list[str]:
    """Names of the bundles that came with this installation."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MANIFEST_NAME}"))


def find_bundle(name: str) -> Bundle:
    """Find a bundle by name, and check every file of it.

    A shipped bundle wins over one of the same name in `BODYSTREAM_BUNDLES`, so that a stray folder never changes
    what a shipped name means.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"a bundle's name must match {_NAME.pattern}, got {name!r}")
    folders = bundle_folders()
    for folder in folders:
        if os.path.isfile(folder / name / MANIFEST_NAME):  # false also where a folder must not be looked into
            return open_bundle(folder / name)
    searched = ", ".join(str(folder) for folder in folders)
    raise BundleError(f"there is no bundle {name!r} in {searched}: put its folder there, or set {ENVIRONMENT_VARIABLE}")


def open_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, with the size and hash of every file checked.

    Raises:
        BundleError: the manifest is malformed, names another bundle, or a file is missing, a link that leads out of
            the folder, or not the one that was hashed.
    """
    manifest = read_manifest(folder)
    root = _resolved(folder)
    if manifest.name != root.name:
        raise BundleError(
            f"{folder} holds the bundle {manifest.name!r}: a bundle's folder has its name, so rename one of them"
        )
    for file in manifest.files:
        path = folder / file.path
        if not _resolved(path).is_relative_to(root):
            raise BundleError(f"bundle {manifest.name!r}: {file.path} is a link to a place outside of {root}")
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a FIFO would wait for ever
                raise BundleError(f"bundle {manifest.name!r}: {path} is no ordinary file: install it again")
            size = found.st_size
            digest = sha256_of(path) if size == file.bytes else ""
        except OSError as error:
            raise BundleError(
                f"bundle {manifest.name!r}: {path} cannot be read ({error.strerror}): install it again"
            ) from error
        if size != file.bytes:
            raise BundleError(
                f"bundle {manifest.name!r}: {path} has {size} bytes, its manifest says {file.bytes}: install it again"
            )
        if digest != file.sha256:
            raise BundleError(
                f"bundle {manifest.name!r}: {path} has the sha256 {digest}, its manifest says {file.sha256}: "
                "the file was damaged or edited, so install it again"
            )
    return Bundle(folder, manifest)


def _resolved(path: Path) -> Path:
    """Without links.

    Raises:
        BundleError: the links lead in a circle, or a name is impossible.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path} cannot be found ({error}): install the bundle again") from error


def load_npz(path: Path, max_bytes: int = 1 << 30, only: Collection[str] | None = None) -> dict[str, Array]:
    """Read the arrays of an `.npz` file; never runs code from it and never takes more than `max_bytes`.

    Args:
        max_bytes: bound of the file's size and of all arrays together [bytes].
        only: names of the arrays that are read, as far as they are there; others are not looked at, so that a pickled
            one that nobody needs does no harm. None reads all.

    Raises:
        InputError: it cannot be read, is not such a file, holds Python objects, is larger than `max_bytes`, or an
            array's header does not fit its content.
    """
    content = read_bounded(path, max_bytes)
    # Before the list of members is read, which takes memory for each of them.
    if content.count(b"PK\x01\x02") > 2 * _MAX_ARRAYS:
        raise InputError(f"{path} is not a readable .npz file: it lists far more than {_MAX_ARRAYS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return dict(_read_arrays(archive, max_bytes, only))
    # The parsers of numpy and zipfile signal damage by any of these.
    except (zipfile.BadZipFile, zlib.error, ValueError, TypeError, EOFError, OSError, SyntaxError) as error:
        raise InputError(f"{path} is not a readable .npz file: {error}") from error
    except (*_DAMAGE, NotImplementedError, RuntimeError, MemoryError, RecursionError, LookupError) as error:
        raise InputError(f"{path} is not a readable .npz file: {type(error).__name__}: {error}") from error


def _read_arrays(archive: zipfile.ZipFile, max_bytes: int, only: Collection[str] | None) -> Iterator[tuple[str, Array]]:
    """Name and array of each member; the sizes that headers claim are checked before anything is allocated."""
    members = archive.infolist()
    if len(members) > _MAX_ARRAYS:
        raise ValueError(f"it holds {len(members)} arrays, at most {_MAX_ARRAYS} are accepted")
    if only is not None:
        members = [member for member in members if member.filename.removesuffix(".npy") in only]
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it holds two arrays of one name")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ValueError(f"its arrays take {total} bytes, at most {max_bytes} are accepted")
    for member in members:
        name = member.filename.removesuffix(".npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"array {name!r} is compressed as numpy never does (method {member.compress_type})")
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"array {name!r} has the unknown format version {version}")
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read_header(_header(stream, version))
            if dtype.itemsize == 0:  # any number of them fits into a file without content
                raise ValueError(f"array {name!r} has elements without a size")
            if dtype.hasobject:
                raise ValueError(f"array {name!r} holds Python objects, which are never loaded")
            if any(extent < 0 for extent in shape):
                raise ValueError(f"array {name!r} has the impossible shape {shape}")
            count = 1
            for extent in shape:
                count *= extent
            size = count * dtype.itemsize
            if size > member.file_size:
                raise ValueError(f"array {name!r} should have {size} bytes, its file has {member.file_size}")
            content = stream.read(size + 1)
        if len(content) != size:
            raise ValueError(f"array {name!r} should have {size} bytes, the file holds another number")
        array = np.frombuffer(bytearray(content), dtype=dtype, count=count) if size else np.empty(count, dtype)
        yield name, array.reshape(shape, order="F" if fortran_order else "C")


def _header(stream: IO[bytes], version: tuple[int, int]) -> io.BytesIO:
    """Length and text of an array's header; numpy reads as much as the length says before it looks at it."""
    length_bytes = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(length_bytes, "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"an array's header should have {length} bytes, at most {_MAX_HEADER_BYTES} are accepted")
    return io.BytesIO(length_bytes + stream.read(length))
