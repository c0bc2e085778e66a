"""How arrays are written so that deflating finds more in them: planes, differences, low bytes before high ones."""

from __future__ import annotations

import struct

import numpy as np

from bodystream.types import Array
from bodystream.wire.envelope import WireError

__all__ = ["Reader", "octahedral", "padding", "planes_u8", "planes_u16", "unit_vectors"]


def padding(length: int) -> bytes:
    """Zeros up to the next multiple of four."""
    return bytes(-length % 4)


def planes_u8(values: Array) -> bytes:
    """(N, C) uint8: all of the first column, then of the next ones; each byte less the one before it, modulo 256."""
    return _steps(values, np.uint8).tobytes()


def planes_u16(values: Array) -> bytes:
    """(N, C) uint16, the same with differences modulo 65536, zigzag: 0, -1, 1, -2 ... are 0, 1, 2, 3 ...; all low
    bytes, then all high bytes."""
    step = _steps(values, np.uint16).view(np.int16)
    coded = ((step << 1) ^ (step >> 15)).astype("<u2", copy=False)
    return np.ascontiguousarray(coded.view(np.uint8).reshape(-1, 2).T).tobytes()


def _steps(values: Array, dtype: type[np.generic]) -> Array:
    """(C N,) differences, column by column, modulo the type's range."""
    flat = values.T.astype(dtype, order="C").reshape(-1)
    out = flat.copy()
    np.subtract(flat[1:], flat[:-1], out=out[1:])
    return out


def octahedral(normals: Array) -> Array:
    """(N, 2) int8 of (N, 3) unit vectors: the octahedron |x| + |y| + |z| = 1, its lower half folded outwards."""
    columns = np.ascontiguousarray(normals.T, np.float64)
    size = np.abs(columns)
    length = size[0] + size[1] + size[2]
    xy = columns[:2] / np.where(length > 0, length, 1.0)
    folded = np.copysign(1.0 - np.abs(xy[::-1]), xy + 0.0)  # of -0.0 the sign is plus, too
    return np.rint(np.where(columns[2] < 0, folded, xy) * 127.0).astype(np.int8).T


def unit_vectors(coded: Array) -> Array:
    """(N, 3) float32 of what `octahedral` made."""
    xy = np.maximum(coded.astype(np.float32) / 127.0, -1.0)
    z = 1.0 - np.abs(xy).sum(axis=1, keepdims=True)
    folded = (1.0 - np.abs(xy[:, ::-1])) * np.where(xy >= 0, 1.0, -1.0)
    vectors = np.concatenate([np.where(z < 0, folded, xy), z], axis=1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Reader:
    """Takes a payload apart from its beginning; every read is within bounds.

    Args:
        payload: of one message.
        what: it is, for messages.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload, self._what, self._at = payload, what, 0

    def fail(self, text: str) -> WireError:
        return WireError(f"a message of {self._what}: {text}")

    def numbers(self, layout: struct.Struct) -> tuple:
        return layout.unpack(self._take(layout.size))

    def array(self, dtype: str, *shape: int) -> Array:
        """A copy of an array as it stands; what pads it is passed over."""
        count = int(np.prod(shape, dtype=np.int64))
        kind = np.dtype(dtype)
        out = np.frombuffer(self._take(count * kind.itemsize), kind).reshape(shape).copy()
        self._take(-self._at % 4)
        return out

    def planes_u8(self, count: int, columns: int) -> Array:
        """(count, columns) uint8."""
        steps = np.frombuffer(self._take(count * columns), np.uint8)
        return np.cumsum(steps, dtype=np.uint8).reshape(columns, count).T

    def planes_u16(self, count: int, columns: int) -> Array:
        """(count, columns) uint16."""
        size = count * columns
        halves = np.frombuffer(self._take(2 * size), np.uint8).reshape(2, size).astype(np.uint16)
        coded = halves[0] | (halves[1] << 8)
        steps = ((coded >> 1) ^ -(coded & 1).astype(np.int16).view(np.uint16)).astype(np.uint16)
        return np.cumsum(steps, dtype=np.uint16).reshape(columns, count).T

    def text(self, length: int) -> bytes:
        return self._take(length)

    def end(self) -> None:
        """Nothing may be left but zeros up to the next multiple of four."""
        rest = self._payload[self._at :]
        if len(rest) > 3 or any(rest):
            raise self.fail(f"{len(rest)} bytes stand behind what it says it holds")

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._payload):
            raise self.fail(f"{end} bytes are wanted at least, got {len(self._payload)}")
        found = self._payload[self._at : end]
        self._at = end
        return found
