"""A client of the stream in Python for tests and benchmarks: what a page does, over a real websocket."""

from __future__ import annotations

import json
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from bodystream.wire.envelope import Kind, Message, from_json, open_message

__all__ = ["StreamClient"]


class StreamClient:
    """Connects at a page's address; answers pings while it reads.

    Attributes:
        received: bytes so far. got: messages by kind, all of them.
    """

    def __init__(self, url: str, *, path: str = "stream", **options: Any) -> None:
        parts = urlsplit(url)
        address = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/{path}"
        if parts.query:
            address += f"?{parts.query}"
        if parts.scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            options.setdefault("ssl", context)
        self.socket: ClientConnection = connect(address, compression=None, close_timeout=1, max_size=None, **options)
        self.received = 0
        self.got: dict[Kind, list[Message]] = {}

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def enter(self, **wishes: Any) -> StreamClient:
        """Say hello and what is wanted."""
        self.say(type="hello", version=1, name="test")
        self.say(type="subscribe", **(wishes or {"body": True}))
        return self

    def read(self, timeout_s: float = 5.0) -> Message:
        data = self.socket.recv(timeout_s)
        assert isinstance(data, bytes)
        self.received += len(data)
        message = open_message(data)
        self.got.setdefault(message.kind, []).append(message)
        if message.kind is Kind.PING:
            self.say(type="pong", id=from_json(message)["id"], t_ms=time.monotonic_ns() * 1e-6)
        return message

    def until(self, kind: Kind, timeout_s: float = 5.0) -> Message:
        """Read on to the next message of a kind."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            message = self.read(left)
            if message.kind is kind:
                return message
        raise TimeoutError(f"no {kind.name} within {timeout_s:g} s")

    def notice(self, timeout_s: float = 5.0) -> dict[str, Any]:
        return from_json(self.until(Kind.NOTICE, timeout_s))

    def close_code(self, timeout_s: float = 5.0) -> int | None:
        """Read on until the server closes; the code that it gave."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                self.socket.recv(max(0.01, end - time.monotonic()))
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else closed.rcvd.code
        raise TimeoutError("the server did not close the connection")

    def close(self) -> None:
        self.socket.close()
