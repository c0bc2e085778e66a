"""Where kernels run: device choice, warm-up, and launches that are recorded once and replayed."""

from bodystream.device.launch import ParallelLaunch
from bodystream.device.select import describe_device, initialise_warp, select_device

__all__ = ["ParallelLaunch", "describe_device", "initialise_warp", "select_device"]
