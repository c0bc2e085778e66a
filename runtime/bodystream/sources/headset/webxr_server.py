"""The network side of the WebXR source: a page and a websocket on one port, in a thread of its own.

Nothing that a client does raises an exception out of here: what it did is counted, reported and answered.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import importlib.resources
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bodystream.errors import SourceError
from bodystream.sources.headset.webxr_limits import CloseCode, SessionLimits, WireCounts
from bodystream.sources.headset.webxr_messages import MAX_MESSAGE_BYTES, ServerMessage, encode
from bodystream.sources.headset.webxr_session import HeadsetSession
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample
from bodystream.web.access import AccessPolicy
from bodystream.web.responses import text_response

__all__ = ["HeadsetServer"]

_TICK_S = 0.03
_GUESS_DELAY_S = 0.5
_MAX_CONNECTIONS = 16
_START_S = 10.0
_STOP_S = 0.7
_SEND_S = 2.0


class HeadsetServer:
    """Listens from the constructor until `stop`, and hands over the samples of the newest client.

    Args:
        host, port: to bind; port 0 takes a free one.
        context: of TLS, or None for plain http.
        policy: who may connect.
        deliver: takes each sample, in the server's thread; indices and times increase over all clients.
        report: takes a kind and a sentence for people, in the server's thread.
        on_client: called when a client took over, with whether another one had been there before.
        on_end: called when the active client said `end`.

    Attributes:
        port: that was bound.
        session: the active client's, or None.
        latest: the one that was active last.

    Raises:
        SourceError: the address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        policy: AccessPolicy,
        *,
        deliver: Callable[[HeadsetSample], None],
        report: Callable[[str, str], None],
        on_client: Callable[[bool], None],
        on_end: Callable[[], None],
        counts: WireCounts,
        limits: SessionLimits,
    ) -> None:
        self._context, self._policy, self._counts, self._limits = context, policy, counts, limits
        self._deliver_out, self._report, self._on_client, self._on_end = deliver, report, on_client, on_end
        self._page, self._page_headers = _load_page()
        self.port = port
        self.session: HeadsetSession | None = None
        self.latest: HeadsetSession | None = None
        self._socket: ServerConnection | None = None
        self._connections = 0
        self._clients = 0
        self._farewells: set[asyncio.Task] = set()
        self._next_index = 0
        self._last_t_ns: int | None = None
        self._idle_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(host, port), name="webxr-server", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S):
            self.stop()
            raise SourceError(f"the headset server did not start within {_START_S:g} s: the machine may be overloaded")
        if self._failure is not None:
            raise _bind_error(host, port, self._failure) from self._failure

    def stop(self) -> None:
        """Say goodbye to clients and end the thread; safe to call twice and from any thread, also its own."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):  # the loop ended meanwhile
                loop.call_soon_threadsafe(stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_S + 1.0)

    def _run(self, host: str, port: int) -> None:
        try:
            asyncio.run(self._main(host, port))
        except Exception as error:  # the thread's last line of defence: told to the user, never lost
            self._failure = error
            if self._started.is_set():
                self._report("server", f"the headset server ended by a fault of its own: {error!r}; start it again")
        finally:
            self._started.set()

    async def _main(self, host: str, port: int) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # A client that resets its connection in the middle of TLS is no fault of ours.
        self._loop.set_exception_handler(lambda _loop, context: _wire_log().debug("%s", context.get("message")))
        tls = {} if self._context is None else {"ssl": self._context, "ssl_handshake_timeout": 5.0}
        server = await serve(
            self._client,
            host,
            port,
            process_request=self._request,
            compression=None,  # costs latency, and a small message could unfold into a large one
            max_size=MAX_MESSAGE_BYTES,
            max_queue=64,
            open_timeout=5.0,
            close_timeout=0.5,
            ping_interval=None,  # the session's own pings align the clocks and notice a client that is gone
            server_header=None,
            logger=_wire_log(),
            **tls,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._started.set()
        idle = asyncio.create_task(self._idle())
        try:
            await self._stop.wait()
        finally:
            idle.cancel()
            await self._shut(server)

    async def _shut(self, server: Server) -> None:
        server.close()
        # Who does not answer the goodbye, or connected and asks for nothing (browsers do that ahead of need), is cut
        # off by the end of the loop.
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), _STOP_S)

    # Requests

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request for the page, or let a websocket through."""
        headers = request.headers
        refusal = self._policy.refusal(request.path, headers.get_all("Host"), headers.get_all("Origin"))
        path = request.path.partition("?")[0]  # urlsplit raises on some of what may stand here
        websocket = bool(headers.get_all("Upgrade"))
        if refusal is not None:
            self._counts.refused[refusal.kind] += 1
            self._report(f"refused {refusal.kind}", f"a request was refused ({refusal.kind}): {refusal.message}")
            if refusal.guess:
                await asyncio.sleep(_GUESS_DELAY_S)
            return text_response(refusal.status, refusal.message)
        if path == "/headset" and websocket:
            if self._connections >= _MAX_CONNECTIONS:
                self._counts.refused["busy"] += 1
                return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections: close other pages.")
            return None
        if path == "/" and not websocket:
            return text_response(HTTPStatus.OK, self._page, self._page_headers)
        self._counts.refused["path"] += 1
        return text_response(
            HTTPStatus.NOT_FOUND, "There is nothing here: the page is at /, the websocket at /headset."
        )

    # Clients

    async def _client(self, socket: ServerConnection) -> None:
        session = HeadsetSession(
            lambda sample: self._deliver(session, sample), self._report, self._counts, now_ns(), self._limits
        )
        self._connections += 1
        ticker = asyncio.create_task(self._tick(socket, session))
        entered = False
        try:
            while session.close is None:
                data = await socket.recv(decode=False)
                replies = session.receive(data, now_ns())
                if session.hello is not None and session.close is None and not entered:
                    entered = True  # once: who was replaced must not come back by its next message
                    self._take_over(socket, session)
                await _send(socket, replies)
            await socket.close(*session.close)
        except TimeoutError:
            socket.transport.abort()
            self._report("unread", f"a client was disconnected: it did not read for {_SEND_S:g} s")
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:
                self._counts.refused["oversize"] += 1
                self._report("oversize", f"a client was disconnected: its message had over {MAX_MESSAGE_BYTES} bytes")
        finally:
            ticker.cancel()
            self._connections -= 1
            session.disconnected()
            self._leave(session)

    async def _tick(self, socket: ServerConnection, session: HeadsetSession) -> None:
        try:
            while session.close is None:
                await asyncio.sleep(_TICK_S)
                await _send(socket, session.tick(now_ns()))
            await socket.close(*session.close)
        except ConnectionClosed:
            return  # the reading side sees it, too, and cleans up
        except TimeoutError:
            socket.transport.abort()
            self._report("unread", f"a client was disconnected: it did not read for {_SEND_S:g} s")

    def _take_over(self, socket: ServerConnection, session: HeadsetSession) -> None:
        """The newest client wins: most often it is the reloaded page of a headset whose old connection hangs."""
        earlier, earlier_socket = self.session, self._socket
        session.next_index = self._next_index
        self.session, self.latest, self._socket = session, session, socket
        self._clients += 1
        self._on_client(self._clients > 1)
        if earlier is None or earlier_socket is None:
            return
        self._report("replaced", "a second page took over from the first")
        task = asyncio.create_task(_dismiss(earlier_socket, earlier))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _leave(self, session: HeadsetSession) -> None:
        if session is not self.session:
            return
        self.session = self._socket = None
        if self._stop is not None and self._stop.is_set():
            return
        if session.ended:
            self._on_end()
        else:
            self._report("disconnected headset", "the headset's page is disconnected: waiting for it to come back")
        self._empty_sample()

    # Samples

    def _deliver(self, session: HeadsetSession, sample: HeadsetSample) -> None:
        if session is self.session:
            self._pass_on(sample)

    def _pass_on(self, sample: HeadsetSample) -> None:
        self._next_index = sample.index + 1
        if self._last_t_ns is not None and sample.t_ns <= self._last_t_ns:
            # The alignment of the clocks moves by fractions of a millisecond; time must not go back for that.
            sample = replace(sample, t_ns=self._last_t_ns + 1)
        self._last_t_ns = sample.t_ns
        self._deliver_out(sample)

    def _empty_sample(self) -> None:
        self._idle_ns = now_ns()
        self._pass_on(HeadsetSample(self._next_index, self._idle_ns, None))

    async def _idle(self) -> None:
        """Between two clients, samples without poses go on, so that whoever reads them notices at once."""
        while True:
            await asyncio.sleep(_TICK_S)
            due = now_ns() - self._idle_ns >= self._limits.idle_s * 1e9
            if self._clients and self.session is None and due:
                self._empty_sample()


async def _send(socket: ServerConnection, messages: list[ServerMessage]) -> None:
    for message in messages:
        async with asyncio.timeout(_SEND_S):
            await socket.send(encode(message))


async def _dismiss(socket: ServerConnection, session: HeadsetSession) -> None:
    """Tell a client that it was replaced."""
    text = "another page took over; open this one again to take over from it"
    # The session's own tasks close the connection once it is finished: nothing may be awaited before the farewell.
    farewell = session.finish("replaced", text, CloseCode.REPLACED)
    with suppress(ConnectionClosed, TimeoutError):
        await _send(socket, farewell)
    await socket.close(CloseCode.REPLACED, text)


def _load_page() -> tuple[str, dict[str, str]]:
    """The page, and the policy that lets its own script and style run and nothing else."""
    page = (importlib.resources.files("bodystream.sources.headset") / "webxr_page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        hashes[tag] = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, {"Content-Security-Policy": policy}


def _wire_log() -> logging.Logger:
    """Where the websocket library writes what clients did wrong; silent unless somebody adds a handler to it."""
    log = logging.getLogger("bodystream.webxr.wire")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return log


def _bind_error(host: str, port: int, error: BaseException) -> SourceError:
    where = f"the headset server cannot listen at {host} port {port}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return SourceError(f"{where}: another program does, perhaps an earlier start of this one; choose another port")
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return SourceError(f"{where}: it is not an address of this machine; 0.0.0.0 stands for all of them")
    if number in (errno.EACCES, errno.EPERM):
        return SourceError(f"{where}: not permitted; ports below 1024 are for administrators, choose another one")
    return SourceError(f"{where}: {error}; choose another address or port")
