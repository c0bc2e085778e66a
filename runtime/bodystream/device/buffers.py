"""Launches that are made again and again with other buffers, buffers that grow, and views of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import warp as wp

from bodystream.device.launches import Kernel, RecordedLaunch

__all__ = ["LaunchCache", "grown", "view_as"]


class LaunchCache:
    """Recorded launches, one per kernel, whose parameters are replaced only where they changed.

    A parameter has changed when it is another object than before; structs are taken as they are at each call, since
    their owners replace arrays in them that grow.

    Args:
        device: where the kernels run.
    """

    def __init__(self, device: wp.Device) -> None:
        self._device = device
        self._launches: dict[Kernel, RecordedLaunch] = {}

    def __call__(
        self, kernel: Kernel, dim: int, inputs: Sequence[Any], *, min_chunk: int = 64, split: bool = True
    ) -> None:
        """Run `kernel` over `dim` threads.

        Args:
            kernel, inputs, min_chunk, split: as for `RecordedLaunch`; the last two count at the first call.
        """
        if dim > 0:
            self.prepare(kernel, dim, inputs, min_chunk=min_chunk, split=split)()

    def prepare(
        self, kernel: Kernel, dim: int, inputs: Sequence[Any], *, min_chunk: int = 64, split: bool = True
    ) -> RecordedLaunch:
        """The kernel's launch with these parameters, to be called as often as they hold: see `__call__`."""
        known = self._launches.get(kernel)
        if known is None:
            known = RecordedLaunch(kernel, dim, inputs, self._device, min_chunk=min_chunk, split=split)
            self._launches[kernel] = known
        else:
            known.update(dim, inputs)
        return known


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


def view_as(
    array: Any, dtype: Any, shape: int | tuple[int, ...], begin: int = 0, strides: tuple[int, ...] | None = None
) -> wp.array:
    """A part of a contiguous array as another type and shape; it keeps the memory.

    Args:
        begin: byte at which it begins. strides: bytes between entries along each axis; one behind the other where None.
    """
    view: wp.array = wp.array(
        ptr=array.ptr + begin, dtype=dtype, shape=shape, strides=strides, device=array.device, copy=False
    )
    view._ref = array  # as Warp's own slices do
    return view
