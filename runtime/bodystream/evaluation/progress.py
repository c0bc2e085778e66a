"""Progress of work whose length is known: a bar on a terminal, a line now and then where the output is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["counted_progress", "duration_text"]

_PLAIN_EVERY_S = 10.0


@contextmanager
def counted_progress(
    name: str, total: int, console: Console, *, done: int = 0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, str], None]]:
    """Yields `advance(done, note)`, to be called with how much is done and a word about it.

    Args:
        total: how much there is to do. done: what was done before.
        console: of stderr, so that stdout stays for results.
        clock: seconds.
    """
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(name, total=total, completed=done)
            yield lambda now, note: bar.update(task, completed=now, description=f"{name}  {note}".rstrip())
        return
    began_s = last_s = clock()

    def advance(now: int, note: str) -> None:
        nonlocal last_s
        now_s = clock()
        if now_s - last_s < _PLAIN_EVERY_S or now <= done:
            return
        last_s = now_s
        left = duration_text((now_s - began_s) / (now - done) * max(0, total - now))
        console.print(Text(f"{name}  {now}/{total}  {left} left  {note}".rstrip()), soft_wrap=True)

    yield advance


def duration_text(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
