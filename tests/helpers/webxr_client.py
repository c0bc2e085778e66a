"""A client in Python for the tests of the headset server: what the page does, over a real websocket."""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

from bodystream.sources.headset.webxr_messages import (
    PROTOCOL_VERSION,
    ErrorMessage,
    HandPose,
    Hello,
    Ping,
    Pong,
    PoseMessage,
    RigidPose,
    ServerMessage,
    Welcome,
    decode_server,
    encode,
)

HEAD = RigidPose((0.1, 1.6, -0.2), (0.0, 0.0, 0.0, 1.0))
LEFT = HandPose((-0.3, 1.1, -0.3), (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5)), kind="grip")
RIGHT = HandPose((0.3, 1.0, -0.3), (0.6, 0.0, 0.0, 0.8), kind="hand-wrist")


def trusting_nobody() -> ssl.SSLContext:
    """TLS whose certificate is not checked, as after the browser's warning."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """Speaks to the server at a page's address; its clock is the host's, shifted by `clock_offset_ms`."""

    def __init__(self, url: str, *, clock_offset_ms: float = 5000.0, **options: Any) -> None:
        parts = urlsplit(url)
        address = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/headset"
        if parts.query:
            address += f"?{parts.query}"
        if parts.scheme == "https":
            context = trusting_nobody()
            # The library's thread reads while this one writes, and OpenSSL allows no two threads in one connection:
            # the tickets that a server of TLS 1.3 sends first made the request vanish once in two hundred times.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            options.setdefault("ssl", context)
        self.clock_offset_ms = clock_offset_ms
        self.socket: ClientConnection = connect(address, compression=None, close_timeout=1, **options)
        self.seq = 0

    def now_ms(self) -> float:
        return time.monotonic_ns() * 1e-6 + self.clock_offset_ms

    def send(self, message: Any) -> None:
        self.socket.send(encode(message))

    def read(self, timeout_s: float = 5.0) -> ServerMessage:
        return decode_server(self.socket.recv(timeout_s))

    def answer(self, until: type, timeout_s: float = 5.0) -> Any:
        """Answer pings until a message of the type `until` comes, and return it."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            message = self.read(left)
            if isinstance(message, Ping):
                self.send(Pong(message.id, self.now_ms()))
            if isinstance(message, until):
                return message
        raise TimeoutError(f"no {until.__name__} within {timeout_s:g} s")

    def error(self, timeout_s: float = 5.0) -> ErrorMessage:
        return self.answer(ErrorMessage, timeout_s)

    def enter(self, space: Any = "local-floor") -> Client:
        """Say hello and wait for the welcome."""
        self.send(Hello(PROTOCOL_VERSION, space, "test", 90.0))
        self.answer(Welcome)
        return self

    def pose(self, head: RigidPose | None = HEAD, left: HandPose | None = None, right: HandPose | None = None) -> None:
        self.send(PoseMessage(self.seq, self.now_ms(), head, left, right))
        self.seq += 1

    def close_code(self, timeout_s: float = 5.0) -> int | None:
        """Read on until the server closes; the code that it gave."""
        end = time.monotonic() + timeout_s
        from websockets.exceptions import ConnectionClosed

        while time.monotonic() < end:
            try:
                self.socket.recv(max(0.01, end - time.monotonic()))
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else closed.rcvd.code
        raise TimeoutError("the server did not close the connection")

    def vanish(self) -> None:
        """Cut the connection without a goodbye."""
        # Closing it would leave the thread that reads with a descriptor's number, which the next connection is given:
        # it would read on from that one.
        self.socket.socket.shutdown(socket.SHUT_RD)
        self.socket.recv_events_thread.join(5)

    def close(self) -> None:
        self.socket.close()
