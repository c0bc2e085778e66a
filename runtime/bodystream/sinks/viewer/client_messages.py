"""What a page of the viewer may say to the server: where its camera is, and which control was used."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["MAX_MESSAGE_BYTES", "TYPES_ALLOWED", "admit"]

MAX_MESSAGE_BYTES = 4096
"""A camera takes about 300 bytes."""

_Uuid = Annotated[str, msgspec.Meta(max_length=64)]
_Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]  # of a NaN neither is true
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=65536)]
_Vector = tuple[_Number, _Number, _Number]


class _Camera(msgspec.Struct, tag="ViewerCameraMessage", tag_field="type"):
    wxyz: tuple[_Number, _Number, _Number, _Number]
    position: _Vector
    fov: _Number
    near: _Number
    far: _Number
    image_height: _Pixels
    image_width: _Pixels
    look_at: _Vector
    up_direction: _Vector


class _Control(msgspec.Struct, tag="GuiUpdateMessage", tag_field="type"):
    """A button pressed or a checkbox changed. Other properties of a control than its value are the server's."""

    uuid: _Uuid
    updates: dict[Literal["value"], bool]


TYPES_ALLOWED = frozenset({"ViewerCameraMessage", "GuiUpdateMessage"})
"""Names of the messages that are let through."""

_decoder = msgspec.msgpack.Decoder(_Camera | _Control)
_encoder = msgspec.msgpack.Encoder()


def admit(data: bytes) -> bytes | None:
    """The message as it is passed on, of its known members alone; None for one that is not let through."""
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _encoder.encode(message)
