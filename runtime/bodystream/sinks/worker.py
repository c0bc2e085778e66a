"""A thread of its own for each sink, so that a slow or broken one never holds up the capture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from bodystream.timing import Slot

__all__ = ["SinkWorker"]

T = TypeVar("T")


class SinkWorker(Generic[T]):
    """Hands the newest value to `consume` on its own thread.

    An exception in `consume` is recorded once in `warnings` and the next value is tried; after `patience`
    failures in a row the sink is switched off, which is recorded too. Nothing is ever raised to the producer.

    Args:
        name: of the sink, for messages and the thread.
        consume: takes one value.
        max_rate_hz: values are consumed at most this often; None = as fast as they come.
        patience: failures in a row after which the sink is switched off.
    """

    def __init__(
        self, name: str, consume: Callable[[T], None], max_rate_hz: float | None = None, patience: int = 20
    ) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.consumed = 0
        self.failed = 0
        self.broken = False
        self._consume = consume
        self._interval_s = 0.0 if max_rate_hz is None else 1.0 / max_rate_hz
        self._patience = patience
        self._slot: Slot[T] = Slot()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Values that were replaced by newer ones before the sink came to them."""
        return self._slot.drop_count

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def publish(self, value: T) -> None:
        """Offer a value; returns at once, whatever state the sink is in."""
        if not self.broken:
            self._slot.put(value)

    def record(self, error: BaseException, doing: str = "") -> None:
        """Add a warning for `error` unless the same was recorded before."""
        text = " ".join(str(error).split()) or "no message"
        self._add(f"{self.name}{f', {doing}' if doing else ''}: {type(error).__name__}: {text}")

    def warn(self, text: str) -> None:
        """Add a warning that is no error of the sink's, unless the same was recorded before."""
        self._add(f"{self.name}: {text}")

    def close(self, timeout_s: float = 5.0) -> bool:
        """Consume the value that waits, if any, and stop; False where the sink did not come to its end in time."""
        self._slot.close()
        self._stopping.set()
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.record(TimeoutError(f"it did not stop within {timeout_s:g} s and was left behind"))
            return False
        return True

    def _add(self, message: str) -> None:
        with self._lock:
            if message not in self.warnings and len(self.warnings) < 100:
                self.warnings.append(message)

    def _run(self) -> None:
        failures = 0
        while True:
            value = self._slot.take()
            if value is None:
                return
            start = time.monotonic()
            try:
                self._consume(value)
                self.consumed += 1
                failures = 0
            except Exception as error:
                self.failed += 1
                failures += 1
                self.record(error)
                if failures >= self._patience:
                    self.broken = True
                    self.record(RuntimeError(f"switched off after {failures} failures in a row"))
                    return
            del value  # a frame must not live until the next one comes
            self._stopping.wait(max(0.0, self._interval_s - (time.monotonic() - start)))
