"""Where kernels run: device choice, warm-up, and launches that are recorded once and replayed."""

from bodystream.device.kernel_cache import heal_kernel_cache, kernel_cache_is_own, kernels_are_built, load_kernels
from bodystream.device.launch import ParallelLaunch
from bodystream.device.select import describe_device, initialise_warp, select_device

__all__ = [
    "ParallelLaunch",
    "describe_device",
    "heal_kernel_cache",
    "initialise_warp",
    "kernel_cache_is_own",
    "kernels_are_built",
    "load_kernels",
    "select_device",
]
