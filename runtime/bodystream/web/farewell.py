"""How a websocket is closed by the server."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection

__all__ = ["dismiss"]

_FAREWELL_S = 0.5


async def dismiss(socket: ServerConnection, code: int, reason: str) -> None:
    """Close a websocket; one whose client does not answer soon is cut off."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            # A close frame holds at most 123 bytes of reason.
            await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
    except TimeoutError:
        socket.transport.abort()
