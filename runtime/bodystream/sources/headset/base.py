"""What every source of head and hand poses offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from bodystream.sources.base import SourceCounts
from bodystream.types import HeadsetSample

__all__ = ["HeadsetSource", "SourceCounts", "Trace"]


@runtime_checkable
class HeadsetSource(Protocol):
    """Yields samples of head and hands in order of time until it ends or is closed.

    Poses are in the world frame: right-handed, y up, the floor at y = 0, metres, quaternions xyzw. Units, axes and
    quaternions are as the device or the file gave them; whether they make sense is for `checks.SampleChecker` to say,
    which every pipeline puts behind its source.

    Threading: one thread iterates, and only one iteration is under way at a time. `__iter__` may block for the next
    sample. `close` may come from any thread and at any time, also twice and before the first sample: an iteration that
    is blocked then ends within a second, without an error. `counts` is written by the iterating thread, and by the
    source's own threads where it has some; its numbers may be read from any thread at any time.

    Attributes:
        name: what a person would call it: `openxr:Monado`, `trace:quest3_session.json`, `motion:02_01`.
        live: true where samples come at the device's pace and the newest one wins; false for recordings, which are
            read as fast as they are processed and lose nothing.
        rate_hz: nominal sample rate, or None where it is not known.
        counts: what was delivered and lost. `lost` counts the gaps of `HeadsetSample.index`.

    Errors: a device or file that cannot be opened raises a `BodystreamError` from the constructor or from the first
    `next`; a device that goes away for good raises `SourceError` from the iteration. A head or hand that is not
    tracked is not an error, it is None in the sample.
    """

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...

    @property
    def rate_hz(self) -> float | None: ...

    @property
    def counts(self) -> SourceCounts: ...

    def __iter__(self) -> Iterator[HeadsetSample]: ...

    def close(self) -> None:
        """Stop and release the device or files; safe to call twice and from another thread."""
        ...


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording of a headset, read into memory.

    Attributes:
        name: the file's name.
        samples: in the file's order. `t_ns` starts at 0 and `device_t_ns` is the recording's own time; positions and
            quaternions are as the file has them.
        warnings: what the reader noticed, for a person.
    """

    name: str
    samples: tuple[HeadsetSample, ...]
    warnings: tuple[str, ...] = ()

    @property
    def rate_hz(self) -> float | None:
        """From the median time between samples; None for fewer than two samples or a clock that stands still."""
        if len(self.samples) < 2:
            return None
        step_ns = float(np.median(np.diff([sample.t_ns for sample in self.samples])))
        return 1e9 / step_ns if step_ns > 0 else None
