"""What `bodystream doctor` says of this machine: interpreter, cameras, ports, disk, and the data that is there."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from bodystream import __version__
from bodystream.cli.finding import Check, first_line

__all__ = ["check_cameras", "check_disk", "check_ports", "check_python", "check_recordings"]

VIEWER_PORT = 8080
_LOW_BYTES = 2 << 30
_OUT_BYTES = 100 << 20


def check_python() -> Iterator[Check]:
    """The interpreter and this package."""
    new_enough = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} ({sys.executable}), {platform.platform()}, {os.cpu_count()} processors"
    yield Check(
        "python", "ok" if new_enough else "missing", found, "" if new_enough else "Install Python 3.11 or newer"
    )
    yield Check("bodystream", "ok", __version__)


def check_cameras() -> Iterator[Check]:
    """RealSense: its packages, and each connected camera with its link and firmware."""
    from bodystream.sources.realsense.doctor import diagnose

    for finding in diagnose():
        yield Check(finding.name, "ok" if finding.well else "optional", finding.found, finding.remedy)


def check_ports() -> Iterator[Check]:
    """Whether the ports that the viewer and a headset's browser use are free."""
    from bodystream.sources.headset.webxr import DEFAULT_PORT

    yield check_port("port of the viewer", VIEWER_PORT, "The next free one is taken; or give --port")
    other = f"Stop what uses it, or give another: --headset webxr:{DEFAULT_PORT + 1}"
    yield check_port("port of webxr", DEFAULT_PORT, other)


def check_port(name: str, port: int, remedy: str) -> Check:
    """Whether a port of this machine may be listened on; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there it would let two listen on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            busy = error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1))
            why = "another program listens on it" if busy else first_line(error)
            return Check(name, "optional", f"{port}: {why}", remedy)
    return Check(name, "ok", f"{port} is free")


def check_disk() -> Iterator[Check]:
    """Free space where outputs, kernels and temporary files go, each file system once."""
    import tempfile

    seen: set[int] = set()
    for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        try:
            device, free = folder.stat().st_dev, shutil.disk_usage(folder).free
        except OSError as error:
            yield Check("disk", "optional", f"{folder}: {first_line(error)}", "Choose a folder that is there")
            continue
        if device not in seen:
            seen.add(device)
            yield disk_finding(folder, free)


def disk_finding(folder: Path, free: int) -> Check:
    """What so many free bytes mean."""
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _OUT_BYTES:
        return Check("disk", "missing", found, "Free some space: kernels and recordings cannot be written")
    if free < _LOW_BYTES:
        return Check("disk", "optional", found, "Free some space before long recordings")
    return Check("disk", "ok", found)


def check_recordings() -> Iterator[Check]:
    """Recorded data for tests and evaluation."""
    value = os.environ.get("BODYSTREAM_DATA", "")
    remedy = "Only for tests and `bodystream bench`: set BODYSTREAM_DATA to the folder of recordings"
    if not value:
        yield Check("recordings", "optional", "BODYSTREAM_DATA is not set", remedy)
    elif not Path(value).is_dir():
        yield Check("recordings", "optional", f"BODYSTREAM_DATA names {value}, which is not a folder", remedy)
    else:
        folders = sum(1 for child in Path(value).iterdir() if child.is_dir())
        yield Check("recordings", "ok", f"{value} ({folders} folders)")
