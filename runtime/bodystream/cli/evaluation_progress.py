"""A bar that follows an evaluation, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["evaluation_progress"]


@contextmanager
def evaluation_progress(name: str, takes: int, console: Console) -> Iterator[Callable[[str, int], None]]:
    """Yields what `pose.evaluation.protocol.evaluate` calls after each clip."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=takes)

        def advance(clip: str, frames: int) -> None:
            bar.update(task, advance=1, description=f"{name}  {clip}  {frames} frames")

        yield advance
