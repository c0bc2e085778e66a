"""What every message has in common: a header of 32 bytes, and a payload that may be deflated."""

from __future__ import annotations

import enum
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from bodystream.errors import InputError

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_PAYLOAD_BYTES",
    "VERSION",
    "Kind",
    "Message",
    "WireError",
    "from_json",
    "open_message",
    "pack_message",
    "to_json",
]

MAGIC = b"BDST"
VERSION = 1
HEADER_BYTES = 32
MAX_PAYLOAD_BYTES = 64 << 20
"""Of a payload as it is unpacked: a whole mesh of a million vertices has 40 MB."""

_HEADER = struct.Struct("<4sBBHIIqII")
_DEFLATED = 1
_WORTH_DEFLATING = 256  # bytes; below it a header of zlib's own eats what is won
_LEVEL = 4  # pieces of surfaces are 1 % larger than by 6, in two thirds of the time


class WireError(InputError):
    """Bytes that are no message of this format; the message says where."""


class Kind(enum.IntEnum):
    """What a message is; numbers as docs/stream-format.md has them."""

    HELLO = 1
    SKELETON = 2
    PIECE = 3
    BODY = 4
    SURFACE = 5
    GRAPH = 6
    WHOLE = 7
    STATUS = 8
    PING = 9
    NOTICE = 10
    BYE = 11


@dataclass(frozen=True, slots=True)
class Message:
    """One message, its payload as it is unpacked.

    Attributes:
        kind: what it is.
        payload: see the classes that decode it.
        sequence: counts the messages of its kind that were made; gaps are those that were not sent here.
        skin: the skeleton that it belongs to, 0 = none.
        t_ns: host monotonic, of the sample or frame that it shows; of others when it was made.
    """

    kind: Kind
    payload: bytes
    sequence: int = 0
    skin: int = 0
    t_ns: int = 0


def pack_message(message: Message, *, deflate: bool = False) -> bytes:
    """The bytes of a message.

    Args:
        deflate: pack the payload by zlib, where that makes it smaller.

    Raises:
        WireError: a payload larger than readers take.
    """
    payload, flags = message.payload, 0
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a message of {message.kind.name} has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read: send "
            "the mesh in pieces"
        )
    unpacked = len(payload)
    if deflate and unpacked >= _WORTH_DEFLATING:
        packed = zlib.compress(payload, _LEVEL)
        if len(packed) < unpacked:
            payload, flags = packed, _DEFLATED
    counted = message.sequence & 0xFFFFFFFF
    header = _HEADER.pack(
        MAGIC, VERSION, message.kind, flags, counted, message.skin, message.t_ns, len(payload), unpacked
    )
    return header + payload


def open_message(data: bytes) -> Message:
    """Read one message, whole and with nothing behind it.

    Raises:
        WireError: it is none, is of another version, or is larger than `MAX_PAYLOAD_BYTES`.
    """
    if len(data) < HEADER_BYTES:
        raise WireError(f"a message has a header of {HEADER_BYTES} bytes, got {len(data)} bytes in all")
    magic, version, number, flags, sequence, skin, t_ns, size, unpacked = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise WireError(f"a message begins with {MAGIC.decode()}, got {bytes(magic)!r}: this is another format")
    if version != VERSION:
        raise WireError(
            f"a message of version {version} of the format, and this reader knows version {VERSION}: use the same "
            "bodystream on both sides"
        )
    try:
        kind = Kind(number)
    except ValueError as error:
        raise WireError(f"a message of the unknown kind {number}, wanted 1 to {max(Kind)}") from error
    if flags & ~_DEFLATED:
        raise WireError(f"a message of {kind.name} has unknown flags {flags:#x}")
    if size != len(data) - HEADER_BYTES:
        raise WireError(f"a message of {kind.name} says {size} bytes of payload, got {len(data) - HEADER_BYTES}")
    if unpacked > MAX_PAYLOAD_BYTES:
        raise WireError(f"a message of {kind.name} unpacks to {unpacked} bytes, at most {MAX_PAYLOAD_BYTES} are read")
    payload = bytes(data[HEADER_BYTES:])
    if flags & _DEFLATED:
        payload = _inflate(payload, unpacked, kind)
    if len(payload) != unpacked:
        raise WireError(f"a message of {kind.name} says {unpacked} unpacked bytes, got {len(payload)}")
    return Message(kind, payload, sequence, skin, t_ns)


def to_json(value: dict[str, Any]) -> bytes:
    """The payload of a message that is text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def from_json(message: Message) -> dict[str, Any]:
    """Raises: WireError: the payload is no JSON object."""
    try:
        value = json.loads(message.payload)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise WireError(f"a message of {message.kind.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError(f"a message of {message.kind.name} must be a JSON object, got {type(value).__name__}")
    return value


def _inflate(payload: bytes, unpacked: int, kind: Kind) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        # Never more than the header promised, so that a small message cannot unfold into a large one.
        out = unpacker.decompress(payload, unpacked + 1)
    except zlib.error as error:
        raise WireError(f"a message of {kind.name} cannot be unpacked: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise WireError(f"a message of {kind.name} does not unpack to the {unpacked} bytes that it says")
    return out
