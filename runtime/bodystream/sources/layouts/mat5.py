"""Numeric arrays of MATLAB 5 files ("MAT-File Format", MathWorks, chapter 1).

Only plain numeric arrays are read: no cells, structures, objects or functions. Every length is checked before it is
used and nothing is unpacked beyond the array's own size. (SciPy's reader crashes the interpreter on some damaged
files, so it does not stand where files from outside come in.)
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["MatVariable", "list_variables", "read_variable"]

_HEADER_BYTES = 128
_MI_MATRIX, _MI_COMPRESSED = 14, 15
_MI_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {
    6: "double",
    7: "single",
    8: "int8",
    9: "uint8",
    10: "int16",
    11: "uint16",
    12: "int32",
    13: "uint32",
    14: "int64",
    15: "uint64",
}
_COMPLEX_FLAG = 0x0800
_HEAD_BYTES = 4096  # flags, dimensions and name of any array that is read here
_MAX_DIMENSIONS = 8
_MAX_NAME = 63  # as MATLAB allows
_MAX_VARIABLES = 1000
_FREE_BYTES = 64 << 20
_MAX_RATIO = 200  # of depth with a person cut out, deflated, to its stored size; zeros alone reach 1000


@dataclass(frozen=True, slots=True)
class MatVariable:
    """One array of a file, not yet unpacked.

    Attributes:
        name, shape: as stored.
        kind: MATLAB class: `uint16`, `double`, ...; `other` for what is not plain and numeric.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    _order: str
    _payload: memoryview
    _compressed: bool
    _data_offset: int


def list_variables(data: bytes, origin: str) -> list[MatVariable]:
    """The arrays of a file, from their headers.

    Raises:
        InputError: not a MATLAB 5 file, truncated or damaged.
    """
    if len(data) < _HEADER_BYTES:
        raise InputError(f"{origin}: truncated or no MATLAB file ({len(data)} bytes)")
    if data.startswith(b"\x89HDF") or b"MATLAB 7.3" in data[:_HEADER_BYTES]:
        raise InputError(f"{origin}: is a MATLAB 7.3 file; save it with `save -v7`")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError(f"{origin}: is no MATLAB 5 file (its byte order mark is {data[126:128]!r})")
    view = memoryview(data)
    variables: list[MatVariable] = []
    position = _HEADER_BYTES
    while position < len(data) and len(variables) < _MAX_VARIABLES:
        if position + 8 > len(data):
            raise InputError(f"{origin}: truncated at byte {position}")
        kind, length = struct.unpack_from(order + "II", data, position)
        end = position + 8 + length
        if end > len(data):
            raise InputError(f"{origin}: truncated (has {len(data)} bytes, an array needs {end})")
        if kind == _MI_COMPRESSED:
            variables.append(_variable(view[position + 8 : end], True, order, origin))
        elif kind == _MI_MATRIX:
            variables.append(_variable(view[position:end], False, order, origin))
            end += -length % 8
        else:
            raise InputError(f"{origin}: damaged (an element of type {kind} at byte {position})")
        position = end
    return variables


def read_variable(variable: MatVariable, max_bytes: int, origin: str) -> Array:
    """Unpack one numeric array, in the type it is stored in (MATLAB stores small numbers of a double small).

    Returns:
        A read-only array of `variable.shape`, column-major as in the file.

    Raises:
        InputError: not numeric, larger than `max_bytes`, truncated or damaged.
    """
    if variable.kind == "other":
        raise InputError(f"{origin}: {variable.name} is not a plain numeric array")
    offset = variable._data_offset
    count = math.prod(variable.shape)
    body = _unpack(variable._payload, variable._compressed, offset + 8, origin)
    kind, length, start = _tag(body, offset, variable._order, origin)
    if kind not in _MI_DTYPES:
        raise InputError(f"{origin}: {variable.name} is stored in an unknown type ({kind})")
    dtype = np.dtype(variable._order + _MI_DTYPES[kind])
    if length != count * dtype.itemsize:
        raise InputError(
            f"{origin}: {variable.name} of shape {variable.shape} needs {count * dtype.itemsize} bytes, has {length}"
        )
    if length > max_bytes:
        raise InputError(f"{origin}: {variable.name} has {length} bytes; at most {max_bytes} are read")
    if variable._compressed and length > max(_FREE_BYTES, _MAX_RATIO * len(variable._payload)):
        raise InputError(
            f"{origin}: {variable.name} unpacks from {len(variable._payload)} to {length} bytes, as no recording does: "
            "save it again without compression (`save -v6`)"
        )
    body = _unpack(variable._payload, variable._compressed, start + length, origin)
    if len(body) < start + length:
        raise InputError(f"{origin}: truncated within {variable.name}")
    values = np.frombuffer(body, dtype, count, start).reshape(variable.shape, order="F")
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def _variable(payload: memoryview, compressed: bool, order: str, origin: str) -> MatVariable:
    head = _unpack(payload, compressed, _HEAD_BYTES, origin)
    if len(head) < 24:
        raise InputError(f"{origin}: truncated (an array's header is incomplete)")
    matrix, _, position = _tag(head, 0, order, origin)
    if matrix != _MI_MATRIX:
        raise InputError(f"{origin}: damaged (expected an array, found an element of type {matrix})")
    fields: list[bytes] = []
    for _ in range(3):  # flags, dimensions, name
        _, length, start = _tag(head, position, order, origin)
        if start + length > len(head):
            raise InputError(f"{origin}: truncated or damaged (an array's header of {length} bytes)")
        fields.append(bytes(head[start : start + length]))
        position = start + length + (-(start + length) % 8)
    flags, dimensions, name = fields
    if len(flags) != 8 or len(dimensions) % 4 or len(dimensions) < 8:
        raise InputError(f"{origin}: damaged (an array's flags or dimensions)")
    (flag,) = struct.unpack_from(order + "I", flags)
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    kind = _CLASSES.get(flag & 0xFF, "other")
    if min(shape) < 0 or len(shape) > _MAX_DIMENSIONS:
        raise InputError(f"{origin}: damaged (an array of shape {shape})")
    if flag & _COMPLEX_FLAG:
        kind = "other"
    return MatVariable(name.decode("latin-1")[:_MAX_NAME], shape, kind, order, payload, compressed, position)


def _tag(buffer: bytes | memoryview, position: int, order: str, origin: str) -> tuple[int, int, int]:
    """Type, length and start of the data of the element at `position`; up to 4 bytes may stand in the tag itself."""
    if position + 8 > len(buffer):
        raise InputError(f"{origin}: truncated (an element's tag is missing)")
    first, second = struct.unpack_from(order + "II", buffer, position)
    if first >> 16:
        if first >> 16 > 4:
            raise InputError(f"{origin}: damaged (a small element of {first >> 16} bytes)")
        return first & 0xFFFF, first >> 16, position + 4
    return first, second, position + 8


def _unpack(payload: memoryview, compressed: bool, wanted: int, origin: str) -> bytes | memoryview:
    """At least the first `wanted` bytes of an element, fewer where it ends before."""
    if not compressed:
        return payload
    try:
        return zlib.decompressobj().decompress(payload, wanted)
    except zlib.error as error:
        raise InputError(f"{origin}: damaged (its compressed data cannot be unpacked: {error})") from error
