"""All connections to a server, also those that ask for nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from websockets.asyncio.server import ServerConnection

__all__ = ["Connections", "wire_log"]

_MAX_CONNECTIONS = 640
_REQUEST_S = 5.0
_SEND_BUFFER = 1 << 17


class Connections:
    """Counts connections and ends those that are too many or do not ask for anything soon.

    Attributes:
        open: all that there are.
        refused: those that were too many.
    """

    def __init__(self) -> None:
        self.open: set[ServerConnection] = set()
        self.refused = 0

    def connect(self, *args: Any, **options: Any) -> ServerConnection:
        """For `websockets.asyncio.server.serve`, in the place of its own connections."""
        return _Connection(self, *args, **options)

    def opened(self, connection: ServerConnection) -> bool:
        """Whether one more connection may stay."""
        self.open.add(connection)
        if len(self.open) <= _MAX_CONNECTIONS:
            return True
        self.refused += 1
        return False

    def abort(self) -> None:
        """Cut off all that are left."""
        for connection in list(self.open):
            connection.transport.abort()


class _Connection(ServerConnection):
    """Is counted, and has to ask for something soon."""

    def __init__(self, owner: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._owner = owner
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stays = self._owner.opened(self)
        super().connection_made(transport)
        # What the system keeps for a slow client is old before it arrives: a tenth of a second of a slow network.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if stays:
            self._watch = self.loop.call_later(_REQUEST_S, self._expect_request)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._owner.open.discard(self)
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        if self.request is None:
            self.transport.abort()


def wire_log() -> logging.Logger:
    """Where the websocket library writes what clients did wrong; silent unless somebody adds a handler to it."""
    log = logging.getLogger("bodystream.web.wire")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return log
