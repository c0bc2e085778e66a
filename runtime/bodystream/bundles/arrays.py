"""The one way in which arrays of `.npz` files are read: without objects, within bounds, headers before memory."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.types import Array

__all__ = ["load_npz", "read_npz"]

_MAX_ARRAYS = 10_000
_MAX_HEADER_BYTES = 1 << 16
_DAMAGE = (ArithmeticError, AttributeError, lzma.LZMAError, struct.error, tokenize.TokenError)
"""What else numpy and zipfile raise for a damaged header or stream."""


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
    return read_npz(read_bounded(path, max_bytes), str(path), max_bytes, only)


def read_npz(
    content: bytes, path: str, max_bytes: int = 1 << 30, only: Collection[str] | None = None
) -> dict[str, Array]:
    """The same of what was read already.

    Args:
        path: for messages.

    Raises:
        InputError: as `load_npz`.
    """
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
