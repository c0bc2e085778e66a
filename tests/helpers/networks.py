"""Networks of this machine alone, for tests: programs that find each other at a port of the loopback."""

from __future__ import annotations

import itertools
import os
import socket

from bodystream.sinks.network import NetworkConfig

__all__ = ["alone", "free_port", "joined"]


_next = itertools.count(os.getpid() * 61)


def free_port() -> int:
    """A port at which nobody listens, for who will only later.

    It is none of those that systems give to who asks for any (from 32768 on), so that no other test gets it meanwhile,
    and tests in other processes begin elsewhere.
    """
    for number in itertools.islice(_next, 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", 20_000 + number % 12_000))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise AssertionError("no port from 20000 to 31999 is free")


def alone(port: int) -> NetworkConfig:
    """Listens at a port, and looks for nobody."""
    return NetworkConfig(listen=(f"tcp/127.0.0.1:{port}",), scout=False)


def joined(port: int) -> NetworkConfig:
    """Finds who listens at the port, also where they come later."""
    return NetworkConfig(connect=(f"tcp/127.0.0.1:{port}",), listen=("tcp/127.0.0.1:0",), scout=False)
