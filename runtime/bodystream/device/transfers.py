"""Everything that crosses between host and device, in one place, so that it can be counted.

On the CPU both are the same memory, and a read-back costs nothing there; on CUDA each one waits for all work before it.
"""
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import warp as wp

from bodystream.types import Array

__all__ = ["Staged", "Transfers", "counted", "download", "download_together", "upload", "uploaded"]


@dataclass(slots=True)
class Transfers:
    """How often, and how many bytes, went each way.

    Attributes:
        uploads, upload_bytes: from the host to the device. downloads, download_bytes: read back from the device.
    """

    uploads: int = 0
    upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0


_open: ContextVar[Transfers | None] = ContextVar("transfers", default=None)


@contextmanager
def counted() -> Iterator[Transfers]:
    """Count what this thread transfers inside of the `with`."""
    transfers = Transfers()
    token = _open.set(transfers)
    try:
        yield transfers
    finally:
        _open.reset(token)


def _count_upload(size: int) -> None:
    transfers = _open.get()
    if transfers is not None:
        transfers.uploads += 1
        transfers.upload_bytes += size


def _count_download(size: int) -> None:
    transfers = _open.get()
    if transfers is not None:
        transfers.downloads += 1
        transfers.download_bytes += size


def upload(target: wp.array, values: Array) -> None:
    """Write host values to the front of a contiguous device array, along its first axis.

    What goes up with every frame should have its place in a `Staged` array.
    """
    count = len(values)
    if count == 0:
        return
    if target.device.is_cpu:
        part = target.numpy()[:count]
        part[...] = values
        _count_upload(part.nbytes)
    else:
        part: Any = target[:count]
        part.assign(values)
        _count_upload(part.capacity)


def uploaded(values: Array, dtype: Any, device: wp.Device) -> wp.array:
    """A new device array of host values, for what changes now and then."""
    array: Any = wp.array(values, dtype=dtype, device=device)
    _count_upload(array.capacity)
    return array


def download(source: wp.array, count: int | None = None) -> Array:
    """The first `count` entries (default: all) of a device array on the host, after waiting for them.

    On the CPU it is a view: what is to be kept is copied by the caller.
    """
    values: Array = source.numpy()[:count] if source.device.is_cpu else source[:count].numpy()
    _count_download(values.nbytes)
    return values


class Staged:
    """A device array with a twin on the host: the same memory on the CPU, pinned memory beside it on CUDA.

    Uploads from it do not wait: they take their turn on the device's stream. It belongs to one thread.

    Attributes:
        array: on the device, zeros at first.
    """

    def __init__(self, shape: int | tuple[int, ...], dtype: Any, device: wp.Device) -> None:
        self.array: wp.array = wp.zeros(shape, dtype=dtype, device=device)
        self._twin = self.array if device.is_cpu else wp.zeros(shape, dtype=dtype, device="cpu", pinned=True)
        self._view: Array = self._twin.numpy()
        self._sent = None if device.is_cpu else wp.Event(device)
        self._sending = False

    def __len__(self) -> int:
        return len(self._view)

    @property
    def host(self) -> Array:
        """The twin: call `wait` before it is written, and `send` after."""
        return self._view

    def wait(self) -> None:
        """Until the last upload has read the twin."""
        if self._sending:
            wp.synchronize_event(self._sent)
            self._sending = False

    def send(self, count: int | None = None) -> None:
        """Bring the first `count` entries (default: all) of the twin to the device, along its first axis."""
        if self._sent is not None:
            wp.copy(self.array, self._twin, count=self._elements(count))
            wp.get_stream(self.array.device).record_event(self._sent)
            self._sending = True
        _count_upload(self._view[:count].nbytes)

    def upload(self, values: Array) -> None:
        """Write host values to the front of the array, along its first axis."""
        count = len(values)
        if count:
            self.wait()
            self._view[:count] = values
            self.send(count)

    def _elements(self, count: int | None) -> int:
        """Elements of so many entries along the first axis."""
        size: int = self.array.size
        return size if count is None else count * (size // self.array.shape[0])

    def download(self, count: int | None = None) -> Array:
        """The first `count` entries (default: all) along the first axis, after waiting for them.

        A view, valid until the next download or upload, and on the CPU until the device array is written.
        """
        return download_together([self], count)[0]

    def fetch(self, count: int | None) -> None:
        """Begin to bring the first `count` entries to the twin."""
        if self._sent is not None:
            wp.copy(self._twin, self.array, count=self._elements(count))
        _count_download(self._view[:count].nbytes)


def download_together(parts: Sequence[Staged], count: int | None = None) -> list[Array]:
    """The first `count` entries of several staged arrays of one device, which is waited for once."""
    for part in parts:
        part.fetch(count)
    device = parts[0].array.device
    if device.is_cuda:
        wp.synchronize_stream(wp.get_stream(device))
    return [part.host[:count] for part in parts]
