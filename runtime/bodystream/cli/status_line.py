"""One line of progress on a terminal; plain lines where the output is not one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

if TYPE_CHECKING:
    from bodystream.pipelines.recording.session import RecordProgress
    from bodystream.pipelines.run import Progress

__all__ = ["StatusLine"]

_PLAIN_EVERY_S = 2.0
_WIDTH = 80  # where there is no terminal to ask


class _Console(Console):
    """Rich's own way with a pipe that broke is to end the program, and to send what goes to stdout nowhere, too."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class StatusLine:
    """Progress on stderr, so that stdout stays for results.

    What cannot be printed (a closed terminal, a full disk, a reader that has gone) is not printed: the line falls
    silent, and what it tells of goes on.
    """

    def __init__(self) -> None:
        self._console = _Console(stderr=True, highlight=False)
        self._live: RichLive | None = None
        self._silent = False
        self._last_s = 0.0
        self._text = ""
        self._shown = ""

    def __enter__(self) -> StatusLine:
        if self._console.is_terminal:
            self._live = RichLive(console=self._console, refresh_per_second=8, transient=True, auto_refresh=False)
            self._try(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def building(self, module: str, number: int, total: int) -> None:
        """A module of kernels is built, which takes some seconds; it is not called where they are there."""
        self._show(f"building kernels {number}/{total} (first start only): {module}")

    def progress(self, p: Progress) -> None:
        parts = [
            _counted("frame", p.processed, p.done, p.total),
            f"{p.rate_hz:.1f} fps",
            f"{p.latency_ms:.0f} ms",
            f"{p.dropped} dropped",
            f"{p.nodes} nodes",
            f"{p.vertices} vertices",
        ]
        self._show(self._fitted(parts, p.status.value, p.reason, _left(p.done, p.total, p.rate_hz)))

    def driving(self, p: Progress) -> None:
        parts = [
            _counted("pose", p.processed, p.done, p.total),
            f"{p.rate_hz:.0f} Hz",
            f"{p.latency_ms:.1f} ms",
            f"{p.dropped} dropped",
        ]
        self._show(self._fitted(parts, p.status.value, p.reason, _left(p.done, p.total, p.rate_hz)))

    def recording(self, p: RecordProgress) -> None:
        """What is in a take so far."""
        rate = p.megabytes / p.seconds if p.seconds > 0 else 0.0
        counted, noun = (p.frames, "frame") if p.frames or not p.samples else (p.samples, "sample")
        parts = [_counted(noun, counted, counted, p.total), f"{p.megabytes:.1f} MB", f"{rate:.1f} MB/s"]
        parts += [f"{p.samples} samples"] if noun == "frame" and p.samples else []
        parts += [f"{p.dropped} dropped"] if p.frames else []
        per_second = counted / p.seconds if p.seconds > 0 else 0.0
        self._show(self._fitted(parts, f"{p.seconds:.0f} s", "", _left(counted, p.total, per_second)))

    def converting(self, frames: int, total: int | None) -> None:
        """How many frames of a recording were converted."""
        self._show(_counted("frame", frames, frames, total))

    def reposing(self, poses: int, total: int) -> None:
        """How many poses of a motion were made."""
        self._show(_counted("pose", poses, poses, total))

    def playing(self, poses: int) -> None:
        """How many poses were shown."""
        self._show(_counted("pose", poses, poses, None))

    def print(self, message: str) -> None:
        """A line that stays; a long one is not broken, so that it can be searched for and copied."""
        self._try(lambda: self._console.print(Text(message), soft_wrap=True))

    def print_json(self, report: msgspec.Struct) -> None:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")

    def finish(self) -> None:
        """Leave the last progress on the screen."""
        if self._live is not None:
            self._try(self._live.stop)
            self._live = None
            self._shown = ""
        if self._text != self._shown:
            self.print(self._text)
            self._shown = self._text

    def _fitted(self, parts: list[str], state: str, reason: str, left: str) -> str:
        """One line that is no wider than the terminal: figures from the end, then the reason's end, are left out."""
        width = max(40, self._console.width if self._console.is_terminal else _WIDTH)
        tail = [state] + ([left] if left else [])
        while len(parts) > 2 and len("  ".join([*parts, *tail])) + min(len(reason) + 3, 40) > width:
            parts = parts[:-1]
        room = width - len("  ".join([*parts, *tail])) - len(" ()")
        if reason and room >= 8:
            tail[0] += f" ({reason if len(reason) <= room else reason[: room - 3] + '...'})"
        return "  ".join([*parts, *tail])

    def _show(self, text: str) -> None:
        self._text = text
        now_s = time.monotonic()
        if self._live is not None:
            if now_s - self._last_s >= 0.1:
                self._last_s = now_s
                live = self._live
                self._try(lambda: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True))
            return
        if now_s - self._last_s >= _PLAIN_EVERY_S:
            self._last_s = now_s
            self._shown = text
            self.print(text)

    def _try(self, output: Callable[[], object]) -> None:
        if self._silent:
            return
        try:
            output()
        except (OSError, ValueError):  # ValueError: the file is closed
            self._silent = True


def _counted(what: str, processed: int, done: int, total: int | None) -> str:
    """`frame 12`, or `frame 12/90` where the end is known."""
    return f"{what} {processed}" if total is None else f"{what} {min(done, total)}/{total}"


def _left(done: int, total: int | None, rate_hz: float) -> str:
    """`0:42 left`, where the end is known."""
    if total is None or rate_hz <= 0:
        return ""
    seconds = round(max(0, total - done) / rate_hz)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
