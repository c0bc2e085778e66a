"""What can be said of a receiver of poses in text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ShmSendConfig", "VmcSendConfig", "VrchatSendConfig", "ZenohSendConfig", "ZmqSendConfig"]

Tracker = Literal[
    "hip", "chest", "left_foot", "right_foot", "left_knee", "right_knee", "left_elbow", "right_elbow", "head"
]


@dataclass(frozen=True, slots=True)
class ShmSendConfig:
    """How results are written to shared memory.

    Attributes:
        surface_hz: surfaces a second at most [Hz]; 0 = poses only. Of poses each one is written.
        max_vertices: of the largest surface that there is room for; of faces twice as many. A vertex takes 160 bytes.
    """

    surface_hz: float = 30.0
    max_vertices: int = 65_536


@dataclass(frozen=True, slots=True)
class VmcSendConfig:
    """How poses are sent by VMC.

    Attributes:
        rate_hz: poses a second at most [Hz]; None = as many as there are.
    """

    rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class VrchatSendConfig:
    """How poses are sent to VRChat.

    Attributes:
        rate_hz: poses a second at most [Hz]; None = as many as there are.
        height_m: of the user, as VRChat was told [m]; None = of the person who is driven.
        trackers: which are sent.
    """

    rate_hz: float | None = None
    height_m: float | None = None
    trackers: tuple[Tracker, ...] = (
        "hip", "chest", "left_foot", "right_foot", "left_knee", "right_knee", "left_elbow", "right_elbow", "head",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ZmqSendConfig:
    """How poses are published by ZeroMQ.

    Attributes:
        port: to listen at; 0 takes a free one.
        host: address to listen at; 0.0.0.0 lets other machines in.
        rate_hz: poses a second at most [Hz]; None = as many as there are.
    """

    port: int = 5556
    host: str = "127.0.0.1"
    rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class ZenohSendConfig:
    """How results are shared with other machines by Zenoh.

    Attributes:
        rate_hz: poses or frames a second at most [Hz]; None = each one.
        kb_per_s: of a capture, motions and renewed pieces of its surface together [kB/s].
        connect: endpoints of routers or other programs, as `tcp/192.168.1.20:7447`, beside those that are found.
        listen: endpoints to be reached at; empty = any free port of all addresses.
        interface: of the network in which others are looked for, as `eth0`; empty = Zenoh's choice.
        scout: look for others by multicast.
        config: a configuration file of Zenoh (JSON5), as for TLS; the other keys are laid over it.
    """

    rate_hz: float | None = None
    kb_per_s: float = 600.0
    connect: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    interface: str = ""
    scout: bool = True
    config: Path | None = None
