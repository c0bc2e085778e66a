"""Ctrl-C: the first one asks for an orderly end, the second one ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopOnInterrupt"]


class StopOnInterrupt:
    """Within the `with` block, the first Ctrl-C calls `on_stop`, and the second raises `KeyboardInterrupt`.

    The second also puts back the system's own way, so that a third ends the process even where Python is stuck in a
    call that does not return. Only the main thread hears of Ctrl-C; elsewhere the block changes nothing.

    Args:
        on_stop: asks the work to end soon; called within the signal handler, so it must not block.
    """

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._before: Any = None
        self.requested = False

    def __enter__(self) -> StopOnInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a second Ctrl-C the system's own way stays until the process is gone.
        if self._before is not None and kind is not KeyboardInterrupt:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.requested = True
        self._on_stop()
