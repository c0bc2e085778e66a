"""OSC messages as UDP datagrams to one address."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from bodystream.errors import ConfigurationError, excerpt

__all__ = ["MAX_BUNDLE_BYTES", "OscSender", "OscUdp", "host_and_port", "osc_bundles", "osc_message"]

MAX_BUNDLE_BYTES = 1472
"""VMC wants bundles within 1500 bytes; with the headers of IP and UDP such a datagram crosses Ethernet in one piece."""
_BUNDLE = b"#bundle\0" + struct.pack(">Q", 1)
"""The head of a bundle whose messages are to be used at once (OSC 1.0, "Temporal Semantics and OSC Time Tags")."""
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


def host_and_port(target: str, kind: str, usual_port: int) -> tuple[str, int]:
    """What stands in `HOST:PORT`; an IPv6 address is in brackets.

    Raises:
        ConfigurationError: one of them is missing, or it is no port.
    """
    host, colon, port = target.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or (":" in host and not target.startswith("[")):
        raise ConfigurationError(
            f"{kind} has to be told host and port: write {kind}:127.0.0.1:{usual_port}, got {excerpt(target)}"
        )
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ConfigurationError(f"{kind}: a port is 1 to 65535, got {excerpt(port)} in {excerpt(target)}")
    return host, int(port)


def osc_message(address: str, types: str, values: Iterable[str | int | float]) -> OscMessage:
    """A message whose arguments have these type tags: `i`, `f`, `s`."""
    builder = OscMessageBuilder(address)
    for tag, value in zip(types, values, strict=True):
        builder.add_arg(value, tag)
    return builder.build()


def osc_bundles(messages: Sequence[OscMessage]) -> list[bytes]:
    """The messages in order, in as few bundles of at most `MAX_BUNDLE_BYTES` as that takes, to be used at once."""
    # python-osc's own builder of bundles reads back what it wrote, which takes most of its time.
    out = [_BUNDLE]
    for message in messages:
        element = struct.pack(">i", message.size) + message.dgram
        if len(out[-1]) > len(_BUNDLE) and len(out[-1]) + len(element) > MAX_BUNDLE_BYTES:
            out.append(_BUNDLE)
        out[-1] += element
    return out


class OscUdp:
    """A socket that never waits: what the network does not take is left out.

    Args:
        name: of the receiver, for messages.
        host, port: of the receiver. A host's name is looked up once, here.

    Attributes:
        warnings: why datagrams could not leave, each once.

    Raises:
        ConfigurationError: there is no such host.
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.warnings: list[str] = []
        try:
            family, kind, protocol, _, self._address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(
                f"{name}: there is no host {excerpt(host)} ({error}): give its address, as 192.168.1.20"
            ) from error
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)

    def send(self, datagrams: Sequence[bytes]) -> bool:
        """Send all of them, or say that the network did not take one."""
        for datagram in datagrams:
            try:
                self._socket.sendto(datagram, self._address)
            except OSError as error:
                # Where nobody listens the next datagram may be told so; the one after may arrive.
                if error.errno == errno.ECONNREFUSED:
                    continue
                if error.errno not in _FULL:
                    self._warn(f"{self.name}: nothing can be sent there now ({error.strerror or error})")
                return False
        return True

    def close(self) -> None:
        self._socket.close()

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


class OscSender:
    """What all senders by OSC have in common; see `PoseSender`.

    Raises:
        ConfigurationError: there is no such host.
    """

    def __init__(self, kind: str, host: str, port: int) -> None:
        self._udp = OscUdp(f"{kind}:{host}:{port}", host, port)

    @property
    def name(self) -> str:
        return self._udp.name

    @property
    def warnings(self) -> list[str]:
        return self._udp.warnings

    def close(self) -> None:
        self._udp.close()
