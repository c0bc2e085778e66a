"""Results as bytes and back: what pages and other programs are sent, described in docs/stream-format.md."""

from bodystream.wire.envelope import Kind, Message, WireError, open_message, pack_message
from bodystream.wire.meshes import GraphLinks, Piece, Skeleton, WholeMesh
from bodystream.wire.motions import Device, Motion

__all__ = [
    "Device",
    "GraphLinks",
    "Kind",
    "Message",
    "Motion",
    "Piece",
    "Skeleton",
    "WholeMesh",
    "WireError",
    "open_message",
    "pack_message",
]
