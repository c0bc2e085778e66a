"""Where a session's results leave it: one port for each sink, with the sink's worker behind it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bodystream.errors import ConfigurationError
from bodystream.sinks.base import Occasion, PreparingSink, Sink, SinkBase
from bodystream.sinks.worker import SinkWorker
from bodystream.timing import Spans

__all__ = ["SinkPort", "SinkPorts", "check_sink"]


class SinkPort:
    """Hands results to a sink's worker; on the pipeline's thread, and never longer there than the sink's `prepare`.

    Args:
        sink: a `Sink`, perhaps a `PreparingSink`.

    Raises:
        ConfigurationError: it is none, or has a setting that cannot be.
    """

    def __init__(self, sink: Sink[Any]) -> None:
        check_sink(sink)
        self._sink = sink
        self._prepare = sink.prepare if isinstance(sink, PreparingSink) else None
        self._unprepared = 0  # failures in a row
        self._close_within_s = float(getattr(sink, "close_within_s", SinkBase.close_within_s))
        self.lossless = bool(getattr(sink, "lossless", SinkBase.lossless))
        self.worker: SinkWorker[Any] = SinkWorker.of(sink)

    @property
    def folder(self) -> Path | None:
        """Where the sink writes its files, if it does and can be asked to save them as they stand."""
        return getattr(self._sink, "folder", None)

    @property
    def warnings(self) -> Sequence[str]:
        """Of the sink and of its worker."""
        return [*self.worker.warnings, *getattr(self._sink, "warnings", ())]

    def show(self, view: Any, occasion: Occasion, result: Any) -> None:
        """Publish what the sink wants of this; never raises and never waits."""
        if self.worker.broken:
            return
        if self._prepare is None:
            if occasion is Occasion.RESULT:
                self.worker.publish(result)
            return
        try:
            value = self._prepare(view)
        except Exception as error:
            self._unprepared += 1
            self.worker.failed_once_more(error, self._unprepared)
            return
        self._unprepared = 0
        if value is not None:
            self.worker.publish(value, keep=occasion is not Occasion.RESULT)

    def close(self) -> bool:
        """Wait for the sink's end; False where it is left behind."""
        return self.worker.close(self._close_within_s)


def check_sink(sink: object) -> None:
    """Look at a sink before a thread is begun for it.

    Raises:
        ConfigurationError: it is none, or has a setting that cannot be.
    """
    if not isinstance(sink, Sink):
        raise ConfigurationError(
            f"a sink has a name and the methods publish and close, got {type(sink).__name__}: derive it from "
            "bodystream.sinks.SinkBase"
        )
    rate_hz = getattr(sink, "max_rate_hz", SinkBase.max_rate_hz)
    within_s = getattr(sink, "close_within_s", SinkBase.close_within_s)
    if rate_hz is not None and not (isinstance(rate_hz, (int, float)) and rate_hz > 0):
        raise ConfigurationError(f"sink {sink.name}: max_rate_hz must be a positive number or None, got {rate_hz!r}")
    if not (isinstance(within_s, (int, float)) and within_s >= 0):
        raise ConfigurationError(
            f"sink {sink.name}: close_within_s must be at least 0 s (math.inf: without end), got {within_s!r}"
        )


class SinkPorts:
    """All ports of a session; sinks may be added while it runs."""

    def __init__(self) -> None:
        self._ports: tuple[SinkPort, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._ports)

    def add(self, sink: Sink[Any]) -> None:
        """Raises: ConfigurationError: it is no sink."""
        self._ports = (*self._ports, SinkPort(sink))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where sinks write files that can be saved as they stand."""
        return tuple(port.folder for port in self._ports if port.folder is not None)

    @property
    def workers(self) -> tuple[SinkWorker[Any], ...]:
        return tuple(port.worker for port in self._ports)

    @property
    def warnings(self) -> list[str]:
        """Of the sinks and of their workers."""
        return [warning for port in self._ports for warning in port.warnings]

    @property
    def notes(self) -> tuple[str, ...]:
        """What sinks said when they were closed."""
        return tuple(note for worker in self.workers for note in worker.notes)

    @property
    def failures(self) -> tuple[Exception, ...]:
        """What sinks could not finish."""
        return tuple(worker.failure for worker in self.workers if worker.failure is not None)

    def show(self, view: Any, occasion: Occasion, result: Any, spans: Spans) -> None:
        """Show a moment to all sinks; of results the time is taken, as `record` of files and `publish` of others."""
        for stage, lossless in (("record", True), ("publish", False)):
            chosen = [port for port in self._ports if port.lossless is lossless]
            with spans.measure(stage) if chosen and occasion is Occasion.RESULT else nullcontext():
                for port in chosen:
                    port.show(view, occasion, result)

    def close(self) -> None:
        """Let all sinks finish, side by side, and wait for each as long as it wants."""
        ports = self._ports
        for port in ports:
            port.worker.end()
        for port in ports:
            port.close()
