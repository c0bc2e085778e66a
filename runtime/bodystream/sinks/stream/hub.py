"""The websocket of results, for any number of clients: each is sent the newest that it asked for and can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from bodystream.errors import BodystreamError, InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.stream import client_messages as said
from bodystream.sinks.stream.client import Client, StreamLimits
from bodystream.sinks.stream.subject import Figures, Subject, Update
from bodystream.timing import now_ns
from bodystream.web.farewell import dismiss
from bodystream.web.metrics import Metric
from bodystream.web.server import PageServer
from bodystream.wire.envelope import VERSION, Kind, Message, pack_message, to_json
from bodystream.wire.motions import FLAGS

__all__ = ["PATH", "StreamHub", "StreamLimits"]

PATH = "/stream"
_TICK_S = 0.03


@dataclass(slots=True)
class _Counts:
    clients: int = 0
    refused: int = 0
    let_go: int = 0
    bytes: int = 0  # of clients that have gone


class StreamHub:
    """Answers at `PATH` of a server; results are handed over by `publish`, from any thread.

    Args:
        server: that it hangs in.
        limits: of clients.
        controls: what clients may ask for, by `record`, `calibrate` and `reset`: called on a thread of their own with
            the message, they return what to tell the client and raise a `BodystreamError` for what cannot be.
        recording, calibration: what the status says of them.
        report: takes a kind and a sentence for people, in the server's thread.

    Attributes:
        limit: clients at a time.
    """

    def __init__(
        self,
        server: PageServer,
        *,
        limits: StreamLimits | None = None,
        bodies: bool = False,
        surfaces: bool = False,
        controls: Mapping[str, Callable[[Any], str]] | None = None,
        recording: Callable[[], Mapping[str, Any]] | None = None,
        calibration: Callable[[], Mapping[str, Any] | None] | None = None,
        report: Callable[[str, str], None] | None = None,
    ) -> None:
        self._server, self._limits = server, StreamLimits() if limits is None else limits
        self._controls = {} if controls is None else dict(controls)
        self._recording, self._calibration = recording, calibration
        self._report = report or (lambda _kind, _text: None)
        self._offers = {"body": bodies, "surface": surfaces}
        self._subjects = {"body": Subject(), "surface": Subject()}
        self._clients: set[Client] = set()
        self._counts = _Counts()
        self._closed = False
        self._status_ns = 0
        self._rates_hz: dict[str, float] = {}
        self._hands = ThreadPoolExecutor(1, "stream-controls")
        self.limit = self._limits.clients
        server.add_route(PATH, self)
        server.add_metrics(self._metrics)
        server.add_health(lambda: {"bodies": bodies, "surfaces": surfaces, "clients": len(self._clients)})
        server.call(lambda: server.spawn(self._ticks()))

    @property
    def client_count(self) -> int:
        return len(self._clients)

    def wants(self, what: str) -> bool:
        """Whether any client asked for `body`, `surface`, `graph` or `whole`: else a pipeline need not make it."""
        return self.rate_hz(what) > 0

    def rate_hz(self, what: str) -> float:
        """Of all who asked for it the highest rate, as far as the limits go [1/s]; 0 where nobody did."""
        return self._rates_hz.get(what, 0.0)

    def publish(self, subject: str, update: Update) -> None:
        """Take what a frame of `body` or `surface` brought."""
        self._server.call(self._publish, self._subjects[subject], update)

    def notice(self, text: str, level: str = "info") -> None:
        """Tell all clients what a person should read."""
        self._server.call(self._tell_all, level, text)

    def close(self, reason: str = "the session has ended") -> None:
        """Say goodbye to all clients and answer no more; from any thread."""
        self._server.remove_route(PATH)
        self._server.call(self._close, reason)
        self._hands.shutdown(wait=False)

    # The server's thread

    async def handle(self, socket: ServerConnection) -> None:
        """See `SocketRoute`."""
        client = Client(socket, self._subjects, self._limits, now_ns())
        hello = {
            "server": "bodystream",
            "version": VERSION,
            "bodies": self._offers["body"],
            "surfaces": self._offers["surface"],
            "joints": list(JOINTS),
            "flags": list(FLAGS),
            "controls": sorted(self._controls),
            "limits": {"rate_hz": self._limits.rate_hz, "kb_per_s": self._limits.kb_per_s},
        }
        client.send(_text(Kind.HELLO, hello))
        self._clients.add(client)
        self._counts.clients += 1
        try:
            while client.ending is None:
                data = await socket.recv(decode=False)
                self._receive(client, data)
            await dismiss(socket, *client.ending)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:
                self._counts.refused += 1
        finally:
            self._clients.discard(client)
            self._counts.bytes += client.sent_bytes
            self._note_wants()

    def _receive(self, client: Client, data: bytes) -> None:
        t_ns = now_ns()
        try:
            client.count_message(t_ns)
            message = said.decode_client(data)
            if isinstance(message, said.Hello):
                client.hello(message)
            elif isinstance(message, said.Pong):
                client.pong(message, t_ns)
            elif isinstance(message, said.Subscribe):
                client.subscribe(message)
                self._note_wants()
                client.pump(t_ns)
            else:
                client.check_greeted()
                self._control(client, message)
        except InputError as error:
            self._counts.refused += 1
            client.send(_notice("error", str(error)))
            client.count_error(t_ns)

    def _control(self, client: Client, message: said.Record | said.Calibrate | said.Reset) -> None:
        name = type(message).__name__.lower()
        control = self._controls.get(name)
        if control is None:
            client.send(_notice("warning", f"this server takes no {name}"))
            return
        if client.busy:
            client.send(_notice("warning", "what was asked for before is not done yet"))
            return
        client.busy = True
        self._server.spawn(self._obey(client, control, message))

    async def _obey(self, client: Client, control: Callable[[Any], str], message: Any) -> None:
        try:
            text = await asyncio.get_running_loop().run_in_executor(self._hands, control, message)
        except BodystreamError as error:
            client.send(_notice("error", str(error)))
        except RuntimeError:
            return  # the hub is closed
        else:
            self._tell_all("info", text)
        finally:
            client.busy = False

    def _publish(self, subject: Subject, update: Update) -> None:
        subject.take(update)
        t_ns = now_ns()
        for client in self._clients:
            client.pump(t_ns)

    def _note_wants(self) -> None:
        self._rates_hz = {
            what: max((client.rate_hz for client in self._clients if getattr(client.wishes, what)), default=0.0)
            for what in ("body", "surface", "graph", "whole")
        }

    def _tell_all(self, level: str, text: str) -> None:
        data = _notice(level, text)
        for client in self._clients:
            client.send(data)

    def _close(self, reason: str) -> None:
        self._closed = True
        data = _text(Kind.BYE, {"reason": reason})
        for client in list(self._clients):
            client.send(data)
            self._server.spawn(dismiss(client.socket, 1001, reason))

    async def _ticks(self) -> None:
        """Send what could not be sent at once, ask for the time, and let go who does not read."""
        while not self._closed:
            await asyncio.sleep(_TICK_S)
            t_ns = now_ns()
            told = t_ns - self._status_ns >= self._limits.status_s * 1e9
            if told:
                self._status_ns = t_ns
            common = self._common_status() if told and self._clients else None
            for client in list(self._clients):
                client.pump(t_ns)
                client.ping(t_ns)
                if common is not None:
                    client.send(_text(Kind.STATUS, {**common, "clock": client.clock_status()}))
                self._look_after(client, t_ns)

    def _look_after(self, client: Client, t_ns: int) -> None:
        fault = client.fault(t_ns)
        if fault is None:
            return
        self._counts.let_go += 1
        self._report("let go", f"a client of the stream was let go: {fault[1]}")
        client.ending = fault
        # It does not read, so that a goodbye would only wait.
        if client.stalled_for_s(t_ns) > 0:
            client.socket.transport.abort()
        else:
            self._server.spawn(dismiss(client.socket, *fault))

    def _common_status(self) -> dict[str, Any]:
        figures = {name: subject.figures for name, subject in self._subjects.items()}
        warnings = [warning for each in figures.values() if each is not None for warning in each.warnings]
        return {
            **{name: _figures(each) for name, each in figures.items()},
            "recording": {"on": False, "file": "", "seconds": 0.0}
            if self._recording is None
            else dict(self._recording()),
            "calibration": None if self._calibration is None else self._calibration(),
            "clients": len(self._clients),
            "warnings": warnings[-20:],
        }

    def _metrics(self) -> Iterable[Metric]:
        yield Metric("stream_clients", "gauge", "Clients of the stream.", len(self._clients))
        yield Metric("stream_clients_total", "counter", "Clients of the stream so far.", self._counts.clients)
        text = "Clients that did not read or answer."
        yield Metric("stream_clients_let_go_total", "counter", text, self._counts.let_go)
        text = "Messages of clients that were not accepted."
        yield Metric("stream_messages_refused_total", "counter", text, self._counts.refused)
        sent = self._counts.bytes + sum(client.sent_bytes for client in self._clients)
        yield Metric("stream_sent_bytes_total", "counter", "Sent to clients.", sent)
        for name, subject in self._subjects.items():
            if subject.figures is not None:
                labels = {"of": name}
                yield Metric("rate_hz", "gauge", "Frames or samples a second.", subject.figures.rate_hz, labels)
                seconds = subject.figures.latency_ms * 1e-3
                yield Metric("latency_seconds", "gauge", "Of the last frame or sample.", seconds, labels)


def _figures(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {
        "rate_hz": round(figures.rate_hz, 2),
        "latency_ms": round(figures.latency_ms, 2),
        "status": figures.status,
        "reason": figures.reason,
    }


def _text(kind: Kind, value: dict[str, Any]) -> bytes:
    return pack_message(Message(kind, to_json(value), t_ns=now_ns()))


def _notice(level: str, text: str) -> bytes:
    return _text(Kind.NOTICE, {"level": level, "text": text})
