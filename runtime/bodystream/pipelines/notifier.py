"""Calls who listens to a session on a thread of its own, so that no listener ever holds up the pipeline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Notifier"]

_PROGRESS_S = 0.05  # between two calls with progress: a person sees no more
_BOUND = 64  # results that wait for a listener who is slow
_NOTES = 1000


class Notifier:
    """Progress: the newest one wins, some twenty times a second at most. Results and notes: in order, within a bound.

    What a listener raises becomes a warning; one that blocks loses what does not fit, which is warned of, too.

    Args:
        warn: takes a line for a person; from any thread.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._wake = threading.Condition()
        self._queue: deque[tuple[Callable[[Any], object], Any, str]] = deque()
        self._latest: tuple[Callable[[Any], object], Any] | None = None
        self._due_s = 0.0
        self._calling = self._hurry = self._closing = False
        self._thread: threading.Thread | None = None

    def note(self, listener: Callable[[Any], object] | None, value: object, what: str = "on_note") -> None:
        """Something that must be heard, in order."""
        self._put(listener, value, what, _NOTES)

    def result(self, listener: Callable[[Any], object] | None, value: object) -> None:
        """One of many, in order."""
        if listener is not None:
            self._put(listener, value, "on_result", _BOUND)

    def progress(self, listener: Callable[[Any], object] | None, value: object) -> None:
        """How things stand now; what was not told yet is replaced."""
        if listener is None:
            return
        with self._wake:
            waits = self._latest is not None
            self._latest = (listener, value)
            if not waits:
                self._start()
                self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all was told; False where a listener takes longer, or is who calls this."""
        if threading.current_thread() is self._thread:
            return False
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            return self._wake.wait_for(lambda: not (self._queue or self._latest or self._calling), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Tell what waits, and stop; a listener that blocks is left behind."""
        told = self.flush(timeout_s)
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        if not told:
            self._warn(f"a listener did not return within {timeout_s:g} s and was left behind")
            return
        thread.join(timeout_s)

    def _put(self, listener: Callable[[Any], object] | None, value: object, what: str, bound: int) -> None:
        if listener is None:
            return
        with self._wake:
            if self._closing:
                return
            full = len(self._queue) >= bound
            if not full:
                self._queue.append((listener, value, what))
                self._start()
                self._wake.notify_all()
        if full:
            self._warn(f"{what} is slower than the pipeline: some of what it would be told is left out")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="session-notifier", daemon=True)
            self._thread.start()

    def _take(self) -> tuple[Callable[[Any], object], Any, str] | None:
        with self._wake:
            self._calling = False
            while True:
                if self._queue:
                    break
                wait_s = None
                if self._latest is not None:
                    wait_s = self._due_s - time.monotonic()
                    if wait_s <= 0 or self._hurry or self._closing:
                        break
                else:
                    self._hurry = False
                    self._wake.notify_all()
                    if self._closing:
                        return None
                self._wake.wait(wait_s)
            self._calling = True
            if self._queue:
                return self._queue.popleft()
            assert self._latest is not None
            (listener, value), self._latest = self._latest, None
            self._due_s = time.monotonic() + _PROGRESS_S
            return listener, value, "on_progress"

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            listener, value, what = taken
            try:
                listener(value)
            except (Exception, SystemExit) as error:  # exit() would end this thread without a word
                text = " ".join(str(error).split()) or "no message"
                self._warn(f"{what}: {type(error).__name__}: {text}")
            del taken, value  # a frame must not live until the next one comes
