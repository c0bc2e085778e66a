"""What a report says about the machine that it was made on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

__all__ = ["MachineSection", "describe_machine"]

_LIBRARIES = (
    "bodystream",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "warp-lang",
    "onnxruntime",
    "onnxruntime-gpu",
    "pyrealsense2",
    "viser",
)


class MachineSection(msgspec.Struct, frozen=True):
    """The machine.

    Attributes:
        cpu: its model's name.
        cores: processors that this process may use; cores_total: that the machine has.
        memory_mb: installed.
        os, python: names and versions.
        libraries: versions of the installed packages that do the work.
    """

    cpu: str
    cores: int
    cores_total: int
    memory_mb: int
    os: str
    python: str
    libraries: dict[str, str]


def describe_machine(more: Sequence[str] = ()) -> MachineSection:
    """Look at this machine and process; nothing that names the user or the host is included.

    Args:
        more: packages whose versions matter besides those that do our own work.
    """
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    libraries: dict[str, str] = {}
    for name in (*_LIBRARIES, *more):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return MachineSection(
        cpu=_cpu_model(),
        cores=usable,
        cores_total=total,
        memory_mb=psutil.virtual_memory().total // 2**20,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
        libraries=libraries,
    )


def _cpu_model() -> str:
    """The name on the box: `platform.processor()` is empty or only the architecture on Linux."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
