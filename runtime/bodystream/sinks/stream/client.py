"""One client of the stream: what it asked for, what it was sent, and whether it keeps up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection, broadcast

from bodystream.errors import InputError
from bodystream.sinks.stream.client_messages import Hello, Pong, Subscribe
from bodystream.sinks.stream.pace import TAKEN
from bodystream.sinks.stream.subject import Cursor, Subject
from bodystream.web.clock import ClockAlignment
from bodystream.web.limits import LeakyBucket
from bodystream.wire.envelope import VERSION, Kind, Message, pack_message, to_json

__all__ = ["Client", "StreamLimits"]

_NS = 1_000_000_000
_FIRST_PINGS = 8
_LONG_AGO_NS = 1 << 60  # so that the first motion is due, whatever the rate


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a client may do and is sent.

    Attributes:
        clients: at a time.
        rate_hz: motions a second at most, whatever a client asks for.
        kb_per_s: of a captured surface, motions and pieces together; twice as much at once when it begins [kB/s].
        unread_s: a client that takes nothing for so long is let go.
        silent_s: so is one that answers no ping, and one that says no hello.
        status_s: between two messages of status.
        messages_per_s, messages_burst: that are read.
        errors_per_s, errors_burst: messages that are not accepted and forgiven.
    """

    clients: int = 32
    rate_hz: float = 120.0
    kb_per_s: float = 150.0
    unread_s: float = 5.0
    silent_s: float = 10.0
    status_s: float = 0.5
    messages_per_s: float = 30.0
    messages_burst: float = 100.0
    errors_per_s: float = 1.0
    errors_burst: float = 20.0


class Client:
    """State of one client; in the server's thread.

    Args:
        socket: of it.
        subjects: `body` and `surface`.
        now_ns: time of the connection, host monotonic.

    Attributes:
        wishes: what it asked for.
        ending: code and reason, once the connection is to be closed.
        busy: something that it asked for is being done.
        sent_bytes: payloads so far.
    """

    def __init__(
        self, socket: ServerConnection, subjects: Mapping[str, Subject], limits: StreamLimits, now_ns: int
    ) -> None:
        self.socket, self._limits = socket, limits
        self.wishes = Subscribe()
        self.ending: tuple[int, str] | None = None
        self.busy = False
        self.sent_bytes = 0
        self._cursors = {name: Cursor(subject) for name, subject in subjects.items()}
        self._taken_ns = dict.fromkeys(subjects, now_ns - _LONG_AGO_NS)  # when the last motion was due
        self._greeted = False
        self._heard_ns = now_ns
        self._full_since_ns: int | None = None
        self._messages = LeakyBucket(limits.messages_burst, limits.messages_per_s)
        self._errors = LeakyBucket(limits.errors_burst, limits.errors_per_s)
        self._budget = LeakyBucket(2 * limits.kb_per_s * 1e3, limits.kb_per_s * 1e3)
        self._clock = ClockAlignment()
        self._pings: dict[int, int] = {}
        self._ping_id = 0
        self._ping_ns = 0

    @property
    def rate_hz(self) -> float:
        """Motions a second that it is sent at most."""
        return min(self.wishes.rate_hz, self._limits.rate_hz)

    # What it says

    def count_message(self, t_ns: int) -> None:
        """Raises: InputError: there are too many, and the connection ends."""
        if not self._messages.take(t_ns):
            self.ending = (1008, "too many messages")
            raise InputError(f"more than {self._limits.messages_per_s:g} messages a second")

    def count_error(self, t_ns: int) -> None:
        """One of its messages was not accepted."""
        if not self._errors.take(t_ns) and self.ending is None:
            self.ending = (1008, "too many messages that are not accepted")

    def check_greeted(self) -> None:
        """Raises: InputError: it has not said hello."""
        if not self._greeted:
            raise InputError("the first message must be hello")

    def hello(self, message: Hello) -> None:
        """Raises: InputError: another version, or it was said already."""
        if message.version != VERSION:
            self.ending = (4002, f"version {message.version}, wanted {VERSION}: reload the page")
            raise InputError(
                f"this server speaks version {VERSION} and the client version {message.version}: reload the page"
            )
        if self._greeted:
            raise InputError("hello must be said once")
        self._greeted = True

    def subscribe(self, message: Subscribe) -> None:
        """Raises: InputError: it has not said hello."""
        self.check_greeted()
        for name, cursor in self._cursors.items():
            if getattr(message, name) and not getattr(self.wishes, name):
                cursor.forget()  # what it was sent before it may have dropped
        self.wishes = message

    def pong(self, message: Pong, t_ns: int) -> None:
        """Raises: InputError: there was no such ping."""
        if not 0 < message.id <= self._ping_id:
            raise InputError(f"there was no ping {message.id}")
        self._heard_ns = t_ns
        sent_ns = self._pings.pop(message.id, None)
        if sent_ns is None:
            return  # a page that was held up answers all that it was asked meanwhile; the oldest says nothing
        self._clock.add(sent_ns, round(message.t_ms * 1e6), t_ns)

    # What it is sent

    def send(self, data: bytes) -> None:
        """Hand a message to the connection; what is short may queue a little."""
        if self._queued() <= 1 << 18:  # else it does not read, and will be let go
            self._write(data)

    def pump(self, t_ns: int) -> None:
        """Send what is due of what it asked for, until the connection has enough."""
        if self.ending is not None or not self._greeted:
            return
        for name, cursor in self._cursors.items():
            if getattr(self.wishes, name) and self._has_room():
                self._pump(name, cursor, t_ns)

    def _pump(self, name: str, cursor: Cursor, t_ns: int) -> None:
        budgeted = name == "surface"
        for data in cursor.bones():
            self._send(data, t_ns, budgeted)
        while self._has_room():
            piece = cursor.piece()
            # A fifth of the budget is for motions, which must not wait for pieces.
            if piece is None or (budgeted and not self._budget.take(t_ns, len(piece[1]), spare=0.2)):
                break
            self._send(piece[1], t_ns, False)
            cursor.got_piece(piece[0])
        due_ns = self._taken_ns[name] + round(TAKEN * 1e9 / self.rate_hz)  # by the rate of now, which may be another
        if cursor.has_motion and t_ns >= due_ns:
            # Counted from when it was due, so that what comes a little late does not lower the rate.
            self._taken_ns[name] = max(due_ns, t_ns - round(1e9 / self.rate_hz))
            self._send(cursor.motion(), t_ns, budgeted)
        if self.wishes.graph and (links := cursor.graph()) is not None:
            self._send(links, t_ns, budgeted)
        if self.wishes.whole and self._has_room() and (mesh := cursor.whole()) is not None:
            self._send(mesh, t_ns, False)

    def _send(self, data: bytes, t_ns: int, budgeted: bool) -> None:
        if budgeted:
            self._budget.pour(t_ns, len(data))
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.socket.transport.is_closing():  # asyncio would log each write to a connection that was lost
            broadcast([self.socket], data)
            self.sent_bytes += len(data)

    # Whether it keeps up

    def ping(self, t_ns: int) -> None:
        """Ask for its time, where that is due."""
        if not self._greeted:
            return
        interval_ns = _NS // 20 if self._clock.samples < _FIRST_PINGS or self._clock.in_doubt else 2 * _NS
        if t_ns - self._ping_ns < interval_ns or self._queued():
            return
        self._ping_ns = t_ns
        self._ping_id += 1
        self._pings[self._ping_id] = t_ns
        while len(self._pings) > 64:
            del self._pings[next(iter(self._pings))]
        self.send(pack_message(Message(Kind.PING, to_json({"id": self._ping_id}), t_ns=t_ns)))

    def clock_status(self) -> dict[str, float] | None:
        """How the client's clock goes, for its own use."""
        if self._clock.samples < _FIRST_PINGS:
            return None
        offset_ms = self._clock.offset_ns() * 1e-6
        return {"offset_ms": round(offset_ms, 3), "error_ms": round(self._clock.figures().round_trip_ms / 2, 3)}

    def fault(self, t_ns: int) -> tuple[int, str] | None:
        """Why the client has to go, as code and reason, or None."""
        if self.ending is not None:
            return None
        if self.stalled_for_s(t_ns) > self._limits.unread_s:
            return 4005, f"it took nothing for {self._limits.unread_s:g} s"
        if t_ns - self._heard_ns > self._limits.silent_s * _NS:
            return 4003, f"no {'answers to pings' if self._greeted else 'hello'} for {self._limits.silent_s:g} s"
        return None

    def stalled_for_s(self, t_ns: int) -> float:
        """How long the connection has been full."""
        if self._has_room():
            return 0.0
        if self._full_since_ns is None:
            self._full_since_ns = t_ns
        return (t_ns - self._full_since_ns) * 1e-9

    def _has_room(self) -> bool:
        if self._queued():
            return False
        self._full_since_ns = None
        return True

    def _queued(self) -> int:
        return self.socket.transport.get_write_buffer_size()
