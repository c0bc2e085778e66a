"""How a live session runs and ends, whatever it is of: Ctrl-C, failures, files, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from bodystream.cli.interrupts import StopOnInterrupt
from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.errors import BodystreamError

if TYPE_CHECKING:
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.outputs import WrittenFiles
    from bodystream.sinks import CaptureReport, DriveReport

    R = TypeVar("R", CaptureReport, DriveReport)
else:
    R = TypeVar("R")

__all__ = ["run_and_write"]


class Session(Protocol):
    """What runs until its source ends, or `stop` is called from any thread."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def run_and_write(
    session: Session,
    line: StatusLine,
    *,
    done: str,
    write_files: Callable[[], WrittenFiles] | None,
    build_report: Callable[[], R],
    warnings: Callable[[], Iterable[str]],
    report: Path | None,
    write_report: Callable[[Path, R], None],
    json: bool,
    bounded: bool,
) -> int:
    """Run a session; write its files and its report whatever ended it.

    Args:
        done: what was done, for messages: `captured`.
        bounded: a number of frames was asked for, so that Ctrl-C interrupts; it is how an endless session ends.

    Returns:
        The exit code.

    Raises:
        Exception: the first thing that failed, after the others were printed and everything else was written.
    """
    failures: list[Exception] = []
    with StopOnInterrupt(session.stop) as interrupt:
        try:
            session.run()
        except Exception as error:
            failures.append(error)
        line.finish()
        if interrupt.requested and (write_files is not None or report is not None):
            line.print(f"stopped; writing what was {done} (Ctrl-C again to quit without)")
        if write_files is not None:
            try:
                written = write_files()
            except BodystreamError as error:
                failures.append(error)
            else:
                for path in written.paths:
                    line.print(f"wrote {path}")
                for note in written.notes:
                    line.print(f"note: {note}")
        built = build_report()
        for warning in warnings():
            line.print(f"warning: {warning}")
        if report is not None:
            try:
                write_report(report, built)
            except BodystreamError as error:
                failures.append(error)
            else:
                line.print(f"wrote {report}")
        if json:
            line.print_json(built)
    if failures:
        for error in failures[1:]:
            line.print(f"error: {error}")
        raise failures[0]
    return EXIT_INTERRUPTED if interrupt.requested and bounded else 0
