"""OSC 1.0 packets read strictly after the specification, for tests of what is sent.

https://opensoundcontrol.stanford.edu/spec-1_0.html: sizes are multiples of 4, strings end with one to four zero bytes,
elements of a bundle lie within it. Nothing is forgiven. It shares no code with what is tested, nor with any library;
`by_oscpy` is a library's answer beside it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from oscpy import parser as oscpy_parser

__all__ = ["IMMEDIATELY", "OscElement", "by_oscpy", "decode", "encode_bundle", "encode_message"]

IMMEDIATELY = 1
"""The time tag `0x0000000000000001`."""


@dataclass(frozen=True)
class OscElement:
    """A message, and the time tag of the bundle around it."""

    address: str
    types: str
    arguments: tuple[Any, ...]
    time_tag: int | None


def decode(packet: bytes, time_tag: int | None = None) -> list[OscElement]:
    """All messages of a packet, those of bundles within bundles, too; ValueError where it breaks the specification."""
    if len(packet) % 4 or not packet:
        raise ValueError(f"a packet has a multiple of 4 bytes, got {len(packet)}")
    if packet[:1] == b"/":
        return [_message(packet, time_tag)]
    if packet[:8] != b"#bundle\0" or len(packet) < 16:
        raise ValueError(f"neither a message nor a bundle: {packet[:16]!r}")
    (tag,) = struct.unpack(">Q", packet[8:16])
    found, at = [], 16
    while at < len(packet):
        (size,) = struct.unpack(">i", packet[at : at + 4])
        if size <= 0 or size % 4 or at + 4 + size > len(packet):
            raise ValueError(f"an element of {size} bytes at {at} of {len(packet)}")
        found += decode(packet[at + 4 : at + 4 + size], tag)
        at += 4 + size
    return found


def by_oscpy(packet: bytes) -> list[OscElement]:
    """The messages as the library oscpy reads them; it does not tell a bundle's time."""
    read = oscpy_parser.read_packet(packet, encoding="ascii")
    return [OscElement(address.decode(), types.decode(), tuple(values), None) for address, types, values, _ in read]


def _message(packet: bytes, time_tag: int | None) -> OscElement:
    address, at = _string(packet, 0)
    types, at = _string(packet, at)
    if not types.startswith(","):
        raise ValueError(f"type tags begin with a comma, got {types!r}")
    arguments: list[Any] = []
    for tag in types[1:]:
        if tag == "s":
            value, at = _string(packet, at)
        elif tag in "if":
            (value,) = struct.unpack(f">{tag}", packet[at : at + 4])
            at += 4
        else:
            raise ValueError(f"type {tag!r} is none of those that are sent")
        arguments.append(value)
    if at != len(packet):
        raise ValueError(f"{len(packet) - at} bytes behind the arguments")
    return OscElement(address, types[1:], tuple(arguments), time_tag)


def _string(packet: bytes, at: int) -> tuple[str, int]:
    end = packet.index(b"\0", at)
    past = end + 4 - end % 4
    if packet[end:past] != b"\0" * (past - end):
        raise ValueError(f"a string is not filled up with zeros at {end}")
    return packet[at:end].decode("ascii"), past


def encode_message(address: str, types: str, *arguments: Any) -> bytes:
    """A message, of any type tags among `s`, `i`, `f`, `d`, `h`, `b`, `T`, `F`, `N`."""
    out = _padded(address) + _padded("," + types)
    for tag, value in zip([tag for tag in types if tag not in "TFN"], arguments, strict=True):
        if tag == "s":
            out += _padded(value)
        elif tag == "b":
            out += struct.pack(">i", len(value)) + value + b"\0" * (-len(value) % 4)
        else:
            out += struct.pack({"i": ">i", "f": ">f", "d": ">d", "h": ">q"}[tag], value)
    return out


def encode_bundle(*packets: bytes, time_tag: int = IMMEDIATELY) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", time_tag) + b"".join(struct.pack(">i", len(p)) + p for p in packets)


def _padded(text: str) -> bytes:
    raw = text.encode()
    return raw + b"\0" * (4 - len(raw) % 4)
