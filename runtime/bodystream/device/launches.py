"""Kernel launches: for once, or recorded, replayed cheaply, and split over threads on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeAlias

import warp as wp

__all__ = ["Kernel", "RecordedLaunch", "launch"]

Kernel: TypeAlias = Any
"""A `wp.Kernel`: what Warp's decorator makes of a function, for which type checkers still take it."""

_PLAIN = (wp.array, int, float)  # the same object means the same; a struct may hold other arrays than before


@cache
def _worker_count() -> int:
    """Threads that share a CPU launch: the processors this process may use, at most 8."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_worker_count(), thread_name_prefix="warp-cpu")


class RecordedLaunch:
    """One kernel with fixed buffers, launched many times.

    The kernel's first parameter must be `begin: wp.int32`, and its index `begin + wp.tid()`: Warp runs a CPU
    kernel on one thread and releases the GIL, so the range is cut into equal chunks over a small pool. On CUDA
    it is one launch with `begin = 0` on the current stream, and so may be captured in a graph.

    Args:
        kernel: 1D Warp kernel whose threads never write the same address: `wp.atomic_*` is a plain read and
            write on the CPU, so it is safe within a chunk only.
        dim: number of threads; `__call__` may launch another.
        inputs: the parameters after `begin`. A struct counts as it is when it is given, or given again to `update`:
            whether what is written into it later is seen is left open by Warp.
        device: where it runs.
        min_chunk: ranges shorter than two of these are not split.
        split: false for a kernel that scatters with atomics, which must stay on one CPU thread.
    """

    def __init__(
        self,
        kernel: Kernel,
        dim: int,
        inputs: Sequence[Any],
        device: wp.Device,
        *,
        min_chunk: int = 1024,
        split: bool = True,
    ) -> None:
        self._kernel = kernel
        self._dim = dim
        self._min_chunk = min_chunk
        self._workers = _worker_count() if device.is_cpu and split else 1
        # A recorded launch holds bare addresses: its arrays must live as long as it does.
        self._inputs = list(inputs)
        self._commands: list[Any] = [
            wp.launch(kernel, dim=max(1, dim), inputs=[0, *inputs], device=device, record_cmd=True)
            for _ in range(self._workers)
        ]
        self._ranges = [(0, max(1, dim))] * self._workers  # of each command as it is

    def set_param(self, name: str, value: Any) -> None:
        """Replace the kernel's parameter `name`, for a buffer that grew or a new scalar.

        Raises:
            ValueError: the kernel has no such parameter.
        """
        place = _places(self._kernel).get(name)
        if not place:  # 0 is `begin`, which is not the caller's
            known = ", ".join(list(_places(self._kernel))[1:])
            raise ValueError(f"kernel {self._kernel.key} has no parameter {name!r} to set, but {known}")
        self._set(place, value)

    def update(self, dim: int, inputs: Sequence[Any]) -> None:
        """Take another number of threads, and those `inputs` that are other objects than before, or structs."""
        self._dim = dim
        for i, (value, before) in enumerate(zip(inputs, self._inputs, strict=True)):
            if value is not before or not isinstance(value, _PLAIN):
                self._set(i + 1, value)

    def _set(self, place: int, value: Any) -> None:
        self._inputs[place - 1] = value
        for command in self._commands:
            command.set_param_at_index(place, value)

    def __call__(self, dim: int | None = None) -> None:
        """Run over `dim` threads (default: the recorded number) and wait for the CPU chunks."""
        count = self._dim if dim is None else dim
        if count <= 0:
            return
        chunks = min(self._workers, max(1, count // self._min_chunk))
        if chunks == 1:
            self._run(0, 0, count)
            return
        bounds = [count * i // chunks for i in range(chunks + 1)]
        futures = [_pool().submit(self._run, i, bounds[i], bounds[i + 1]) for i in range(1, chunks)]
        self._run(0, 0, bounds[1])
        for future in futures:
            future.result()

    def _run(self, worker: int, begin: int, end: int) -> None:
        command = self._commands[worker]
        if self._ranges[worker] != (begin, end):  # most are launched over the same range again
            command.set_param_at_index(0, begin)
            command.set_dim(end - begin)
            self._ranges[worker] = (begin, end)
        command.launch()


def launch(
    kernel: Kernel,
    dim: int,
    inputs: Sequence[Any],
    device: wp.Device,
    *,
    min_chunk: int = 1024,
    split: bool = True,
) -> None:
    """Run a kernel once, as `RecordedLaunch` would; what is launched again and again should be recorded."""
    if dim > 0:
        RecordedLaunch(kernel, dim, inputs, device, min_chunk=min_chunk, split=split)()


@cache
def _places(kernel: Kernel) -> dict[str, int]:
    """Index of each parameter of a kernel by its name."""
    return {argument.label: place for place, argument in enumerate(kernel.adj.args)}
