"""Publishes a body or surface over Zenoh: motions as they come, bones and surface at bind for who comes late."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.network.session import (
    SCOUT_S,
    NetworkConfig,
    check_body_name,
    key_of,
    load_zenoh,
    open_network,
)
from bodystream.sinks.stream import Update
from bodystream.timing import now_ns
from bodystream.wire.envelope import Kind, Message, pack_message, to_json
from bodystream.wire.motions import FLAGS

__all__ = ["NetworkPublisher"]

Of = Literal["body", "surface"]


@dataclass(slots=True)
class _Setup:
    """What a body or surface is made of now, for who comes late."""

    skeletons: list[bytes] = field(default_factory=list)
    pieces: dict[int, bytes] = field(default_factory=dict)


class NetworkPublisher:
    """Has a name on the network until it is closed. A network that is slow loses motions, newer ones win.

    Args:
        name: 1 to 64 letters, digits, - or _.
        config: of the network.
        bodies, surfaces: what will come.

    Attributes:
        sent: motions so far.

    Raises:
        MissingDependencyError: eclipse-zenoh is not installed.
        ConfigurationError: somebody on the network has the name, or `config` cannot be used.
    """

    def __init__(self, name: str, config: NetworkConfig, *, bodies: bool, surfaces: bool) -> None:
        check_body_name(name)
        zenoh = load_zenoh()
        self.name, self.sent = name, {"body": 0, "surface": 0}
        self._setups: dict[Of, _Setup] = {"body": _Setup(), "surface": _Setup()}
        self._lock = threading.Lock()
        self._closed = False
        self._hello = self._hello_message(bodies, surfaces)
        self._session: Any = open_network(config)
        try:
            self._refuse_taken()
            self._queryables = [
                self._session.declare_queryable(key_of(name, "hello"), self._say_hello),
                self._session.declare_queryable(key_of(name, "setup"), self._say_setup),
            ]
            drop = zenoh.CongestionControl.DROP
            options = {"congestion_control": drop, "priority": zenoh.Priority.REAL_TIME, "express": True}
            self._motions = {of: self._session.declare_publisher(key_of(name, of), **options) for of in self.sent}
            self._setup = self._session.declare_publisher(
                key_of(name, "setup"), congestion_control=zenoh.CongestionControl.BLOCK
            )
            self._token = self._session.liveliness().declare_token(key_of(name, "alive"))
        except BaseException:
            self._session.close()
            raise

    def publish(self, of: Of, update: Update) -> None:
        """The motion of one sample or frame, and bones and pieces that are new, which who comes later is given, too."""
        new = [*update.skeletons, *update.pieces.values()]
        if new:
            with self._lock:
                setup = self._setups[of]
                if update.begins:
                    setup.skeletons, setup.pieces = [], {}
                setup.skeletons += update.skeletons
                setup.pieces |= update.pieces
            self._setup.put(b"".join(new))
        if update.motion is not None:
            self.sent[of] += 1
            self._motions[of].put(update.motion)

    def close(self) -> None:
        """May be called again."""
        if not self._closed:
            self._closed = True
            self._session.close()

    def _refuse_taken(self) -> None:
        until = time.monotonic() + SCOUT_S
        while time.monotonic() < until:
            for reply in self._session.liveliness().get(key_of(self.name, "alive"), timeout=1.0):
                if reply.ok is not None:
                    raise ConfigurationError(
                        f"zenoh:{self.name} is in use: another program on this network publishes under this name. End "
                        "it, or choose another name"
                    )
            time.sleep(0.1)

    def _say_hello(self, query: Any) -> None:
        query.reply(key_of(self.name, "hello"), self._hello)

    def _say_setup(self, query: Any) -> None:
        with self._lock:
            whole = b"".join(
                data for setup in self._setups.values() for data in (*setup.skeletons, *setup.pieces.values())
            )
        query.reply(key_of(self.name, "setup"), whole)

    def _hello_message(self, bodies: bool, surfaces: bool) -> bytes:
        told = {
            "server": "bodystream",
            "version": 1,
            "host": socket.gethostname(),
            "bodies": bodies,
            "surfaces": surfaces,
            "joints": list(JOINTS),
            "flags": list(FLAGS),
            "controls": [],
            "limits": {},
        }
        return pack_message(Message(Kind.HELLO, to_json(told), t_ns=now_ns()))
