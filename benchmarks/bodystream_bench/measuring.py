"""How a suite measures, and what it is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import warp as wp

from bodystream.bundles import BundleChoice
from bodystream.errors import BodystreamError
from bodystream_bench.metrics import Direction, Metric

__all__ = ["AccuracyError", "Context", "Timing", "expect", "measure"]

DEFAULT_REPEATS = 200


class AccuracyError(BodystreamError):
    """What was measured computes something wrong, so that its speed means nothing."""


def expect(holds: bool, message: str) -> None:
    """Raise AccuracyError unless a result is right."""
    if not holds:
        raise AccuracyError(f"benchmark: {message}: the figures would be of a wrong result, so none are given")


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of equal steps [ms]."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, durations_ns: Sequence[int]) -> Timing:
        p50, p99 = np.percentile(np.asarray(durations_ns) * 1e-6, (50, 99))
        return cls(float(p50), float(p99))


@dataclass(slots=True)
class Context:
    """One run.

    Attributes:
        device: where our kernels run.
        only: keys or beginnings of keys that are wanted; none = all.
        repeats: steps per timing, or None for the usual number.
        metrics: results so far.
        bundles: `flow` is the network of learned correspondence, `default-clothed` the clothed avatar, `body` the
            body's decoder.
        frames: by suite, the recording that it was measured on.
    """

    device: wp.Device
    only: tuple[str, ...] = ()
    repeats: int | None = None
    bundles: BundleChoice = field(default_factory=BundleChoice)
    metrics: list[Metric] = field(default_factory=list)
    frames: dict[str, str] = field(default_factory=dict)

    def wants(self, key: str) -> bool:
        """Whether `key`, or anything below it, is to be measured."""
        return not self.only or any(_within(key, wanted) or _within(wanted, key) for wanted in self.only)

    def steps(self, usual: int = DEFAULT_REPEATS) -> int:
        return usual if self.repeats is None else self.repeats

    def measured_on(self, suite: str, frames: str) -> None:
        """Remember what a suite was measured on: figures of other frames are not to be compared."""
        self.frames[suite] = frames

    def note(self, message: str) -> None:
        """Tell the user on stderr."""
        print(f"bench: {message}", file=sys.stderr, flush=True)

    def add(self, key: str, value: float, unit: str, direction: Direction, tolerance: float) -> None:
        """Record a figure if it is wanted."""
        if not self.only or any(_within(key, wanted) for wanted in self.only):
            self.metrics.append(Metric(key, float(value), unit, direction, tolerance))

    def add_timing(self, prefix: str, timing: Timing) -> None:
        """Record `<prefix>.p50_ms` and `.p99_ms`; the tail of a shared machine is looser than its middle."""
        self.add(f"{prefix}.p50_ms", timing.p50_ms, "ms", "lower", 0.3)
        self.add(f"{prefix}.p99_ms", timing.p99_ms, "ms", "lower", 1.0)


def _within(key: str, beginning: str) -> bool:
    return key == beginning or key.startswith(beginning + ".")


def measure(
    step: Callable[[], object],
    repeats: int,
    *,
    before: Callable[[], object] | None = None,
    warm_up: int = 10,
    device: wp.Device | None = None,
) -> Timing:
    """Time `repeats` calls of `step` after a warm-up.

    Args:
        before: called before each step, outside the measured time.
        device: waited for at the end of each step where it is CUDA.
    """
    durations = []
    for i in range(min(warm_up, repeats) + repeats):
        if before is not None:
            before()
        if device is not None and device.is_cuda:
            wp.synchronize_device(device)
        start = time.perf_counter_ns()
        step()
        if device is not None and device.is_cuda:
            wp.synchronize_device(device)
        if i >= min(warm_up, repeats):
            durations.append(time.perf_counter_ns() - start)
    return Timing.of(durations)
