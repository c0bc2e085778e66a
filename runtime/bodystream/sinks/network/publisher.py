"""Publishes a body or surface over Zenoh: motions as they come, bones and surface at bind for who comes late."""

from __future__ import annotations

import secrets
import socket
import threading
import time
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
from bodystream.timing import now_ns
from bodystream.wire.envelope import Kind, Message, pack_message, to_json
from bodystream.wire.motions import FLAGS, Motion, encode_motion

__all__ = ["NetworkPublisher"]

Of = Literal["body", "surface"]
_MOTION_OF = {"body": Kind.BODY, "surface": Kind.SURFACE}


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
        self._setups: dict[Of, bytes] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._skin = secrets.randbits(31) or 1  # so that two publishers of one name are told apart
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

    def next_skin(self) -> int:
        """A number for a skin that begins."""
        with self._lock:
            self._skin = self._skin % 0x7FFFFFFF + 1
            return self._skin

    def put_setup(self, of: Of, messages: list[bytes]) -> None:
        """Bones and surface at bind of what is sent from now on; who comes later is given them, too."""
        whole = b"".join(messages)
        with self._lock:
            self._setups[of] = whole
        self._setup.put(whole)

    def put_motion(self, of: Of, motion: Motion, skin: int, t_ns: int) -> None:
        """Where the bones are now."""
        number = self.sent[of]
        self.sent[of] = number + 1
        self._motions[of].put(pack_message(Message(_MOTION_OF[of], encode_motion(motion), number, skin, t_ns)))

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
            whole = b"".join(self._setups.values())
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
