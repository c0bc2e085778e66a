"""Eclipse Zenoh: how programs find each other, and under which keys a body is published.

Under `bodystream/1/NAME/`: `alive`, a token that goes with its publisher; `hello` and `setup`, which are asked for
(what there is; bones and surface at bind); and `setup`, `body` and `surface`, which are published as they come. The
bytes are messages of docs/stream-format.md; `setup` is several, one behind the other.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodystream.errors import ConfigurationError, InputError, MissingDependencyError, excerpt
from bodystream.files import read_text_bounded
from bodystream.wire.envelope import HEADER_BYTES, MAX_PAYLOAD_BYTES, Kind, Message, WireError, from_json, open_message

__all__ = [
    "FoundBody",
    "NetworkConfig",
    "check_body_name",
    "key_of",
    "list_bodies",
    "load_zenoh",
    "open_network",
    "split_messages",
]

VERSION = 1
SCOUT_S = 0.6
"""How long programs on one network may take to find each other."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_CONFIG_BYTES = 1 << 20
_MAX_SETUP_BYTES = 4 * MAX_PAYLOAD_BYTES


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How programs are found.

    Attributes:
        connect: endpoints of routers or other programs, as `tcp/192.168.1.20:7447`, beside those that are found.
        listen: endpoints to be reached at; empty = any free port of all addresses.
        interface: of the network in which others are looked for by multicast, as `eth0`; empty = Zenoh's choice.
        scout: look for others by multicast.
        config: a configuration file of Zenoh (JSON5), as for TLS; the other fields are laid over it.
    """

    connect: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    interface: str = ""
    scout: bool = True
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundBody:
    """A name that somebody publishes under.

    Attributes:
        host: the machine that says so.
        bodies, surfaces: what there is.
    """

    name: str
    host: str
    bodies: bool
    surfaces: bool


def load_zenoh() -> Any:
    """Raises: MissingDependencyError: it is not installed."""
    try:
        import zenoh
    except ImportError as error:
        raise MissingDependencyError(
            "eclipse-zenoh", "to share bodies between machines", "pip install 'bodystream[zenoh]'"
        ) from error
    return zenoh


def check_body_name(name: str) -> str:
    """Raises: ConfigurationError: it is none."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"zenoh: a name has 1 to 64 letters, digits, - or _, got {excerpt(name)}: choose another, as zenoh:body0"
        )
    return name


def key_of(name: str, part: str) -> str:
    """The key under which a part of a body is."""
    return f"bodystream/{VERSION}/{name}/{part}"


def open_network(config: NetworkConfig) -> Any:
    """A session of Zenoh; close it.

    Raises:
        MissingDependencyError: it is not installed.
        ConfigurationError: an endpoint, interface or file that cannot be used.
    """
    zenoh = load_zenoh()
    try:
        if config.config is None:
            made = zenoh.Config()
        else:
            made = zenoh.Config.from_json5(read_text_bounded(config.config, _MAX_CONFIG_BYTES))
        settings: dict[str, object] = {"scouting/multicast/enabled": config.scout}
        if config.config is None:  # it would take 16 MB of shared memory for messages of a few hundred bytes
            settings["transport/shared_memory/enabled"] = False
        settings |= {"connect/endpoints": list(config.connect)} if config.connect else {}
        settings |= {"listen/endpoints": list(config.listen)} if config.listen else {}
        settings |= {"scouting/multicast/interface": config.interface} if config.interface else {}
        for key, value in settings.items():
            made.insert_json5(key, json.dumps(value))
        return zenoh.open(made)
    except InputError as error:
        raise ConfigurationError(f"zenoh: {error}") from error
    except zenoh.ZError as error:
        raise ConfigurationError(
            f"zenoh cannot be opened with connect={','.join(config.connect)} listen={','.join(config.listen)} "
            f"config={config.config or ''}: {excerpt(str(error), 200)}; an endpoint is written tcp/HOST:PORT"
        ) from error


def list_bodies(session: Any, wait_s: float = SCOUT_S) -> list[FoundBody]:
    """What is published on the network; those that come within the time are waited for."""
    zenoh = load_zenoh()
    found: dict[str, FoundBody] = {}
    until = time.monotonic() + wait_s
    while True:
        replies = session.get(key_of("*", "hello"), target=zenoh.QueryTarget.ALL, timeout=max(wait_s, 0.2))
        for reply in replies:
            body = _found(reply)
            if body is not None:
                found[body.name] = body
        if time.monotonic() >= until:
            return sorted(found.values(), key=lambda body: body.name)
        time.sleep(0.1)


def split_messages(data: bytes) -> Iterator[Message]:
    """Messages that stand one behind the other.

    Raises:
        WireError: something else stands there.
    """
    if len(data) > _MAX_SETUP_BYTES:
        raise WireError(f"a setup has {len(data)} bytes, at most {_MAX_SETUP_BYTES} are read")
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 24 : at + 28], "little")
        yield open_message(data[at : at + HEADER_BYTES + size])
        at += HEADER_BYTES + size


def _found(reply: Any) -> FoundBody | None:
    """None of a reply that is an error, or none of ours."""
    sample = reply.ok
    if sample is None:
        return None
    name = str(sample.key_expr).split("/")[2]
    try:
        message = open_message(bytes(sample.payload))
        told = from_json(message)
    except WireError:
        return None
    if message.kind is not Kind.HELLO or not _NAME.fullmatch(name):
        return None
    host = str(told.get("host", ""))[:64]
    return FoundBody(name, host, told.get("bodies") is True, told.get("surfaces") is True)
