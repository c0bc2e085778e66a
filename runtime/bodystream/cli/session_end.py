"""How a live session runs and ends, whatever it is of: Ctrl-C and other signals, failures, files, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.errors import BodystreamError, InputError
from bodystream.files import give_up_writing
from bodystream.sinks.reports.figures import write_json

if TYPE_CHECKING:
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.run import Session
    from bodystream.sinks import CaptureReport, DriveReport

__all__ = ["Notes", "ending", "run_session"]


class Notes:
    """Tells lines for a person wherever somebody may read them; from any thread."""

    def __init__(self, *readers: Callable[[str], None]) -> None:
        self.readers = list(readers)

    def tell(self, text: str) -> None:
        for reader in self.readers:
            reader(text)


@contextmanager
def ending(session: Session[Any, Any]) -> Iterator[None]:
    """Close a session with the block, but after a second Ctrl-C, which leaves everything as it is."""
    try:
        yield
    except KeyboardInterrupt:
        give_up_writing()
        raise
    except BaseException:
        with suppress(Exception):
            session.close()
        raise
    else:
        session.close()


def run_session(
    session: Session[Any, Any],
    line: StatusLine,
    *,
    done: str,
    files: bool,
    report: Path | None,
    json: bool,
    bounded: bool,
) -> int:
    """Run a session, close it, and write its report whatever ended it.

    Args:
        done: what was done, for messages: `captured`.
        files: whether it has any to write.
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
        if interrupt.requested and (files or report is not None):
            line.print(f"stopped; writing what was {done} (Ctrl-C again to quit without)")
        try:
            session.close()
        except Exception:
            failures += session.failures
        for note in session.notes:
            line.print(note)
        for warning in session.warnings:
            line.print(f"warning: {warning}")
        built = session.report
        if report is not None:
            try:
                write_json(report, built)
            except (BodystreamError, OSError) as error:
                failures.append(error)
            else:
                line.print(f"wrote {report}")
        for told in _summary(built, done):
            line.print(told)
        if json:
            line.print_json(built)
    nothing = _nothing_came(built, done)
    if nothing and not failures:
        failures.append(InputError(nothing))
    if failures:
        for error in failures[1:]:
            line.print(f"error: {error}")
        raise failures[0]
    return EXIT_BY_SIGNAL + interrupt.number if interrupt.number is not None and bounded else 0


def _nothing_came(built: CaptureReport | DriveReport, done: str) -> str:
    """Why nothing came of a session, or nothing."""
    if built.frames.processed == 0:
        return f"nothing was {done}: no {_noun(built)} was processed"
    if built.tracking.status.get("lost", 0) < built.frames.processed:
        return ""
    reason = next(iter(built.tracking.reasons), "")
    return (
        f"nothing was {done}: all {built.frames.processed} {_noun(built)}s were lost{f' ({reason})' if reason else ''}"
    )


def _summary(built: CaptureReport | DriveReport, done: str) -> list[str]:
    """What a session came to, in lines of 80 columns."""
    count, rate = built.frames.processed, getattr(built, "fps", None)
    if not count:
        return []
    head = f"{done} {count} {_noun(built)}{'s' if count != 1 else ''}"
    if rate is not None:
        head += f" at {rate:.1f} per second"
    latency = built.latency
    if latency.p50_ms is not None and latency.p99_ms is not None:
        head += f", latency {latency.p50_ms:.1f} ms (99 %: {latency.p99_ms:.1f} ms)"
    status = built.tracking.status
    told = [f"{status.get(name, 0)} {name}" for name in ("tracked", "degraded", "lost")]
    told.append(f"{built.frames.dropped} dropped")
    if built.tracking.restarts:
        told.append(f"started anew {built.tracking.restarts} time(s)")
    return [head, f"  {', '.join(told)}"]


def _noun(built: CaptureReport | DriveReport) -> str:
    return "frame" if hasattr(built, "surface") and hasattr(built, "graph") else "pose"
