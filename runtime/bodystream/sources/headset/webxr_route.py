"""The websocket of a headset's page: one client after the other, the newest wins, and its samples are handed over.

Nothing that a client does raises an exception out of here: what it did is counted, reported and answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from bodystream.sources.headset.webxr_limits import CloseCode, SessionLimits, WireCounts
from bodystream.sources.headset.webxr_messages import ServerMessage, encode
from bodystream.sources.headset.webxr_session import HeadsetSession
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample
from bodystream.web.farewell import dismiss
from bodystream.web.limits import MAX_MESSAGE_BYTES
from bodystream.web.server import PageServer

__all__ = ["PATH", "HeadsetRoute"]

PATH = "/headset"
_TICK_S = 0.03
_SEND_S = 2.0


class HeadsetRoute:
    """Answers at `PATH` of a server, from the constructor on, and hands over the samples of the newest client.

    Args:
        server: that it hangs in.
        deliver: takes each sample, in the server's thread; indices and times increase over all clients.
        report: takes a kind and a sentence for people, in the server's thread.
        on_client: called when a client took over, with whether another one had been there before.
        on_end: called when the active client said `end`.

    Attributes:
        limit: connections at a time.
        session: the active client's, or None.
        latest: the one that was active last.
    """

    limit = 16

    def __init__(
        self,
        server: PageServer,
        *,
        deliver: Callable[[HeadsetSample], None],
        report: Callable[[str, str], None],
        on_client: Callable[[bool], None],
        on_end: Callable[[], None],
        counts: WireCounts,
        limits: SessionLimits,
    ) -> None:
        self._server, self._counts, self._limits = server, counts, limits
        self._deliver_out, self._report, self._on_client, self._on_end = deliver, report, on_client, on_end
        self.session: HeadsetSession | None = None
        self.latest: HeadsetSession | None = None
        self._socket: ServerConnection | None = None
        self._open: set[ServerConnection] = set()
        self._closed = False
        self._clients = 0
        self._next_index = 0
        self._last_t_ns: int | None = None
        self._idle_ns = 0
        server.add_route(PATH, self)
        server.call(lambda: server.spawn(self._idle()))

    def close(self) -> None:
        """Answer no more, and say goodbye to who is there; from any thread."""
        self._server.remove_route(PATH)
        self._server.call(self._close)

    def _close(self) -> None:
        self._closed = True
        for socket in self._open:
            self._server.spawn(dismiss(socket, 1001, "the session on the computer has ended"))

    # Clients

    async def handle(self, socket: ServerConnection) -> None:
        """See `SocketRoute`."""
        session = HeadsetSession(
            lambda sample: self._deliver(session, sample), self._report, self._counts, now_ns(), self._limits
        )
        self._open.add(socket)
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
            await dismiss(socket, *session.close)
        except TimeoutError:
            socket.transport.abort()
            self._report("unread", f"a client was disconnected: it did not read for {_SEND_S:g} s")
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:
                self._counts.refused["oversize"] += 1
                self._report("oversize", f"a client was disconnected: its message had over {MAX_MESSAGE_BYTES} bytes")
        finally:
            ticker.cancel()
            self._open.discard(socket)
            session.disconnected()
            self._leave(session)

    async def _tick(self, socket: ServerConnection, session: HeadsetSession) -> None:
        try:
            while session.close is None:
                await asyncio.sleep(_TICK_S)
                await _send(socket, session.tick(now_ns()))
            await dismiss(socket, *session.close)
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
        self._server.spawn(_replace(earlier_socket, earlier))

    def _leave(self, session: HeadsetSession) -> None:
        if session is not self.session:
            return
        self.session = self._socket = None
        if self._closed or self._server.stopping:
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
        while not self._closed:
            await asyncio.sleep(_TICK_S)
            due = now_ns() - self._idle_ns >= self._limits.idle_s * 1e9
            if self._clients and self.session is None and due:
                self._empty_sample()


async def _send(socket: ServerConnection, messages: list[ServerMessage]) -> None:
    for message in messages:
        async with asyncio.timeout(_SEND_S):
            await socket.send(encode(message))


async def _replace(socket: ServerConnection, session: HeadsetSession) -> None:
    """Tell a client that it was replaced."""
    text = "another page took over; open this one again to take over from it"
    # The session's own tasks close the connection once it is finished: nothing may be awaited before the farewell.
    farewell = session.finish("replaced", text, CloseCode.REPLACED)
    with suppress(ConnectionClosed, TimeoutError):
        await _send(socket, farewell)
    await dismiss(socket, CloseCode.REPLACED, text)
