"""What is installed and connected, for `bodystream doctor`."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bodystream.errors import MissingDependencyError
from bodystream.sources.realsense.device import UDEV_REMEDY, camera_info, load_sdk, needs_firmware

__all__ = ["Finding", "diagnose"]

_RULES = ("/etc/udev/rules.d", "/lib/udev/rules.d", "/usr/lib/udev/rules.d")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: `libusb-1.0`, `pyrealsense2` or `realsense`.
        found: what is there, or why it is not.
        well: whether it can be used.
        remedy: what to do about it, or nothing.
    """

    name: str
    found: str
    well: bool
    remedy: str = ""


def diagnose(load: Callable[[], Any] = load_sdk, list_devices: Callable[[], list[Any]] | None = None) -> list[Finding]:
    """SDK, libusb, udev rules and cameras. Never raises.

    Args:
        load: gives the module pyrealsense2 or raises MissingDependencyError.
        list_devices: gives the connected devices; None asks the SDK.
    """
    findings: list[Finding] = []
    if sys.platform == "linux":
        found = ctypes.util.find_library("usb-1.0")
        remedy = "" if found else "install it, on Debian and Ubuntu with: apt-get install libusb-1.0-0"
        findings.append(Finding("libusb-1.0", found or "not found", found is not None, remedy))
    try:
        rs = load()
    except MissingDependencyError as error:
        return [*findings, Finding("pyrealsense2", f"{error.package} is missing", False, error.remedy)]
    except Exception as error:  # The report of what is broken must survive whatever is broken.
        return [*findings, Finding("pyrealsense2", str(error), False, "pip install --force-reinstall pyrealsense2")]
    findings.append(Finding("pyrealsense2", getattr(rs, "__version__", "of unknown version"), True))
    try:
        devices = list_devices() if list_devices is not None else list(rs.context().query_devices())
        cameras = [finding for device in devices for finding in _examine(rs, device)]
    except Exception as error:  # As above: libusb and the driver raise what they like.
        return [
            *findings,
            Finding("realsense", f"cameras: {error}", False, "unplug the camera, plug it in and try again"),
        ]
    if not cameras:
        remedy = "connect one to a USB 3 port; recordings play without"
        cameras = [Finding("realsense", "no camera is connected", False, remedy)]
    if sys.platform == "linux" and os.geteuid() != 0:
        there = any(p for folder in _RULES if Path(folder).is_dir() for p in Path(folder).glob("*realsense*"))
        found = "udev rules for cameras" if there else "no udev rules for cameras"
        findings.append(Finding("realsense", found, there, "" if there else UDEV_REMEDY))
    return findings + cameras


def _examine(rs: Any, device: Any) -> list[Finding]:
    if needs_firmware(device):
        return [Finding("realsense", "a camera in recovery mode", False, "run `rs-fw-update -r -f <firmware file>`")]
    info = camera_info(rs, device)
    what = f"{info.name} {info.serial}, USB {info.usb_type or '?'}, firmware {info.firmware or '?'}"
    return [Finding("realsense", what, not info.warnings, "; ".join(info.warnings))]
