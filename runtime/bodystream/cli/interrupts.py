"""Ctrl-C and what else asks for an end: the first one is orderly, the second Ctrl-C is at once, the third one always.

A service that is stopped gets SIGTERM, a program whose terminal is closed SIGHUP: both end a session as the first
Ctrl-C does. They may come together and twice, so that they never end the writing that the first one began.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["EXIT_BY_SIGNAL", "EndOnThirdInterrupt", "StopOnInterrupt"]

EXIT_BY_SIGNAL = 128  # plus the signal's number, as shells report it
_ENDS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class StopOnInterrupt:
    """Within the `with` block, the first Ctrl-C, SIGTERM or SIGHUP calls `on_stop`; a Ctrl-C after it raises.

    What is raised is `KeyboardInterrupt`, and the system's own way is put back, so that a third one ends the process.
    A signal that was ignored before, as SIGHUP under `nohup`, stays so. Only the main thread hears of signals;
    elsewhere the block changes nothing.

    Args:
        on_stop: asks the work to end soon; called within the signal handler, so it must not block.

    Attributes:
        requested: whether an end was asked for. number: of the signal that asked first, or None.
    """

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._before: dict[int, Any] = {}
        self.number: int | None = None

    @property
    def requested(self) -> bool:
        return self.number is not None

    def __enter__(self) -> StopOnInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._handle)
            for number in _ENDS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            # After a second Ctrl-C the system's own way stays until the process is gone.
            if number != signal.SIGINT or kind is not KeyboardInterrupt:
                signal.signal(number, before)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.number = number
            self._on_stop()
        elif number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt


class EndOnThirdInterrupt:
    """Within the `with` block, the third Ctrl-C ends the process, whatever it is doing.

    Python's handlers run in the main thread only, and not while that is in a call that does not return (a camera's
    library that hangs). The byte that the system's handler writes at once is read by a thread of its own instead.
    """

    def __enter__(self) -> EndOnThirdInterrupt:
        self._ends: tuple[int, int] | None = None
        if threading.current_thread() is not threading.main_thread() or os.name == "nt":
            return self
        reading, writing = self._ends = os.pipe()
        os.set_blocking(writing, False)
        self._before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), name="third-interrupt", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends is not None:
            signal.set_wakeup_fd(self._before)
            os.close(self._ends[1])  # the thread reads the end and closes the other side

    @staticmethod
    def _watch(reading: int) -> None:
        count = 0
        while data := os.read(reading, 64):
            count += data.count(signal.SIGINT)
            if count >= 3:
                os._exit(EXIT_BY_SIGNAL + signal.SIGINT)
        os.close(reading)
