"""Networks of this machine alone, for tests: programs that find each other at a port of the loopback."""

from __future__ import annotations

import socket

from bodystream.sinks.network import NetworkConfig

__all__ = ["alone", "free_port", "joined"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alone(port: int) -> NetworkConfig:
    """Listens at a port, and looks for nobody."""
    return NetworkConfig(listen=(f"tcp/127.0.0.1:{port}",), scout=False)


def joined(port: int) -> NetworkConfig:
    """Finds who listens at the port, also where they come later."""
    return NetworkConfig(connect=(f"tcp/127.0.0.1:{port}",), listen=("tcp/127.0.0.1:0",), scout=False)
