"""The one server: the page, websockets, health and metrics on one port, in a thread of its own.

Nothing that a client does raises an exception out of here: what it did is counted, reported and answered.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bodystream.errors import SourceError
from bodystream.web.access import AccessPolicy, is_loopback, make_token, page_url
from bodystream.web.addresses import bind_error, reachable
from bodystream.web.certificate import Certificate, own_certificate, server_context, user_certificate
from bodystream.web.connections import Connections, wire_log
from bodystream.web.farewell import dismiss
from bodystream.web.invitation import Invitation, invitation_of, qr_text
from bodystream.web.limits import MAX_MESSAGE_BYTES
from bodystream.web.metrics import CONTENT_TYPE, Metric, metrics_text
from bodystream.web.options import ServerOptions
from bodystream.web.pages import Pages
from bodystream.web.pairing import Pairing
from bodystream.web.pairing_route import PairingRoute
from bodystream.web.responses import text_response

__all__ = ["PageServer", "SocketRoute"]

_GUESS_DELAY_S = 0.5
_ANSWER_S = 30.0  # for the page to arrive, on a slow network
_START_S = 10.0
_STOP_S = 0.7


class SocketRoute(Protocol):
    """What answers websockets at one path.

    Attributes:
        limit: connections at a time.
    """

    limit: int

    async def handle(self, socket: ServerConnection, /) -> None:
        """One client, from its connection to its end; runs in the server's thread."""
        ...


class PageServer:
    """Listens from the constructor until `stop`.

    Args:
        options: where, and who may come in.
        report: takes a kind and a sentence for people, in the server's thread; the same kind may come often.
        status: takes what a person has to know or do, such as the address, from any thread.
        name: of the thread.
        pages: what `/` and the files beside it are; None takes the package's.

    Attributes:
        options: as given, with the token that was made.
        port: that was bound.
        refused: requests that were turned down, by `host`, `origin`, `token`, `path` and `busy`.
        fingerprint: SHA-256 of the certificate as browsers show it; None without TLS.
        urls: of the page, with the token, at each address of this machine.

    Raises:
        ConfigurationError: an option cannot be used.
        MissingDependencyError: `cryptography` is not installed and no certificate was given.
        SourceError: the address cannot be bound.
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        report: Callable[[str, str], None],
        status: Callable[[str], None],
        name: str = "page-server",
        pages: Pages | None = None,
    ) -> None:
        host = options.host
        self._token = make_token() if options.token is None and not is_loopback(host) else options.token
        self.options, self._report, self._status = options, report, status
        self._pairing = Pairing()
        scheme = "https" if options.tls else "http"
        self._policy = AccessPolicy(
            host, self._token, scheme, options.origins, lambda token: self._pairing.accepts(token, time.monotonic_ns())
        )
        self._certificate = _certificate(options) if options.tls else None
        self.fingerprint = None if self._certificate is None else self._certificate.fingerprint
        self._context = None if self._certificate is None else server_context(self._certificate)
        self._pages = Pages() if pages is None else pages
        self.refused: Counter[str] = Counter()
        self._routes: dict[str, SocketRoute] = {}
        self._open: Counter[str] = Counter()
        if self._policy.needs_token:
            self._routes["/pair"] = PairingRoute(self._pairing, self._tell_code, _GUESS_DELAY_S)
        self._metrics: list[Callable[[], Iterable[Metric]]] = []
        self._health: list[Callable[[], Mapping[str, Any]]] = []
        self.port = options.port
        self._connections = Connections()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S):
            self.stop()
            raise SourceError(f"the server did not start within {_START_S:g} s: the machine may be overloaded")
        if self._failure is not None:
            raise bind_error(host, options.port, self._failure) from self._failure
        self.urls = [page_url(scheme, each, self.port, self._token) for each in reachable(host)]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def stopping(self) -> bool:
        """Whether the server says goodbye: clients do not leave then, they are left."""
        return self._stop is not None and self._stop.is_set()

    @property
    def invitation(self) -> Invitation | None:
        """The page's address and its QR code; None where only this machine can open it."""
        return None if is_loopback(self.options.host) else invitation_of(self.url)

    def announce(self, where: str, only_here: str) -> None:
        """Tell a person where the page is.

        Args:
            where: to open it, as `in the headset's browser`.
            only_here: how to let others in, where only this machine can.
        """
        here = is_loopback(self.options.host)
        text = f"open {' or '.join(self.urls)} {where}"
        self._status(f"{text} (this machine only; {only_here})" if here else text)
        picture = "" if here else qr_text(self.url)
        if picture:
            self._status(picture)
        if self._policy.needs_token:
            code, _ = self._pairing.code(time.monotonic_ns())
            self._tell_code(code)
        if self._certificate is None:
            return
        if self._certificate.own:
            self._status(f"its certificate is our own, so the browser warns; SHA-256 {self._certificate.fingerprint}")
        if self._certificate.note:
            self._status(self._certificate.note)

    # What others hang in; from any thread

    def add_route(self, path: str, route: SocketRoute) -> None:
        """Answer websockets at `path` from now on."""
        self._routes[path] = route

    def remove_route(self, path: str) -> None:
        """Answer them no more; connections stay until their route ends them."""
        self._routes.pop(path, None)

    def add_metrics(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        """What `/metrics` asks, in the server's thread."""
        self._metrics.append(metrics)

    def add_health(self, health: Callable[[], Mapping[str, Any]]) -> None:
        """What `/health` asks, in the server's thread. Everybody may see it."""
        self._health.append(health)

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call something soon in the server's thread; nothing happens once it has ended."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop ended meanwhile
                loop.call_soon_threadsafe(function, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the server's thread until it is done or the server stops; called from that thread."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Say goodbye to clients and end the thread; safe to call twice and from any thread, also its own."""
        stop = self._stop
        if stop is not None:
            self.call(stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_S + 1.0)

    # The server's thread

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # the thread's last line of defence: told to the user, never lost
            self._failure = error
            if self._started.is_set():
                self._report("server", f"the server ended by a fault of its own: {error!r}; start it again")
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # A client that resets its connection in the middle of TLS is no fault of ours.
        self._loop.set_exception_handler(lambda _loop, context: wire_log().debug("%s", context.get("message")))
        tls = {} if self._context is None else {"ssl": self._context, "ssl_handshake_timeout": 5.0}
        connect: Any = self._connections.connect  # a function, where the library's types want a class
        server = await serve(
            self._client,
            self.options.host,
            self.port,
            process_request=self._request,
            create_connection=connect,
            compression=None,  # costs latency, and a small message could unfold into a large one
            max_size=MAX_MESSAGE_BYTES,
            max_queue=64,
            open_timeout=_ANSWER_S,
            close_timeout=_ANSWER_S,
            ping_interval=None,  # routes have pings of their own, which align the clocks, too
            server_header=None,
            backlog=512,
            logger=wire_log(),
            **tls,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._shut(server)

    async def _shut(self, server: Server) -> None:
        server.close()
        # Who does not answer the goodbye, or connected and asks for nothing (browsers do that ahead of need), is cut
        # off.
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), _STOP_S)
        self._connections.abort()

    def _tell_code(self, code: str) -> None:
        self._status(
            "or open the address without what stands behind the question mark, and type the code "
            f"{code[:3]} {code[3:]} (good for five minutes, for one device)"
        )

    async def _request(self, _: ServerConnection, request: Request) -> Response | None:
        """Answer a request for a file, or let a websocket through."""
        headers = request.headers
        path = request.path.partition("?")[0]  # urlsplit raises on some of what may stand here
        websocket = bool(headers.get_all("Upgrade"))
        refusal = self._policy.refusal(
            request.path,
            headers.get_all("Host"),
            headers.get_all("Origin"),
            authorizations=headers.get_all("Authorization"),
            public=path == "/pair" if websocket else path != "/metrics",
        )
        if refusal is not None:
            self.refused[refusal.kind] += 1
            self._report(f"refused {refusal.kind}", f"a request was refused ({refusal.kind}): {refusal.message}")
            if refusal.guess:
                await asyncio.sleep(_GUESS_DELAY_S)
            return text_response(refusal.status, refusal.message)
        if websocket:
            return self._admit(path)
        file = self._pages.find(path)
        if file is not None:
            return self._pages.answer(file, headers.get_all("Accept-Encoding"))
        if path == "/health":
            return text_response(HTTPStatus.OK, self._health_text(), {"Content-Type": "application/json"})
        if path == "/metrics":
            text = metrics_text(metric for give in (self._own_metrics, *self._metrics) for metric in give())
            return text_response(HTTPStatus.OK, text, {"Content-Type": CONTENT_TYPE})
        if path == "/favicon.ico":  # browsers ask for it unasked
            return text_response(HTTPStatus.NOT_FOUND, "")
        return self._nothing_there()

    def _admit(self, path: str) -> Response | None:
        """Let a websocket through, where there is a route that has a place left."""
        route = self._routes.get(path)
        if route is None:
            return self._nothing_there()
        if self._open[path] >= route.limit:
            self.refused["busy"] += 1
            text = f"{route.limit} are connected, and no more are let in: close other pages, or come back later."
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "5"})
        return None

    def _nothing_there(self) -> Response:
        self.refused["path"] += 1
        return text_response(HTTPStatus.NOT_FOUND, "There is nothing here: the page is at /.")

    async def _client(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path.partition("?")[0]
        route = self._routes.get(path)
        if route is None or self._open[path] >= route.limit:  # it came and went, or filled up, meanwhile
            await dismiss(socket, 1013, "try again later")
            return
        self._open[path] += 1
        try:
            await route.handle(socket)
        except ConnectionClosed:
            pass
        finally:
            self._open[path] -= 1

    def _health_text(self) -> str:
        health: dict[str, Any] = {
            "status": "ok",
            "token_needed": self._policy.needs_token,
            "routes": sorted(self._routes),
            "uptime_s": round(time.monotonic() - self._began_s, 1),
        }
        for give in self._health:
            health.update(give())
        return json.dumps(health)

    def _own_metrics(self) -> Iterable[Metric]:
        yield Metric("uptime_seconds", "gauge", "Since the server began.", time.monotonic() - self._began_s)
        yield Metric("connections", "gauge", "Open connections of any kind.", len(self._connections.open))
        for path, count in sorted(self._open.items()):
            yield Metric("websockets", "gauge", "Open websockets by their path.", count, {"path": path})
        for kind, count in sorted(self.refused.items()):
            text = "Requests that were turned down, by reason."
            yield Metric("refused_requests_total", "counter", text, count, {"reason": kind})
        many = self._connections.refused
        yield Metric("refused_connections_total", "counter", "Connections above the most that are held.", many)


def _certificate(options: ServerOptions) -> Certificate:
    if options.certificate is None:
        return own_certificate(options.configuration)
    key = None if options.key is None else Path(options.key).expanduser()
    return user_certificate(Path(options.certificate).expanduser(), key)
