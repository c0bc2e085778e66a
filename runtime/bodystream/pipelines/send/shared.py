"""What several sinks of one receiver share."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Shared"]


class Shared:
    """Is closed with the last of those who use it.

    Args:
        close: called then, once, on the thread of who leaves last.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close, self._users, self._lock = close, 0, threading.Lock()

    def use(self) -> None:
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._close()
