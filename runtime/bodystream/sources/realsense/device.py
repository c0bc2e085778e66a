"""Reaching a RealSense device: loading the SDK, what a camera says of itself, its controls, and what went wrong."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from bodystream.errors import ConfigurationError, MissingDependencyError, SourceError
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.stream import CameraAbsentError, CameraInfo

__all__ = [
    "UDEV_REMEDY",
    "apply_controls",
    "camera_info",
    "depth_sensor",
    "device_holders",
    "device_text",
    "load_sdk",
    "needs_firmware",
    "offered_modes",
    "start_error",
]

_BUSY = re.compile(r"busy|errno=16|is streaming|already (opened|in use)|in use by", re.IGNORECASE)
_DENIED = re.compile(
    r"permission|access denied|RS2_USB_STATUS_ACCESS|errno=13|failed to set power state", re.IGNORECASE
)
UDEV_REMEDY = (
    "install librealsense's udev rules (99-realsense-libusb.rules into /etc/udev/rules.d, then "
    "`udevadm control --reload-rules && udevadm trigger`) and plug the camera in again"
)


def load_sdk(importer: Callable[[str], ModuleType] = importlib.import_module) -> Any:
    """The module pyrealsense2.

    Raises:
        MissingDependencyError: it, or the system library libusb-1.0 that it links, is not installed.
    """
    try:
        return importer("pyrealsense2")
    except (ImportError, OSError) as error:
        if "libusb" in str(error):
            raise MissingDependencyError(
                "libusb-1.0",
                "by pyrealsense2 to reach RealSense cameras and recordings",
                "Install it, on Debian and Ubuntu with: apt-get install libusb-1.0-0",
            ) from error
        detail = "" if isinstance(error, ModuleNotFoundError) else f" (it is there but does not load: {error})"
        raise MissingDependencyError(
            "pyrealsense2",
            "for RealSense cameras and recordings",
            f'Install it with: pip install "bodystream[realsense]"{detail}',
        ) from error


def device_text(rs: Any, device: Any, key: str) -> str:
    info = getattr(rs.camera_info, key)
    return device.get_info(info) if device.supports(info) else ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def camera_info(rs: Any, device: Any) -> CameraInfo:
    """What a connected camera says of itself, with what is wrong with it."""
    name, serial = device_text(rs, device, "name") or "RealSense", device_text(rs, device, "serial_number")
    usb, firmware = device_text(rs, device, "usb_type_descriptor"), device_text(rs, device, "firmware_version")
    wanted = device_text(rs, device, "recommended_firmware_version")
    label, warnings = f"camera {name} {serial}".rstrip(), []
    if usb.startswith(("1", "2")):
        warnings.append(
            f"{label} is connected by USB {usb}, wanted USB 3: high rates and sizes are not available and frames may "
            "be lost; use a USB 3 port (blue) and the cable that came with the camera"
        )
    if not firmware:
        warnings.append(f"{label} does not tell its firmware version: install its firmware with rs-fw-update")
    elif wanted and _version(firmware) < _version(wanted):
        warnings.append(
            f"{label} has the firmware {firmware}, older than the {wanted} that the SDK recommends: update it with "
            "rs-fw-update or the RealSense Viewer"
        )
    return CameraInfo(name, serial, usb, firmware, tuple(warnings))


def needs_firmware(device: Any) -> bool:
    return bool(device.is_update_device())


def device_holders(roots: Iterable[str] = ("/dev/video", "/dev/bus/usb/")) -> list[str]:
    """The other processes that have a camera device open, as `name (pid 12)`; on Linux, as far as we may look."""
    holders, own = [], os.getpid()
    prefixes = tuple(roots)
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
        if int(process.name) == own:
            continue
        try:
            if any(os.readlink(fd).startswith(prefixes) for fd in (process / "fd").iterdir()):
                holders.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:
            # It ended while we looked, or belongs to another user.
            continue
    return holders


def start_error(error: Exception, label: str, modes: str) -> SourceError:
    text = str(error)
    if _BUSY.search(text):
        holders = device_holders()
        who = f": {', '.join(holders)}" if holders else ""
        return SourceError(f"{label} is busy, another program uses it{who}; close that program and try again ({text})")
    if _DENIED.search(text):
        return SourceError(f"{label} cannot be opened with this user's rights: {UDEV_REMEDY} ({text})")
    if "disconnected" in text.lower() or "no device" in text.lower():
        return CameraAbsentError(f"{label} was unplugged while it was being opened: connect it and try again ({text})")
    return SourceError(f"{label} cannot be started: {text}; {modes}")


def offered_modes(rs: Any, device: Any, stream: str, fmt: str) -> str:
    """The sizes and rates that a device offers of one stream, for messages."""
    kind, wanted, found = getattr(rs.stream, stream), getattr(rs.format, fmt), set()
    for profile in (p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()):
        if profile.stream_type() == kind and profile.format() == wanted and profile.is_video_stream_profile():
            video = profile.as_video_stream_profile()
            found.add((video.width(), video.height(), profile.fps()))
    return ", ".join(f"{w}x{h}@{fps}" for w, h, fps in sorted(found)) or "nothing"


def apply_controls(rs: Any, device: Any, config: RealSenseConfig, label: str) -> None:
    """Set the depth sensor's controls that were asked for, the preset first because it changes the others."""
    sensor = depth_sensor(rs, device, label)
    if config.preset is not None:
        _set_control(sensor, rs.option.visual_preset, _preset_value(rs, sensor, config.preset, label), label)
    if config.emitter is not None:
        _set_control(sensor, rs.option.emitter_enabled, float(config.emitter), label)
    if config.laser_power is not None:
        _set_control(sensor, rs.option.laser_power, config.laser_power, label)
    if config.exposure_us is not None:
        if sensor.supports(rs.option.enable_auto_exposure):
            _set_control(sensor, rs.option.enable_auto_exposure, 0.0, label)
        _set_control(sensor, rs.option.exposure, float(config.exposure_us), label)
    for other in device.query_sensors():
        # Otherwise the colour camera halves its rate in the dark, and its frames no longer pair with depth.
        if other.supports(rs.option.auto_exposure_priority):
            _set_control(other, rs.option.auto_exposure_priority, 0.0, label)


def _set_control(sensor: Any, option: Any, value: float, label: str) -> None:
    name = option.name.replace("_", " ")
    if not sensor.supports(option):
        raise ConfigurationError(f"{label} has no control {name!r}: leave that option out")
    limits = sensor.get_option_range(option)
    if not limits.min <= value <= limits.max:
        raise ConfigurationError(f"{label}: {name} must be {limits.min:g} to {limits.max:g}, got {value:g}")
    try:
        sensor.set_option(option, value)
    except RuntimeError as error:
        raise SourceError(f"{label} refused to set {name} to {value:g}: {error}") from error


def _preset_value(rs: Any, sensor: Any, preset: str, label: str) -> float:
    option = rs.option.visual_preset
    names: dict[str, int] = {}
    if sensor.supports(option):
        limits = sensor.get_option_range(option)
        for value in range(int(limits.min), int(limits.max) + 1):
            names[sensor.get_option_value_description(option, value) or str(value)] = value
    for name, value in names.items():
        if name.casefold() == preset.casefold():
            return float(value)
    raise ConfigurationError(f"{label} has no preset {preset!r}, it has {', '.join(names) or 'none'}")


def depth_sensor(rs: Any, device: Any, label: str) -> Any:
    for sensor in device.query_sensors():
        if sensor.is_depth_sensor() or sensor.supports(rs.option.depth_units):
            return sensor
    raise SourceError(f"{label} has no depth sensor: use a depth camera of the D400 family")
