"""One line of progress on a terminal; plain lines where the output is not one."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

if TYPE_CHECKING:
    from bodystream.pipelines.drive_session import DriveProgress
    from bodystream.pipelines.session import Progress
    from bodystream.sinks import CaptureReport, DriveReport

__all__ = ["StatusLine"]

_PLAIN_EVERY_S = 2.0
_BUILD_NOTICE_S = 1.0


class StatusLine:
    """Progress on stderr, so that stdout stays for results."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live: RichLive | None = None
        self._last_s = 0.0
        self._build_start_s: float | None = None
        self._text = ""
        self._shown = ""

    def __enter__(self) -> StatusLine:
        if self._console.is_terminal:
            self._live = RichLive(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def building(self, module: str, number: int, total: int) -> None:
        """Kernels are loaded in an instant, or built for some seconds each on a first start."""
        now_s = time.monotonic()
        if self._build_start_s is None:
            self._build_start_s = now_s
        if now_s - self._build_start_s > _BUILD_NOTICE_S:
            self._show(f"building kernels {number}/{total} (first start only): {module}", _PLAIN_EVERY_S)

    def progress(self, p: Progress) -> None:
        state = p.status.value + (f" ({p.reason})" if p.reason else "")
        self._show(
            f"frame {p.processed}  {p.fps:.1f} fps  {p.latency_ms:.0f} ms  {p.dropped} dropped  "
            f"{p.nodes} nodes  {p.vertices} vertices  {state}",
            _PLAIN_EVERY_S,
        )

    def driving(self, p: DriveProgress) -> None:
        state = p.status.value + (f" ({p.reason})" if p.reason else "")
        self._show(
            f"pose {p.processed}  {p.rate_hz:.0f} Hz  {p.latency_ms:.1f} ms  {p.dropped} dropped  {state}",
            _PLAIN_EVERY_S,
        )

    def print(self, message: str) -> None:
        """A line that stays; a long one is not broken, so that it can be searched for and copied."""
        self._console.print(Text(message), soft_wrap=True)

    def print_json(self, report: CaptureReport | DriveReport) -> None:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")

    def finish(self) -> None:
        """Leave the last progress on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._shown = ""
        if self._text != self._shown:
            self.print(self._text)
            self._shown = self._text

    def _show(self, text: str, plain_every_s: float) -> None:
        self._text = text
        if self._live is not None:
            self._live.update(Text(text))
            return
        now_s = time.monotonic()
        if now_s - self._last_s >= plain_every_s:
            self._last_s = now_s
            self._shown = text
            self.print(text)
