"""What a client of the stream may say: JSON objects, described in docs/stream-format.md."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bodystream.errors import InputError
from bodystream.web.limits import MAX_MESSAGE_BYTES

__all__ = ["Calibrate", "ClientMessage", "Hello", "Pong", "Record", "Reset", "Subscribe", "decode_client"]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message: the version of the format, and a name for people."""

    version: int
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe"):
    """What is wanted from now on, and at most how many motions a second."""

    body: bool = False
    surface: bool = False
    graph: bool = False
    whole: bool = False
    rate_hz: Annotated[float, msgspec.Meta(ge=0.01, le=1000)] = 120.0


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """The answer to a ping: `performance.now()`."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    t_ms: Annotated[float, msgspec.Meta(gt=-1e13, lt=1e13)]


class Record(msgspec.Struct, frozen=True, tag="record"):
    """Begin or end a recording."""

    on: bool


class Calibrate(msgspec.Struct, frozen=True, tag="calibrate"):
    """Measure the person, or how high the floor is."""

    pose: Literal["auto", "T", "I", "floor"] = "auto"


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """Forget the past."""


ClientMessage = Hello | Subscribe | Pong | Record | Calibrate | Reset

_decoder = msgspec.json.Decoder(ClientMessage)


def decode_client(data: bytes) -> ClientMessage:
    """Raises: InputError: it is no message of a client."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise InputError(f"the message has {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        return _decoder.decode(data)
    # A ValidationError is a DecodeError; deep nesting ends the parser with a RecursionError.
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # A part of the sender's own text may be in the message: it goes back to the sender.
        raise InputError(f"not a message of this format: {str(error)[:200]}") from error
