"""Reads OSC 1.0 packets that come from anybody: messages, and bundles of them.

A bundle's time tag is not waited for: who sends poses means now, and a sender whose clock is ahead would hold up all
others. python-osc, by which messages are sent, is not used here: a malformed datagram can keep it busy
without end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

__all__ = ["OscMessage", "OscPacket", "read_osc"]

_BUNDLE = b"#bundle\0"
_DEEPEST = 8
"""Bundles within bundles; senders of poses need one."""
_SIZES = {"i": ">i", "f": ">f", "h": ">q", "d": ">d", "t": ">Q", "c": ">I", "r": ">I", "m": ">I"}
_CONSTANTS: dict[str, Any] = {"T": True, "F": False, "N": None, "I": float("inf")}


@dataclass(frozen=True, slots=True)
class OscMessage:
    """Attributes:
    address: as `/VMC/Ext/OK`.
    types: the type tags, without the comma and without the brackets of arrays.
    arguments: one of each tag.
    """

    address: str
    types: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class OscPacket:
    """Attributes:
    messages: in their order.
    problem: what is wrong with the first part that could not be read, or empty.
    """

    messages: tuple[OscMessage, ...]
    problem: str = ""


def read_osc(packet: bytes) -> OscPacket:
    """The messages of a datagram; of a damaged one those that are whole. Never raises."""
    found: list[OscMessage] = []
    problems: list[str] = []
    _read(packet, 0, found, problems)
    return OscPacket(tuple(found), problems[0] if problems else "")


def _read(packet: bytes, depth: int, found: list[OscMessage], problems: list[str]) -> None:
    if packet[:1] == b"/":
        try:
            found.append(_message(packet))
        except (ValueError, struct.error) as error:
            problems.append(f"a message that cannot be read ({error})")
    elif packet[:8] == _BUNDLE and len(packet) >= 16:
        if depth == _DEEPEST:
            problems.append(f"bundles that are {_DEEPEST} deep")
            return
        at = 16
        while at < len(packet):
            size = int.from_bytes(packet[at : at + 4], "big", signed=True)
            if not 0 < size <= len(packet) - at - 4:
                problems.append(f"an element of {size} bytes in a bundle with {max(0, len(packet) - at - 4)} left")
                return
            _read(packet[at + 4 : at + 4 + size], depth + 1, found, problems)
            at += 4 + size
    else:
        problems.append("neither a message nor a bundle")


def _message(packet: bytes) -> OscMessage:
    address, at = _string(packet, 0)
    if at >= len(packet):  # older senders leave the type tags away where there are no arguments
        return OscMessage(address, "", ())
    tags, at = _string(packet, at)
    if tags[:1] != ",":
        raise ValueError("without type tags")
    types, arguments = tags[1:].replace("[", "").replace("]", ""), []
    for tag in types:
        if tag in _SIZES:
            layout = _SIZES[tag]
            arguments.append(struct.unpack_from(layout, packet, at)[0])
            at += struct.calcsize(layout)
        elif tag in "sS":
            value, at = _string(packet, at)
            arguments.append(value)
        elif tag == "b":
            (size,) = struct.unpack_from(">i", packet, at)
            if not 0 <= size <= len(packet) - at - 4:
                raise ValueError(f"a blob of {size} bytes")
            arguments.append(packet[at + 4 : at + 4 + size])
            at += 4 + size + -size % 4
        elif tag in _CONSTANTS:
            arguments.append(_CONSTANTS[tag])
        else:
            raise ValueError(f"an argument of the unknown type {tag!r}")
    return OscMessage(address, types, tuple(arguments))


def _string(packet: bytes, at: int) -> tuple[str, int]:
    end = packet.find(b"\0", at)
    if end < 0:
        raise ValueError("a string without an end")
    return packet[at:end].decode("utf-8", "replace"), end + 4 - end % 4
