"""A client of the viewer that is no browser, for the tests of what is let in: it says what a browser would, or less."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import viser
from websockets.sync.client import ClientConnection, connect

__all__ = ["CAMERA", "connected", "get", "packed"]

CAMERA: dict[str, Any] = {
    "type": "ViewerCameraMessage", "wxyz": [1, 0, 0, 0], "position": [0, 0, 0], "fov": 1.0, "near": 0.1, "far": 100,
    "image_height": 100, "image_width": 100, "look_at": [0, 0, 1], "up_direction": [0, 1, 0],
}  # fmt: skip


def packed(message: object) -> bytes:
    return msgspec.msgpack.encode(message)


def get(url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to one request, redirections not followed; `headers` replace those of a browser."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.putrequest("GET", f"{parts.path}?{parts.query}", skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": parts.netloc, **(headers or {})}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


@contextmanager
def connected(
    url: str,
    origin: str | None = "own",
    headers: Mapping[str, str] | None = None,
    protocol: str = f"viser-v{viser.__version__}",
) -> Iterator[ClientConnection]:
    """A websocket to the page's address, with the page's own origin unless another is given."""
    own = "http://" + urlsplit(url).netloc
    with connect(
        url.replace("http://", "ws://", 1),
        origin=own if origin == "own" else origin,  # type: ignore[arg-type]
        additional_headers=headers,
        subprotocols=[protocol],  # type: ignore[list-item]
        max_size=None,
        proxy=None,
        ping_interval=None,
        close_timeout=0.5,
        max_queue=None,
    ) as client:
        yield client
