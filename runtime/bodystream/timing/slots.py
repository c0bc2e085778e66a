"""Newest-wins hand-over between two threads."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

__all__ = ["Slot"]

T = TypeVar("T")


class Slot(Generic[T]):
    """Holds the newest value; a slow consumer skips values, which are counted as dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._value: T | None = None
        self._closed = False
        self._error: BaseException | None = None
        self.put_count = 0
        self.drop_count = 0

    def put(self, value: T) -> None:
        """Replace the waiting value, if any; never blocks."""
        with self._condition:
            self.put_count += 1
            if self._value is not None:
                self.drop_count += 1
            self._value = value
            self._condition.notify_all()

    def put_when_empty(self, value: T) -> bool:
        """Wait until the consumer took the previous value (lossless hand-over); False when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._value is None or self._closed)
            if self._closed:
                return False
            self.put_count += 1
            self._value = value
            self._condition.notify_all()
            return True

    def wait_until_empty(self) -> bool:
        """Wait until the consumer took the value; False when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._value is None or self._closed)
            return not self._closed

    def take(self, timeout_s: float | None = None) -> T | None:
        """The newest value not yet taken; None when closed and empty.

        Raises:
            TimeoutError: nothing came within `timeout_s`.
            BaseException: the error that the producer closed the slot with, after the last value.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while self._value is None and not self._closed:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError(f"no value within {timeout_s} s")
                self._condition.wait(remaining)
            value, self._value = self._value, None
            if value is None and self._error is not None:
                raise self._error
            self._condition.notify_all()
            return value

    def close(self, error: BaseException | None = None) -> None:
        """No more values will come; a waiting consumer wakes up."""
        with self._condition:
            self._closed = True
            self._error = error
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed
