"""Recorded launches by kernel, and small helpers for buffers that grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import warp as wp

from bodystream.device import ParallelLaunch
from bodystream.types import Array

__all__ = ["LaunchCache", "grown", "upload"]


class LaunchCache:
    """Recorded launches, one per kernel, whose parameters are replaced only where they changed.

    Args:
        device: where the kernels run.
    """

    def __init__(self, device: wp.Device) -> None:
        self._device = device
        self._launches: dict[wp.Kernel, tuple[ParallelLaunch, list[Any]]] = {}

    def __call__(self, kernel: wp.Kernel, dim: int, inputs: Sequence[Any], min_chunk: int = 64) -> None:
        """Run `kernel` over `dim` threads.

        Args:
            kernel, inputs, min_chunk: as for `ParallelLaunch`; `min_chunk` counts at the first call.
        """
        if dim <= 0:
            return
        known = self._launches.get(kernel)
        if known is None:
            launch = ParallelLaunch(kernel, dim, inputs, self._device, min_chunk=min_chunk)
            self._launches[kernel] = (launch, list(inputs))
        else:
            launch, before = known
            for i, value in enumerate(inputs):
                if value is not before[i]:
                    launch.set_param(i, value)
                    before[i] = value
        launch(dim)


def upload(target: wp.array, values: Array) -> None:
    """Write host values to the front of a 1D device array."""
    if len(values):
        if target.device.is_cpu:
            target.numpy()[: len(values)] = values
        else:
            target[: len(values)].assign(values)


def grown(array: Any, size: int, fill: float = 0) -> Any:
    """A 1D array of `size` entries that begins with those of `array`; the rest is `fill`."""
    bigger: Any = wp.empty(size, dtype=array.dtype, device=array.device)
    kept = min(array.size, size)
    if kept:
        wp.copy(bigger, array, count=kept)
    if size > kept:
        if fill:
            bigger[kept:].fill_(fill)
        else:
            bigger[kept:].zero_()
    return bigger
