"""One pipeline, one step at a time: what a pipeline brings to a session, and who hears of each step."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np

from bodystream.errors import ConfigurationError, SessionError, excerpt
from bodystream.pipelines.intake import Intake, Progress, RunSource
from bodystream.pipelines.notifier import Notifier
from bodystream.pipelines.ports import SinkPorts
from bodystream.sinks.base import Occasion
from bodystream.timing import Spans
from bodystream.types import Status

__all__ = ["Stepping", "check_count"]

T = TypeVar("T")
R = TypeVar("R")


def check_count(what: str, count: object) -> None:
    """Refuse what counts nothing.

    Raises:
        ConfigurationError: it is no whole number, or below 1.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ConfigurationError(f"{what} must be a whole number from 1, got {excerpt(count)}")


class Stepping(ABC, Generic[T, R]):
    """What comes in is processed by whoever has the turn, and goes out to sinks and listeners.

    Args:
        source: what is read, or None where items are pushed.
        limit: stop after so many processed items, or None.
        on_result, on_progress, on_note: see the sessions.

    Raises:
        ConfigurationError: a limit that is no whole number from 1.
    """

    _what = "frame"  # for messages
    _window = 30  # of the rate, in frames or samples

    def __init__(
        self,
        source: RunSource[T] | None,
        limit: int | None,
        on_result: Callable[[R], object] | None,
        on_progress: Callable[[Progress], object] | None,
        on_note: Callable[[str], object] | None,
    ) -> None:
        if limit is not None:
            check_count(f"the limit of a session, in {self._what}s,", limit)
        self._intake: Intake[T] = Intake(source, limit, self._window)
        self._on_result, self._on_progress, self._on_note = on_result, on_progress, on_note
        self._warned: list[str] = []
        self._notifier = Notifier(self._warn)
        self._sinks = SinkPorts()
        self._result: R | None = None
        self._pipeline, self._owner = threading.Lock(), 0

    def open(self) -> None:
        """Begin to read the source, and make what only its first item can tell how; `run` does so, too.

        May be called again; without a source it does nothing.

        Raises:
            SessionError: the session is closed.
            SourceError: there is no usable item, or none in time.
        """
        self._refuse_closed()
        self._open()

    @property
    def source(self) -> RunSource[T] | None:
        """What the session reads, or None where items are pushed."""
        return self._intake.source

    def add_tap(self, tap: Callable[[T], object]) -> None:
        """Call `tap` with each item that the source gives, those included that are dropped for newer ones.

        It is called on the thread that reads, which it must not hold up, and from the first item on: add it before the
        session is opened or run. What it raises ends the source.

        Raises:
            SessionError: there is no source, or it is being read already.
        """
        self._refuse_closed()
        reader = self._intake.reader
        if reader is None:
            raise SessionError("this session has no source to tap: what is pushed is known to who pushes it")
        if reader.started:
            raise SessionError("the source is being read already: add a tap before the session is opened or run")
        reader.taps = (*reader.taps, tap)

    @abstractmethod
    def _refuse_closed(self) -> None:
        """Raises: SessionError: the session is closed."""

    @abstractmethod
    def _open(self) -> None:
        """Make the pipeline, where the source has to be asked for that. May be called again."""

    @abstractmethod
    def _step(self, item: T, arrived_ns: int | None) -> R | None:
        """Process one item and count it; `arrived_ns` is None where it waited for us. The pipeline's lock is held."""

    @abstractmethod
    def _view(self, occasion: Occasion, result: R | None) -> Any:
        """The pipeline as sinks see it; None where there is none yet."""

    @abstractmethod
    def _shared(self, result: R) -> R:
        """A result as other threads may have it."""

    @abstractmethod
    def _progress(self, status: Status, reason: str, result: R | None) -> Progress: ...

    @abstractmethod
    def _status_of(self, result: R) -> tuple[Status, str]: ...

    @abstractmethod
    def _check_pushed(self, item: T) -> None:
        """Refuse what no source would give.

        Raises:
            InputError: names the item and what is wrong with it.
        """

    @abstractmethod
    def _close_pipeline(self) -> None:
        """Stop its threads."""

    @property
    @abstractmethod
    def spans(self) -> Spans:
        """How long each stage took."""

    @property
    @abstractmethod
    def report(self) -> Any:
        """What came in, how fast, how late, how well; as it stands now."""

    def _end_run(self) -> None:
        """Look at what came of a run.

        Raises:
            BodystreamError: nothing did.
        """

    def _after_turn(self) -> None:
        """Somebody gave the pipeline back."""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the pipeline for oneself."""
        if self._owner == threading.get_ident():
            raise SessionError("the session is in the middle of a step on this thread: wait until that has ended")
        try:
            with self._pipeline:
                self._owner = threading.get_ident()
                try:
                    yield
                finally:
                    self._owner = 0
        finally:
            self._after_turn()

    def _work(self, item: T, arrived_ns: int | None) -> R | None:
        result = self._step(item, arrived_ns)
        if result is None:
            self._tell(Status.LOST, f"{self._what}s are dropped for their time", None)
            return None
        self._result = shared = self._shared(result)
        self._show(Occasion.RESULT, result)
        self._notifier.result(self._on_result, shared)
        self._tell(*self._status_of(result), result)
        return result

    def _show(self, occasion: Occasion, result: R | None) -> None:
        view = self._view(occasion, result) if self._sinks else None
        if view is not None:
            self._sinks.show(view, occasion, self._result, self.spans)

    def _tell(self, status: Status, reason: str, result: R | None) -> None:
        if self._on_progress is not None:
            self._notifier.progress(self._on_progress, self._progress(status, reason, result))

    def _sink_warnings(self) -> list[str]:
        """For the report: of sinks and listeners."""
        return [*self._warned, *self._sinks.warnings]

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.append(text)

    def _note(self, line: str) -> None:
        self._notifier.note(self._on_note, line)
