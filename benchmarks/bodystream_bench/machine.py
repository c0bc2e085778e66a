"""The machine that figures belong to."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import warp as wp

from bodystream.device import describe_device
from bodystream.sinks.reports.machine import describe_machine as describe_host

__all__ = ["describe_machine"]

_PEERS = ("torch", "open3d")


def describe_machine(device: wp.Device) -> dict[str, Any]:
    """Processor, memory, system, versions: enough to know whether two runs can be compared."""
    host = describe_host()
    packages = dict(host.libraries)
    own = packages.pop("bodystream", None)
    for name in _PEERS:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": host.cpu,
        "processors": host.cores,
        "memory_gib": round(host.memory_mb / 1024, 1),
        "device": describe_device(device),
        "system": host.os,
        "python": host.python,
        "bodystream": own,
        "packages": packages,
    }
