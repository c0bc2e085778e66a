"""The GPU that TensorRT runs on, as far as the provider needs it: Warp's device, its stream and its CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import warp as wp

from bodystream.engines.base import memory_of
from bodystream.errors import DeviceError

__all__ = ["Gpu", "gpu_of"]


class Gpu:
    """One CUDA device of Warp.

    Attributes:
        device: where arrays are made.
        name: model and architecture, by which plans are told apart.
        driver: the CUDA version of its driver.
    """

    def __init__(self, device: wp.Device) -> None:
        self.device = device
        self.name = f"{device.name} (sm_{device.arch})"
        self.driver = ".".join(str(part) for part in wp.get_cuda_driver_version() or ("unknown",))

    def current(self) -> AbstractContextManager[Any]:
        """Makes it the device that TensorRT builds for and loads on."""
        return wp.ScopedDevice(self.device)

    @property
    def stream(self) -> int:
        """Handle of the stream that Warp's kernels run on now."""
        return int(self.device.stream.cuda_stream)

    @property
    def capturing(self) -> bool:
        """Whether the caller is recording that stream into a graph of its own."""
        return bool(self.device.is_capturing)

    def holds(self, array: Any) -> bool:
        """Whether an array lies in memory of a GPU."""
        memory = memory_of(array)
        return memory is not None and memory.on_gpu

    def captured(self, work: Callable[[], None]) -> Any:
        """A CUDA graph of what `work` puts on the stream; nothing of it is done yet."""
        wp.capture_begin(self.device, force_module_load=False)
        try:
            work()
        except BaseException:
            with suppress(Exception):  # the first error is the one that says why
                wp.capture_end(self.device)
            raise
        return wp.capture_end(self.device)

    def launch(self, graph: Any) -> None:
        """Do what was captured."""
        wp.capture_launch(graph, stream=self.device.stream)


def gpu_of(device: wp.Device | None) -> Gpu:
    """The GPU of the caller's kernels, or else the first one.

    Raises:
        DeviceError: there is none.
    """
    if device is not None and device.is_cuda:
        return Gpu(device)
    if not wp.is_cuda_available():
        raise DeviceError("tensorrt needs an NVIDIA GPU with its driver, and there is none: see `bodystream doctor`")
    return Gpu(wp.get_device("cuda:0"))
