"""The machine that figures belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil
import warp as wp

from bodystream import __version__
from bodystream.device import describe_device

__all__ = ["describe_machine"]

_PACKAGES = ("numpy", "scipy", "warp-lang", "opencv-python-headless", "onnxruntime", "torch", "open3d")


def describe_machine(device: wp.Device) -> dict[str, Any]:
    """Processor, memory, system, versions: enough to know whether two runs can be compared."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": describe_device(device),
        "system": platform.platform(),
        "python": platform.python_version(),
        "bodystream": __version__,
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model name; Linux alone says it in a file."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
