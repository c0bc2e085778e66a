"""Head and hands from any program that sends VMC: a tracker's bridge, another avatar program, bodystream itself."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator

from bodystream.errors import ConfigurationError, SourceError
from bodystream.sources.base import SourceCounts
from bodystream.sources.headset.osc import OscPacket, read_osc
from bodystream.sources.headset.vmc_messages import VmcState, VmcUse
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample, TrackedDevice
from bodystream.web.access import is_loopback

__all__ = ["DEFAULT_PORT", "VmcHeadset"]

DEFAULT_PORT = 39540
_POLL_S = 0.05
_STALL_NS, _IDLE_NS = 400_000_000, 100_000_000
"""A sender that says nothing for so long has stalled; from then on a sample without a head comes at the interval.
Before half a second is over, or the stream would count as interrupted."""
_LEFT_NS = 1_000_000_000
"""After so long another sender may take over."""
_BUFFER_BYTES = 1 << 20


class VmcHeadset:
    """Samples of what a VMC sender says of head and hands; see `bodystream.sources.headset.base.HeadsetSource`.

    Devices (`/VMC/Ext/Hmd|Con|Tra/Pos`) are used where there is an `Hmd`, else the avatar's bones Head, LeftHand and
    RightHand, put together from the root on. One sender is listened to; another one may take over when it is silent.
    Messages count when they come, whatever the time tag of their bundle.

    Once a sender has been there, samples with `head=None` come ten times a second while it is silent.

    Args:
        port: 0 takes a free one.
        host: address to listen at; 0.0.0.0 lets other machines in.
        use: `devices`, `bones`, or `auto`, as above.
        left, right: serials of the devices in the hands. By default a device whose serial says left or right is taken
            for that hand, and other controllers by the side on which they are held.
        on_status: called with sentences for people.

    Attributes:
        port: that it listens at.

    Raises:
        ConfigurationError: an option cannot be used.
        SourceError: the port is in use, or the address cannot be listened at.
    """

    live = True
    rate_hz = None

    def __init__(
        self,
        port: int = DEFAULT_PORT,
        host: str = "127.0.0.1",
        use: VmcUse = "auto",
        left: str | None = None,
        right: str | None = None,
        *,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"vmc: a port is 0 (any free one) to 65535, got {port}")
        if use not in ("auto", "devices", "bones"):
            raise ConfigurationError(f"vmc: use must be auto, devices or bones, got {use!r}")
        if left is not None and left == right:
            raise ConfigurationError(f"vmc: left and right are the same device, {left}: give each hand its own")
        self.counts = SourceCounts()
        self._on_status = on_status
        self._state = VmcState(use, left, right)
        self._hands = (left, right)
        self._closed, self._iterating = threading.Event(), False
        self._sender: tuple[str, int] | None = None
        self._heard_ns = 0
        self._next_index = self._last_ns = 0
        self._used_devices: bool | None = None
        self._moved = False
        self._problems: dict[str, str] = {}
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.name = f"vmc:{self.port}"
        only = f" (this machine only; vmc:{self.port}?host=0.0.0.0 lets others in)" if is_loopback(host) else ""
        self._status(f"waiting for VMC at {host}, port {self.port}{only}")

    def __iter__(self) -> Iterator[HeadsetSample]:
        self._iterating = True
        try:
            yield from self._samples()
        finally:
            self._iterating = False
            if self._closed.is_set():
                self._socket.close()

    def close(self) -> None:
        """End the iteration and release the port; safe to call twice and from another thread."""
        self._closed.set()
        if not self._iterating:  # else the thread that reads it closes it: its number may be another's meanwhile
            self._socket.close()

    def __enter__(self) -> VmcHeadset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _samples(self) -> Iterator[HeadsetSample]:
        self._pass_over()
        ready: HeadsetSample | None = None
        while not self._closed.is_set():
            received = self._receive(0.0 if ready is not None else _POLL_S)
            if received is None:
                sample, ready = ready if ready is not None else self._idle(), None
                if sample is not None:
                    self.counts.delivered += 1
                    self._moved = False
                    yield sample
                continue
            made = self._take(*received)
            if made is not None:
                # More has come already, so that this one is late: the newest wins.
                self.counts.lost += ready is not None
                ready = made

    def _pass_over(self) -> None:
        """What came while the session was made is old."""
        for _ in range(10_000):
            if self._receive(0.0) is None:
                return

    def _receive(self, wait_s: float) -> tuple[bytes, tuple[str, int], int] | None:
        try:
            self._socket.settimeout(wait_s)
            datagram, sender = self._socket.recvfrom(65536)
        except (TimeoutError, BlockingIOError, InterruptedError, ConnectionError):
            return None
        except OSError as error:
            if self._closed.is_set():
                return None
            raise SourceError(f"{self.name} can no longer be listened to: {error.strerror or error}") from error
        return datagram, (sender[0], sender[1]), now_ns()

    def _take(self, datagram: bytes, sender: tuple[str, int], t_ns: int) -> HeadsetSample | None:
        """Take in a datagram; a sample where one moment is complete with it."""
        packet = read_osc(datagram)
        if packet.problem:
            self._warn("osc", f"a datagram is no OSC: {packet.problem}", f"{sender[0]}:{sender[1]}")
        if not any(message.address.startswith("/VMC") for message in packet.messages):
            return None
        if not self._listens_to(sender, t_ns):
            return None
        made = self._take_messages(packet, t_ns)
        for kind, text in self._state.problems.items():
            self._warn(kind, text, f"{sender[0]}:{sender[1]}", told=self._state.counts[kind])
        return made

    def _take_messages(self, packet: OscPacket, t_ns: int) -> HeadsetSample | None:
        state, made = self._state, None
        for message in packet.messages:
            if state.begins_anew(message):  # the moment before had lost a part, or a device was lost in it
                self.counts.lost += made is not None
                made = self._sample(t_ns)
            state.take(message, t_ns)
        if not state.is_complete(t_ns):
            return made
        self.counts.lost += made is not None
        return self._sample(t_ns)

    def _listens_to(self, sender: tuple[str, int], t_ns: int) -> bool:
        if sender != self._sender and self._sender is not None and t_ns - self._heard_ns < _LEFT_NS:
            self._warn("second", "a second sender is left out: end one of them", f"{sender[0]}:{sender[1]}")
            return False
        if sender != self._sender:
            if self._sender is not None:
                self.counts.reconnects += 1
                self._state = VmcState(self._state.use, *self._hands)
                self._moved = True
            self._sender = sender
            self._status(f"VMC comes from {sender[0]}:{sender[1]}")
        self._heard_ns = t_ns
        return True

    def _sample(self, t_ns: int) -> HeadsetSample | None:
        head, left, right = self._state.head_and_hands(t_ns)
        uses_devices = self._state.uses_devices
        if uses_devices != self._used_devices:
            self._moved = self._moved or self._used_devices is not None
            self._used_devices = uses_devices
        if head is None and left is None and right is None and not self.counts.delivered:
            return None  # nobody is there yet
        return self._numbered(t_ns, head, left, right)

    def _idle(self) -> HeadsetSample | None:
        """Between stalls and the next sender: a sample in which nothing is tracked, from time to time."""
        t_ns = now_ns()
        if not self.counts.delivered or t_ns - self._heard_ns < _STALL_NS or t_ns - self._last_ns < _IDLE_NS:
            return None
        if t_ns - self._last_ns >= _STALL_NS:
            self.counts.warn(f"{self.name} got nothing for {_STALL_NS * 1e-9:g} s: is the sender there?")
        return self._numbered(t_ns)

    def _numbered(
        self,
        t_ns: int,
        head: TrackedDevice | None = None,
        left: TrackedDevice | None = None,
        right: TrackedDevice | None = None,
    ) -> HeadsetSample:
        # Two moments within one datagram must not have one time.
        self._last_ns = max(t_ns, self._last_ns + 1)
        index, self._next_index = self._next_index, self._next_index + 1
        return HeadsetSample(index, self._last_ns, head, left, right, self._state.device_t_ns, origin_moved=self._moved)

    def _warn(self, kind: str, text: str, sender: str, told: int | None = None) -> None:
        """Each kind is told once, with its first example, and counted."""
        if kind not in self._problems:
            self._problems[kind] = f"{self.name}: {text} (from {sender}); such are left out"
            self.counts.warn(self._problems[kind])
        elif told is None:
            self.counts.warn(self._problems[kind])
        if told is not None:
            self.counts.warning_times[self._problems[kind]] = told

    def _status(self, text: str) -> None:
        if self._on_status is not None:
            self._on_status(text)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"vmc: there is no address {host!r} of this machine ({error}): give one, or 0.0.0.0 for all"
        ) from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise SourceError(
                f"vmc: port {port} at {host} is in use: end the program that has it, or listen at another "
                f"(--headset vmc:{port + 1 if port < 65535 else port - 1}) and tell the sender"
            ) from error
        raise SourceError(f"vmc: port {port} at {host} cannot be listened at: {error.strerror or error}") from error
    return listening
