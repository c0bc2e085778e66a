"""What comes into a session, from a source or by being pushed, and how much of it: counts, rates, how far it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.pipelines.reader import Arrival, SourceReader, length_of
from bodystream.sources.base import SourceCounts
from bodystream.timing import Slot
from bodystream.types import Status

__all__ = ["Intake", "Progress", "RunSource", "check_time"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def check_time(what: str, t_ns: object) -> None:
    """Refuse what is no time of `now_ns`.

    Raises:
        InputError: it is no whole number, or none of 64 bits.
    """
    if isinstance(t_ns, bool) or not isinstance(t_ns, (int, np.integer)) or not -(2**63) <= t_ns < 2**63:
        raise InputError(
            f"{what}: t_ns must be a whole number of nanoseconds of at most 64 bits, as bodystream.now_ns() gives, got "
            f"{excerpt(t_ns)}"
        )


class RunSource(Protocol[T_co]):
    """What a session reads: a camera, a headset, or a recording of one."""

    @property
    def counts(self) -> SourceCounts: ...

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...

    @property
    def rate_hz(self) -> float | None: ...

    def __iter__(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """For a status line.

    Attributes:
        processed, dropped: frames or samples so far. rate_hz: over the last ones. latency_ms: of this one.
        status, reason: how it fared.
        done, total: how far the session is; total is None where nobody knows its end.
        nodes, vertices: of a capture's model. flags: of a driven pose.
    """

    processed: int
    dropped: int
    rate_hz: float
    latency_ms: float
    status: Status
    reason: str = ""
    done: int = 0
    total: int | None = None
    nodes: int = 0
    vertices: int = 0
    flags: tuple[str, ...] = ()


class Intake(Generic[T]):
    """Frames or samples on their way in, and counts of those that came, were dropped and were processed.

    Args:
        source: what is read, or None where items are pushed.
        limit: stop after so many processed items, or None.
        window: of the rate, in items.

    Attributes:
        reader: of the source; begins to read when it is started.
        slot: of items that were pushed and nobody waits for.
        counts: of the source.
        passed_over, refused: pushed items that a newer one replaced, or that the pipeline did not take.
        processed: items that were. latency_ns: of the last one.
    """

    def __init__(self, source: RunSource[T] | None, limit: int | None, window: int) -> None:
        self.source, self._limit = source, limit
        self.reader = None if source is None else SourceReader(source, begin=False)
        self.slot: Slot[Arrival[T]] = Slot()
        self.counts = SourceCounts() if source is None else source.counts
        self.passed_over = self.refused = self.processed = self.latency_ns = 0
        self._done_ns: deque[int] = deque(maxlen=window)

    @property
    def is_live(self) -> bool:
        """Whether the newest one wins."""
        return self.source is not None and self.source.live

    @property
    def has_host_times(self) -> bool:
        """Whether an item's age is the host's time less its own; not so of a recording, or of one in slow motion."""
        return self.is_live and getattr(self.source, "host_times", True)

    @property
    def is_done(self) -> bool:
        """Whether as many were processed as were asked for."""
        return self._limit is not None and self.processed >= self._limit

    @property
    def left_out(self) -> int:
        """Items that the pipeline never saw: lost by the source, or replaced by a newer one."""
        read = 0 if self.reader is None else self.reader.dropped
        return read + self.counts.lost + self.slot.drop_count + self.passed_over + self.refused

    @property
    def received(self) -> int:
        """Items that came, those that were lost included."""
        return self.processed + self.left_out if self.reader is None else self.reader.received + self.counts.lost

    @property
    def rate_hz(self) -> float:
        """Over the last items, so that it follows what a person sees."""
        done = self._done_ns
        return 0.0 if len(done) < 2 else (len(done) - 1) * 1e9 / max(1, done[-1] - done[0])

    def count(self, latency_ns: int, end_ns: int) -> None:
        """One more was processed."""
        self.processed += 1
        self.latency_ns = latency_ns
        self._done_ns.append(end_ns)

    def pause(self) -> None:
        """What was before says nothing about the rate of what comes."""
        self._done_ns.clear()

    def progress(self, status: Status, reason: str, dropped: int) -> Progress:
        """How far the session is.

        Args:
            dropped: `left_out` and what the pipeline itself left out.
        """
        length, limit = length_of(self.source), self._limit
        total = length if limit is None or (length is not None and length < limit) else limit
        done = self.processed + (dropped if total is length else 0)
        return Progress(self.processed, dropped, self.rate_hz, self.latency_ns * 1e-6, status, reason, done, total)
