"""Results to other programs: from what a user types after `--send` to sinks of sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bodystream.errors import ConfigurationError
from bodystream.sources.grammar import SourceKind, choose

if TYPE_CHECKING:
    from bodystream.sinks.base import Sink
    from bodystream.sinks.send.base import PoseSender
    from bodystream.sinks.send.configs import (
        ShmSendConfig,
        VmcSendConfig,
        VrchatSendConfig,
        ZenohSendConfig,
        ZmqSendConfig,
    )

__all__ = ["SEND_KINDS", "SURFACE_KINDS", "Senders", "SentOf", "open_sender", "open_senders"]

SentOf = Literal["body", "surface", "both"]
"""What there is to send: poses of a driven body, surfaces of a capture."""
_CONFIGS = "bodystream.sinks.send.configs"
_HEIGHTS_M = (0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Senders:
    """The sinks that one receiver needs.

    Attributes:
        body: of the `DriveSession`, or None where there is none.
        surface: of the `CaptureSession`, or None.
    """

    body: Sink[Any] | None = None
    surface: Sink[Any] | None = None

    def close(self) -> None:
        """Of sinks that came to no session."""
        for sink in (self.body, self.surface):
            if sink is not None:
                sink.close()


def open_sender(spec: str, of: Literal["body", "surface"] = "body") -> Sink[Any]:
    """A sink that sends each result of a session to another program.

    Args:
        spec: `shm:NAME`, `zenoh:NAME`, `vmc:HOST:PORT`, `vrchat:HOST:PORT` or `zmq:PORT`, with keys as `?rate_hz=60`:
            the fields of `ShmSendConfig`, `ZenohSendConfig`, `VmcSendConfig`, `VrchatSendConfig` and `ZmqSendConfig`.
        of: `body` makes a sink of a `DriveSession`; `surface` one of a `CaptureSession`, for `shm` and `zenoh`.

    Raises:
        ConfigurationError: there is no such kind, key, value or host; the port or name is in use; or the kind takes
            poses only and there are none.
        MissingDependencyError: pyzmq or eclipse-zenoh is not installed.
    """
    senders = open_senders(spec, of)
    sink = senders.body if of == "body" else senders.surface
    assert sink is not None
    return sink


def open_senders(spec: str, of: SentOf) -> Senders:
    """The same of a program that may have both sessions: what is sent under one name is opened once."""
    return choose(spec, SEND_KINDS, "receiver").open(of)


def _open_shm(name: str, config: ShmSendConfig, of: SentOf) -> Senders:
    from bodystream.pipelines.send.shm_sinks import open_shm

    return Senders(*open_shm(name, config, of))


def _open_zenoh(name: str, config: ZenohSendConfig, of: SentOf) -> Senders:
    from bodystream.pipelines.send.zenoh_sinks import open_zenoh

    return Senders(*open_zenoh(name, config, of))


def _open_vmc(target: str, config: VmcSendConfig, of: SentOf) -> Senders:
    from bodystream.sinks.send import VmcSender, host_and_port

    return _poses("vmc", of, lambda: VmcSender(*host_and_port(target, "vmc", 39539)), config.rate_hz)


def _open_vrchat(target: str, config: VrchatSendConfig, of: SentOf) -> Senders:
    from bodystream.pose.calibration import height_of
    from bodystream.sinks.send import VrchatSender, host_and_port

    height_m = config.height_m
    if height_m is not None and not _HEIGHTS_M[0] <= height_m <= _HEIGHTS_M[1]:
        raise ConfigurationError(
            f"vrchat: height_m must be {_HEIGHTS_M[0]} to {_HEIGHTS_M[1]} metres, got {height_m:g}"
        )
    if not config.trackers:
        raise ConfigurationError("vrchat: trackers names at least one tracker, got none")
    host, port = host_and_port(target, "vrchat", 9000)
    scale_of = None if height_m is None else lambda skeleton: height_m / height_of(skeleton)
    return _poses("vrchat", of, lambda: VrchatSender(host, port, config.trackers, scale_of), config.rate_hz)


def _open_zmq(_: str, config: ZmqSendConfig, of: SentOf) -> Senders:
    from bodystream.sinks.send import ZmqSender

    if not 0 <= config.port <= 65535:
        raise ConfigurationError(f"zmq: a port is 0 (any free one) to 65535, got {config.port}")
    return _poses("zmq", of, lambda: ZmqSender(config.host, config.port), config.rate_hz)


def _poses(kind: str, of: SentOf, make: Callable[[], PoseSender], rate_hz: float | None) -> Senders:
    from bodystream.pipelines.send.pose_sink import SendSink

    if of == "surface":
        raise ConfigurationError(
            f"{kind} sends poses of a driven body, and a capture has none: send its surface by "
            f"{' or '.join(SURFACE_KINDS)}, or drive a body with --headset"
        )
    return Senders(SendSink(make(), rate_hz))


SEND_KINDS: tuple[SourceKind[SentOf, Senders], ...] = (
    SourceKind(
        "shm", "shared memory, for programs on this machine", f"{_CONFIGS}:ShmSendConfig", _open_shm, target="NAME"
    ),
    SourceKind("zenoh", "Eclipse Zenoh, for other machines", f"{_CONFIGS}:ZenohSendConfig", _open_zenoh, target="NAME"),
    SourceKind("vmc", "VMC: EVMC4U, VSeeFace, VMC4B", f"{_CONFIGS}:VmcSendConfig", _open_vmc, target="HOST:PORT"),
    SourceKind("vrchat", "VRChat's OSC trackers", f"{_CONFIGS}:VrchatSendConfig", _open_vrchat, target="HOST:PORT"),
    SourceKind(
        "zmq",
        "BD-24 over ZeroMQ, to whoever connects",
        f"{_CONFIGS}:ZmqSendConfig",
        _open_zmq,
        target="PORT",
        target_key="port",
    ),
)
"""All kinds of receiver: a new one is a row here."""
SURFACE_KINDS = ("shm", "zenoh")
"""Of them, those that take the surface of a capture."""
