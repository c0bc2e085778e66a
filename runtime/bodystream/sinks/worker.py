"""A thread of its own for each sink, so that a slow or broken one never holds up the capture."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bodystream.sinks.base import Sink, SinkBase

__all__ = ["SinkWorker"]

T = TypeVar("T")

_WARNINGS = 100  # that are kept


class SinkWorker(Generic[T]):
    """Hands values to `consume` on its own thread: the newest one, or all of them in order within a bound.

    An exception in `consume` is recorded once in `warnings` and the next value is tried; after `patience`
    failures in a row the sink is switched off, which is recorded too. Nothing is ever raised to the producer.

    Args:
        name: of the sink, for messages and the thread.
        consume: takes one value.
        max_rate_hz: values are consumed at most this often, or as many of them as wait; None = as fast as they come.
        patience: failures in a row after which the sink is switched off.
        bound: 1 = the newest value replaces the one that waits; else so many wait, and what comes beyond is left out.
        flush: called after the values that waited together were consumed.
        finish: called once after the last value.

    Attributes:
        consumed, failed: values. dropped: values that were replaced, or for which there was no room.
        broken: whether it was switched off.
        notes: what `finish` returned. failure: what it raised, or None.
    """

    def __init__(
        self,
        name: str,
        consume: Callable[[T], None],
        max_rate_hz: float | None = None,
        patience: int = 20,
        *,
        bound: int = 1,
        flush: Callable[[], None] | None = None,
        finish: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.consumed = self.failed = self.dropped = 0
        self.broken = False
        self.notes: tuple[str, ...] = ()
        self.failure: Exception | None = None
        self._consume, self._flush, self._finish = consume, flush, finish
        self._interval_s = 0.0 if max_rate_hz is None else 1.0 / max_rate_hz
        self._patience, self._bound = patience, bound
        self._failures = 0  # in a row
        self._waiting: deque[T] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, sink: Sink[T]) -> SinkWorker[T]:
        """The worker of a sink, by the settings that it has (see `SinkBase`)."""

        def setting(name: str) -> object:
            return getattr(sink, name, getattr(SinkBase, name))

        bound = int(setting("bound")) if setting("lossless") else 1  # type: ignore[call-overload]
        return cls(
            sink.name,
            sink.publish,
            setting("max_rate_hz"),  # type: ignore[arg-type]
            bound=max(2, bound) if setting("lossless") else 1,
            flush=getattr(sink, "flush", None),
            finish=sink.close,
        )

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def publish(self, value: T, *, keep: bool = False) -> None:
        """Offer a value; returns at once, whatever state the sink is in.

        Args:
            keep: it must not be lost for want of room.
        """
        if self.broken:
            return
        with self._wake:
            if self._bound == 1 and self._waiting and not keep:
                self._waiting.clear()
                self.dropped += 1
            elif len(self._waiting) >= self._bound and not keep:
                self.dropped += 1
                if self.dropped == 1:
                    self.warn(f"it is slower than what it is given: beyond {self._bound} that wait some are left out")
                return
            self._waiting.append(value)
            self._wake.notify()

    def record(self, error: BaseException, doing: str = "") -> None:
        """Add a warning for `error` unless the same was recorded before."""
        text = " ".join(str(error).split()) or "no message"
        self._add(f"{self.name}{f', {doing}' if doing else ''}: {type(error).__name__}: {text}")

    def warn(self, text: str) -> None:
        """Add a warning that is no error of the sink's, unless the same was recorded before."""
        self._add(f"{self.name}: {text}")

    def failed_once_more(self, error: BaseException, in_a_row: int) -> None:
        """Count a failure of the sink's on any thread; after `patience` of them in a row it is switched off.

        Args:
            in_a_row: failures of the caller's, this one included, since it last succeeded. The thread that prepares
                values counts its own: that one is consumed says nothing of it, nor does a moment with nothing to send.
        """
        self.failed += 1
        self.record(error)
        if in_a_row >= self._patience and not self.broken:
            self.broken = True
            self.record(RuntimeError(f"switched off after {in_a_row} failures in a row"))

    def end(self) -> None:
        """Say that no value will come any more; the thread consumes what waits, finishes and stops."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._stopping.set()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Consume what waits, if anything, finish and stop; False where the sink did not come to its end in time."""
        self.end()
        if self._thread is threading.current_thread():
            return True
        self._thread.join(min(timeout_s, threading.TIMEOUT_MAX))
        if self._thread.is_alive():
            self.record(TimeoutError(f"it did not stop within {timeout_s:g} s and was left behind"))
            return False
        return True

    def _add(self, message: str) -> None:
        with self._lock:
            if message not in self.warnings and len(self.warnings) < _WARNINGS:
                self.warnings.append(message)

    def _take(self) -> deque[T] | None:
        """All that waits; None where nothing does and nothing will."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closing)
            taken, self._waiting = self._waiting, deque()
            return taken or None

    def _run(self) -> None:
        while True:
            if self._bound > 1 and self._interval_s:  # gather first: what is written together wakes the thread once
                with self._wake:
                    self._wake.wait_for(lambda: self._waiting or self._closing)
                self._stopping.wait(self._interval_s)
            start = time.monotonic()
            taken = self._take()
            if taken is None:
                break
            while taken and not self.broken:
                self._one(taken.popleft())  # a frame must not live until the next one comes
            if self._flush is not None and not self.broken:
                self._guarded(self._flush)
            if self.broken and self._finish is None:
                return
            if self._bound == 1:
                self._stopping.wait(max(0.0, self._interval_s - (time.monotonic() - start)))
        if self._finish is not None:
            try:
                self.notes = tuple(self._finish() or ())
            except SystemExit as error:
                self.failure = RuntimeError(
                    f"{self.name} called exit({error.code!r}) on its thread, which ends nothing"
                )
            except Exception as error:
                self.failure = error

    def _one(self, value: T) -> None:
        if self._guarded(lambda: self._consume(value)):
            self.consumed += 1
            self._failures = 0

    def _guarded(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except (Exception, SystemExit) as error:  # exit() would end this thread without a word
            self._failures += 1
            self.failed_once_more(error, self._failures)
            return False
        return True
