"""The thread that reads a source, so that a slow source and a slow pipeline do not add up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bodystream.timing import Slot, now_ns

__all__ = ["Arrival", "Source", "SourceReader", "length_of"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """What cameras and headsets have in common."""

    @property
    def live(self) -> bool: ...

    def __iter__(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Arrival(Generic[T]):
    """A frame or sample and when it came in on the host's clock."""

    frame: T
    arrived_ns: int


def length_of(source: object) -> int | None:
    """How many frames or samples a source will give, where it knows."""
    if getattr(source, "loops", False) or getattr(source, "loop", False):
        return None
    if isinstance(source, Sized):
        return len(source)
    return getattr(source, "frame_count", None)


class SourceReader(Generic[T]):
    """Reads a source on its own thread into a slot: newest wins for a live source, nothing is lost for a recording.

    Args:
        begin: read at once; else from `start` on, so that nothing is dropped while its reader is not ready.

    Attributes:
        taps: are called with each frame as it comes, on the reader's thread, before any is dropped.
    """

    def __init__(self, source: Source[T], *, begin: bool = True) -> None:
        self._source = source
        self.taps: tuple[Callable[[T], object], ...] = ()
        self._slot: Slot[Arrival[T]] = Slot()
        self._taken = 0
        self._passed_over = 0
        self._thread = threading.Thread(target=self._run, name="source-reader", daemon=True)
        if begin:
            self.start()

    def start(self) -> None:
        """Begin to read; once is enough."""
        if not self._thread.is_alive() and not self._slot.closed:
            self._thread.start()

    @property
    def started(self) -> bool:
        """Whether it has begun to read."""
        return self._thread.ident is not None

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were processed."""
        return self._slot.drop_count + self._passed_over

    @property
    def received(self) -> int:
        """Frames that were taken or dropped; those read ahead and not asked for are not the pipeline's."""
        return self._taken + self._slot.drop_count

    def take(self, timeout_s: float) -> Arrival[T] | None:
        """The newest frame; None at the end of the source.

        Raises:
            TimeoutError: no frame came in time. Whatever the source raised, after its last frame.
        """
        arrival = self._slot.take(timeout_s)
        self._taken += arrival is not None
        return arrival

    def pass_over(self) -> None:
        """Count the frame that was taken last as dropped: a newer one is processed in its place."""
        self._passed_over += 1

    def close(self) -> None:
        """Close the source and wait for the thread."""
        self._source.close()
        self._slot.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        live = self._source.live
        # A frame that costs work to make is made only when the last one was taken.
        on_demand = getattr(self._source, "on_demand", False)
        put = self._slot.put if live else self._slot.put_when_empty
        try:
            for frame in self._source:
                arrival = Arrival(frame, now_ns())
                for tap in self.taps:
                    tap(frame)
                put(arrival)
                del arrival, frame
                if live and on_demand:
                    self._slot.wait_until_empty()
                if self._slot.closed:
                    return
        except BaseException as error:  # handed to the thread that takes frames
            self._slot.close(error)
        else:
            self._slot.close()
