"""Who and what comes in at the viewer's port: requests, connections and messages."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from bodystream.sinks.viewer.client_messages import MAX_MESSAGE_BYTES, admit
from bodystream.web.access import AccessPolicy
from bodystream.web.responses import PRIVATE_HEADERS, text_response

__all__ = ["MAX_CLIENTS", "Gate", "ProcessRequest"]

MAX_CLIENTS = 8
"""Pages that are shown to at a time. Each holds some megabytes here, so that their number has to end somewhere."""

_MAX_CONNECTIONS = 64  # also those that have asked for nothing yet
_OPEN_S = 5.0  # for a request to arrive
_GUESS_DELAY_S = 0.5
_FULL_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
    "<title>bodystream</title></head><body><p>{count} pages show this already, and no more are let in: close one of "
    "them. This page tries again by itself.</p></body></html>"
)
# The page is one file with all that it needs in it. It reaches this server and nothing else.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; worker-src blob: data:; "
    "style-src 'unsafe-inline'; img-src blob: data:; font-src data:; connect-src {socket} blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

ProcessRequest = Callable[[ServerConnection, Request], Awaitable[Response | None] | Response | None]


class Gate:
    """Lets in whoever has the token, from this server's own page, and at most `MAX_CLIENTS` at a time.

    The page is asked for at `/?token=...`. The library's client opens its websocket at the page's address without the
    query, or at the one that the query's `websocket` names: so the answer leads on to the address that names it.

    Args:
        policy: who may ask.
        token: that the policy wants.
        subprotocol: what the websocket of a page of this version asks for.
        report: takes a sentence for people, in the server's thread, perhaps often the same.

    Attributes:
        refused: how many requests, connections and messages were turned down, by kind.
    """

    def __init__(self, policy: AccessPolicy, token: str, subprotocol: str, report: Callable[[str], None]) -> None:
        self._policy, self._token, self._subprotocol, self._report = policy, token, subprotocol, report
        self._page: ProcessRequest | None = None
        self._connections: set[ServerConnection] = set()
        self._clients: set[ServerConnection] = set()
        self.refused: Counter[str] = Counter()

    @property
    def client_count(self) -> int:
        """Websockets that were let in."""
        return len(self._clients)

    def options(self, page: ProcessRequest) -> dict[str, Any]:
        """For `websockets.asyncio.server.serve`, in place of the library's own.

        Args:
            page: answers a request for the page.
        """
        self._page = page
        return {
            "process_request": self._request,
            "create_connection": lambda *args, **options: _GatedConnection(self, *args, **options),
            "max_size": MAX_MESSAGE_BYTES,
            "compression": None,  # a small message could unfold into a large one
            "open_timeout": _OPEN_S,
            "server_header": None,
            "logger": _wire_log(),
        }

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request, or let a websocket through."""
        headers = request.headers
        hosts = headers.get_all("Host")
        refusal = self._policy.refusal(request.path, hosts, headers.get_all("Origin"))
        if refusal is not None:
            self.refused[refusal.kind] += 1
            if refusal.kind in ("host", "origin"):  # no mishap of the user's
                self._report(f"a page from another place tried to get in and was refused ({refusal.kind})")
            if refusal.guess:
                await asyncio.sleep(_GUESS_DELAY_S)
            return text_response(refusal.status, refusal.message)
        path, _, query = request.path.partition("?")
        upgrades = [value.lower() for value in headers.get_all("Upgrade")]
        if path != "/" or upgrades not in ([], ["websocket"]):
            self.refused["path"] += 1
            return text_response(HTTPStatus.NOT_FOUND, "There is nothing here: the page is at /.")
        full = len(self._clients) >= MAX_CLIENTS
        if upgrades:
            return self._websocket(connection, headers, full)
        if full:
            self.refused["busy"] += 1
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, _FULL_PAGE.format(count=MAX_CLIENTS))
        host = _host_and_port(hosts[0])
        socket = f"ws://{host}/?token={self._token}"
        if parse_qs(query).get("websocket") != [socket]:
            return text_response(HTTPStatus.SEE_OTHER, "", {"Location": f"/?token={self._token}&websocket={socket}"})
        return await self._serve_page(connection, headers, f"ws://{host}")

    def _websocket(self, connection: ServerConnection, headers: Headers, full: bool) -> Response | None:
        asked = [name.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for name in value.split(",")]
        if asked != [self._subprotocol]:
            self.refused["version"] += 1
            return text_response(HTTPStatus.BAD_REQUEST, "The page is of another version: load it anew.")
        if full:
            self.refused["busy"] += 1
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CLIENTS} pages are connected: close one.")
        self._clients.add(connection)
        return None

    async def _serve_page(self, connection: ServerConnection, headers: Headers, socket: str) -> Response | None:
        assert self._page is not None
        # Of the request only what the library needs: it stumbles over headers that come twice.
        packed = any("gzip" in value for value in headers.get_all("Accept-Encoding"))
        plain = Request("/", Headers({"Accept-Encoding": "gzip"} if packed else {}))
        response = self._page(connection, plain)
        if isinstance(response, Awaitable):
            response = await response
        if response is None:
            return text_response(HTTPStatus.NOT_FOUND, "There is no page.")
        for name, value in PRIVATE_HEADERS.items():
            response.headers[name] = value
        response.headers["Content-Security-Policy"] = _PAGE_POLICY.format(socket=socket)
        return response

    # Connections

    def opened(self, connection: ServerConnection) -> bool:
        """Whether one more connection may stay."""
        self._connections.add(connection)
        if len(self._connections) > _MAX_CONNECTIONS:
            self.refused["connections"] += 1
            return False
        return True

    def closed(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        self._clients.discard(connection)

    def message(self, data: bytes) -> bytes | None:
        """A client's message as it is passed on, or None."""
        admitted = admit(data)
        if admitted is None:
            self.refused["message"] += 1
        return admitted


class _GatedConnection(ServerConnection):
    """Tells the gate when it comes and goes, and gives the library those messages only that the gate lets through."""

    def __init__(self, gate: Gate, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stays = self._gate.opened(self)
        super().connection_made(transport)
        if not stays:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.closed(self)
        super().connection_lost(exc)

    async def recv(self, decode: bool | None = None) -> Any:
        while True:
            admitted = self._gate.message(await super().recv(decode=False))
            if admitted is not None:
                return admitted


def _host_and_port(host_header: str) -> str:
    """What a `Host` that the policy let pass says, and nothing that stands beside it."""
    parts = urlsplit(f"//{host_header}")
    name = parts.hostname or ""
    shown = f"[{name}]" if ":" in name else name
    try:
        port = parts.port
    except ValueError:
        port = None
    return shown if port is None else f"{shown}:{port}"


def _wire_log() -> logging.Logger:
    """Where the websocket library writes what clients did wrong; silent unless somebody adds a handler to it."""
    log = logging.getLogger("bodystream.viewer.wire")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return log
