"""Driven poses to other programs: from what a user types after `--send` to a sink of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodystream.errors import ConfigurationError
from bodystream.sources.grammar import SourceKind, choose

if TYPE_CHECKING:
    from bodystream.pipelines.drive.send_sink import SendSink
    from bodystream.sinks.send.configs import VmcSendConfig, VrchatSendConfig, ZmqSendConfig

__all__ = ["SEND_KINDS", "open_sender"]

_CONFIGS = "bodystream.sinks.send.configs"
_HEIGHTS_M = (0.5, 3.0)


def open_sender(spec: str) -> SendSink:
    """A sink that sends each pose of a `DriveSession` to another program.

    Args:
        spec: `vmc:HOST:PORT`, `vrchat:HOST:PORT` or `zmq:PORT`, with keys as `?rate_hz=60`: the fields of
            `VmcSendConfig`, `VrchatSendConfig` and `ZmqSendConfig`.

    Raises:
        ConfigurationError: there is no such kind, key, value or host, or the port is in use.
        MissingDependencyError: pyzmq is not installed.
    """
    return choose(spec, SEND_KINDS, "receiver").open(None)


def _open_vmc(target: str, config: VmcSendConfig, _: None) -> SendSink:
    from bodystream.pipelines.drive.send_sink import SendSink
    from bodystream.sinks.send import VmcSender, host_and_port

    return SendSink(VmcSender(*host_and_port(target, "vmc", 39539)), config.rate_hz)


def _open_vrchat(target: str, config: VrchatSendConfig, _: None) -> SendSink:
    from bodystream.pipelines.drive.send_sink import SendSink
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
    return SendSink(VrchatSender(host, port, config.trackers, scale_of), config.rate_hz)


def _open_zmq(_: str, config: ZmqSendConfig, __: None) -> SendSink:
    from bodystream.pipelines.drive.send_sink import SendSink
    from bodystream.sinks.send import ZmqSender

    if not 0 <= config.port <= 65535:
        raise ConfigurationError(f"zmq: a port is 0 (any free one) to 65535, got {config.port}")
    return SendSink(ZmqSender(config.host, config.port), config.rate_hz)


SEND_KINDS: tuple[SourceKind[None, SendSink], ...] = (
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
