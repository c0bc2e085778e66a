"""Ctrl-C during a training: the first lets it save, the second quits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["noted_interrupts"]


@contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """A list that is filled by the first Ctrl-C, SIGTERM or SIGHUP; the second one raises KeyboardInterrupt.

    Outside the main thread, where Python takes no signals, it stays empty.
    """
    seen: list[int] = []

    def note(number: int, _frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    # A closed terminal ends a training as Ctrl-C does.
    wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
