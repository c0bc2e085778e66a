"""Where kernels run: device choice, warm-up, launches, and what crosses between host and device."""

from bodystream.device.buffers import LaunchCache, grown, view_as
from bodystream.device.frame import DeviceFrame
from bodystream.device.kernel_cache import (
    allow_own_folder,
    heal_kernel_cache,
    kernel_cache_is_own,
    kernels_are_built,
    load_kernels,
)
from bodystream.device.launches import Kernel, RecordedLaunch, launch
from bodystream.device.select import describe_device, initialise_warp, select_device
from bodystream.device.transfers import Staged, download, download_together, upload, uploaded

__all__ = [
    "DeviceFrame",
    "LaunchCache",
    "Kernel",
    "RecordedLaunch",
    "Staged",
    "allow_own_folder",
    "describe_device",
    "download",
    "download_together",
    "grown",
    "heal_kernel_cache",
    "initialise_warp",
    "kernel_cache_is_own",
    "kernels_are_built",
    "launch",
    "load_kernels",
    "select_device",
    "upload",
    "uploaded",
    "view_as",
]
