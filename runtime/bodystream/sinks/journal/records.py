"""What a journal consists of: records, each of them

- 24 bytes: `BSJ1`, the lengths of what follows (two unsigned 32-bit numbers), the CRC-32 of what follows, 4 bytes of
  zero, and the CRC-32 of the 20 bytes before; all little-endian;
- JSON: the record's kind, its fields, and name, dtype and shape of each of its arrays;
- the arrays' bytes, one after the other.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["HEAD_BYTES", "MAGIC", "MARK", "Record", "decode_record", "encode_record", "record_size"]

MAGIC = b"bodystream journal 1\n"
"""What a file of records begins with."""
MARK = b"BSJ1"
"""What a record begins with."""
_HEAD = Struct("<4sIIIII")
HEAD_BYTES = _HEAD.size
_MAX_JSON = 1 << 16
_MAX_DATA = 1 << 28
_MAX_ARRAYS = 16
_DTYPES = ("<f4", "<f8", "<i4", "<i8", "<u2", "|u1")


@dataclass(frozen=True, slots=True)
class Record:
    """One entry.

    Attributes:
        kind: of the entry, e.g. `motion`.
        fields: numbers, texts, lists of these, None.
        arrays: by name; of float32, float64, int32, int64, uint16 or uint8.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class _Layout(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: list[int]


class _Json(msgspec.Struct, frozen=True):
    kind: str
    fields: dict[str, Any]
    arrays: list[_Layout]


_DECODER = msgspec.json.Decoder(_Json)


def encode_record(record: Record) -> bytes:
    """The record's bytes.

    Raises:
        InputError: an array of another kind of number, or a record that is too large to be read back.
    """
    layouts, parts = [], []
    for name, values in record.arrays.items():
        array = np.ascontiguousarray(values)
        dtype = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
        if dtype not in _DTYPES:
            raise InputError(f"a journal takes no array of {array.dtype} ({name})")
        layouts.append(_Layout(name, dtype, list(array.shape)))
        parts.append(array.astype(dtype, copy=False).tobytes())
    text = msgspec.json.encode(_Json(record.kind, dict(record.fields), layouts))
    data = b"".join(parts)
    if len(text) > _MAX_JSON or len(data) > _MAX_DATA or len(layouts) > _MAX_ARRAYS:
        raise InputError(f"a record of {len(data) >> 20} MiB is larger than a journal takes")
    body = text + data
    head = _HEAD.pack(MARK, len(text), len(data), zlib.crc32(body), 0, 0)[:20]
    return head + zlib.crc32(head).to_bytes(4, "little") + body


def record_size(head: bytes) -> int | None:
    """Bytes of the record that begins with these `HEAD_BYTES`; None where they are no whole head."""
    if len(head) < HEAD_BYTES:
        return None
    mark, text, data, _, _, check = _HEAD.unpack(head)
    if mark != MARK or check != zlib.crc32(head[:20]) or text > _MAX_JSON or data > _MAX_DATA:
        return None
    return HEAD_BYTES + text + data


def decode_record(whole: bytes) -> Record | None:
    """The record of these bytes, whose head is known to be whole; None where what follows is damaged."""
    _, text, _, check, _, _ = _HEAD.unpack_from(whole)
    body = memoryview(whole)[_HEAD.size :]
    if zlib.crc32(body) != check:
        return None
    try:
        told = _DECODER.decode(body[:text])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    arrays: dict[str, Array] = {}
    start = text
    for layout in told.arrays[:_MAX_ARRAYS]:
        if layout.dtype not in _DTYPES or any(n < 0 or n > _MAX_DATA for n in layout.shape) or len(layout.shape) > 4:
            return None
        count = math.prod(layout.shape)
        stop = start + count * np.dtype(layout.dtype).itemsize
        if stop > len(body):
            return None
        arrays[layout.name] = np.frombuffer(body[start:stop], layout.dtype).reshape(layout.shape)
        start = stop
    return Record(told.kind, told.fields, arrays)
