"""What the sessions of all pipelines share: a source and its reader, what is pushed, pauses, sinks, listeners, an end.

Threads. The pipeline runs on the thread that calls `run` or `push`, on one that `start` made, or on the one that
`push_nowait` made; a lock lets one of them in at a time. Each sink has a thread, and all listeners together have one.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TypeVar

from bodystream.errors import BodystreamError, SessionError
from bodystream.pipelines.intake import Progress, RunSource
from bodystream.pipelines.reader import Arrival
from bodystream.pipelines.stepping import Stepping
from bodystream.sinks.base import Occasion, Sink
from bodystream.timing import now_ns
from bodystream.types import Status

__all__ = ["STALL_S", "Progress", "Session", "State"]

STALL_S = 1.0
"""A source that gives nothing for this long is reported as stalled."""
_LISTENERS_S = 5.0  # how long the end waits for those who listen

T = TypeVar("T")
R = TypeVar("R")


class State(enum.StrEnum):
    """Where a session is in its life."""

    NEW = "new"
    RUNNING = "running"
    ENDED = "ended"
    CLOSED = "closed"


class Session(Stepping[T, R]):
    """A pipeline with all that it needs from the first frame or sample to the last file.

    Use it in a `with` block, or call `close`. All methods may be called from any thread and from listeners and sinks.
    """

    def __init__(
        self,
        source: RunSource[T] | None,
        limit: int | None,
        on_result: Callable[[R], object] | None,
        on_progress: Callable[[Progress], object] | None,
        on_note: Callable[[str], object] | None,
    ) -> None:
        super().__init__(source, limit, on_result, on_progress, on_note)
        self._run_failures: tuple[Exception, ...] = ()
        self._failed: Exception | None = None  # what ended the thread of `start`
        self._stop, self._paused, self._reset, self._save = (threading.Event() for _ in range(4))
        self._state, self._state_lock = State.NEW, threading.Lock()
        self._idle = threading.Event()  # no `run` is under way
        self._idle.set()
        self._close_later, self._shut_down = False, threading.Event()
        self._first: Arrival[T] | None = None
        self._heard_ns, self._heard = now_ns(), False
        self._run_thread: threading.Thread | None = None
        self._started: threading.Thread | None = None
        self._push_thread: threading.Thread | None = None

    # What users see

    @property
    def state(self) -> State:
        """`new`, `running` (it reads, or something was pushed), `ended` (its source was read) or `closed`."""
        return self._state

    @property
    def processed(self) -> int:
        """Frames or samples so far."""
        return self._intake.processed

    @property
    def result(self) -> R | None:
        """The newest one, or None before the first."""
        return self._result

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of source, sinks and listeners so far, each once."""
        sinks = [warning for worker in self._sinks.workers for warning in worker.warnings]
        return tuple(dict.fromkeys((*self._intake.counts.warnings, *self._warned, *sinks)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What sinks said when they were closed, such as the files that they wrote."""
        return self._sinks.notes

    @property
    def failures(self) -> tuple[Exception, ...]:
        """What `start` and `push_nowait` ran into, and what sinks could not finish."""
        return (*self._run_failures, *self._sinks.failures)

    def add_sink(self, sink: Sink[Any]) -> None:
        """Give a sink all results from now on. The session closes it.

        Raises:
            ConfigurationError: it is no sink.
            SessionError: the session is closed.
        """
        with self._state_lock:
            self._refuse_closed()
            self._sinks.add(sink)

    def run(self) -> Any:
        """Process the source to its end on this thread, or until `stop`, `close` or the limit.

        Returns:
            The report.

        Raises:
            SessionError: there is no source, or it was read already, or the session is closed.
            BodystreamError: of the source, after everything that came before it was processed.
        """
        self._begin_run()
        self._run_whole()
        return self.report

    def start(self) -> None:
        """The same on a thread of the session's own; `wait` gives the report.

        Raises:
            SessionError: as `run`.
        """
        self._begin_run()

        def work() -> None:
            try:
                self._run_whole()
            except Exception as error:
                self._run_failures = (*self._run_failures, error)
                self._failed = error
                self._note(f"error: {error}")

        self._started = threading.Thread(target=work, name=f"{self._what}-session", daemon=True)
        self._started.start()

    def wait(self, timeout_s: float | None = None) -> Any:
        """Wait for the end of what `start` began.

        Returns:
            The report.

        Raises:
            TimeoutError: it has not ended yet.
            SessionError: nothing was started, or this is the thread that would have to end.
            BodystreamError: what ended it.
        """
        thread = self._started
        if thread is None or thread is threading.current_thread():
            raise SessionError("there is nothing to wait for: call start() first, and wait() from another thread")
        thread.join(timeout_s)
        if thread.is_alive():
            raise TimeoutError(f"the session has not ended within {timeout_s:g} s")
        if self._failed is not None:
            raise self._failed
        return self.report

    def stop(self) -> None:
        """End the reading of the source after the item in work."""
        self._stop.set()

    def pause(self) -> None:
        """Leave items of the source, and those of `push_nowait`, aside until `resume`; of what is live the newest one
        waits, and the others count as dropped."""
        self._paused.set()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused.clear()

    def reset(self) -> None:
        """Forget the past with the next item."""
        self._reset.set()

    def save(self) -> str:
        """Write the files of all sinks that record to a folder as they stand, beside the pipeline.

        Returns:
            What to tell a person.
        """
        folders = self._sinks.folders
        if not folders:
            return "there is no folder to save to: start with --out FOLDER"
        self._save.set()
        self._serve()
        return f"saving to {', '.join(map(str, folders))}"

    def push(self, item: T) -> R | None:
        """Process one item on this thread; None where the pipeline leaves it out.

        Raises:
            InputError: it is no item of this pipeline, or has values that no source would give.
            SessionError: the session is closed, reads a source of its own, or calls this from within its own step.
            SourceError: it does not go with those before it, see the class; the session goes on with the next one.
        """
        self._accept(item)
        with self._turn():
            self._refuse_closed()
            result = self._work(item, None)
        self._serve()
        return result

    def push_nowait(self, item: T) -> None:
        """Hand over one item and return at once; the newest one wins, and a thread of the session's own works on it.

        Results go to sinks and `on_result`; an item that the pipeline refuses is told by `on_note`.

        Raises:
            InputError, SessionError: as `push`.
        """
        self._accept(item)
        with self._state_lock:
            self._refuse_closed()
            if self._push_thread is None:
                self._push_thread = threading.Thread(target=self._work_on_pushed, name="session-push", daemon=True)
                self._push_thread.start()
        self._intake.slot.put(Arrival(item, now_ns()))

    def close(self) -> tuple[str, ...]:
        """End what runs, let the sinks finish and say what they wrote; safe to call again, also from a callback.

        Each sink is waited for as long as it wants (`SinkBase.close_within_s`), then it is left behind with a warning.
        A second caller does not wait for the first one, while the end of a `with` block does. The session's source is
        closed, too.

        Returns:
            `notes`, so far.

        Raises:
            Exception: the first that a sink could not finish, once all else is closed; `failures` has all of them.
        """
        with self._state_lock:
            if self._state is State.CLOSED:
                return self.notes
            self._state = State.CLOSED
        self._stop.set()
        self._intake.slot.close()
        if self._owner == threading.get_ident():  # from within a step: it ends first
            self._close_later = True
            return self.notes
        self._shut()
        for failure in self._sinks.failures:
            raise failure
        return self.notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(
            *(() if kind is None else (Exception,))
        ):  # what the block raised is told, `failures` has the rest
            self.close()
        if self._owner != threading.get_ident():  # also where a sink or listener was first: its files may be half done
            self._shut_down.wait()

    # How it is done

    def _after_turn(self) -> None:
        if self._close_later:
            self._close_later = False
            self._shut()

    def _refuse_closed(self) -> None:
        if self._state is State.CLOSED:
            raise SessionError("the session is closed: make another one")

    def _begin_run(self) -> None:
        with self._state_lock:
            self._refuse_closed()
            if self._intake.source is None:
                raise SessionError("this session has no source to read: give it one, or push to it")
            if self._state is not State.NEW:
                raise SessionError(
                    f"{self._intake.source.name} is read once only: make another session to read it again"
                )
            self._state = State.RUNNING
            self._idle.clear()

    def _run_whole(self) -> None:
        self._run_thread = threading.current_thread()
        try:
            self._open()
            self._loop()
            self._end_run()
        finally:
            with self._state_lock:
                if self._state is State.RUNNING:
                    self._state = State.ENDED
            self._idle.set()  # first: a listener may be closing the session
            self._notifier.flush(_LISTENERS_S)

    def _accept(self, item: T) -> None:
        self._refuse_closed()
        if self._intake.source is not None:
            raise SessionError(f"this session reads {self._intake.source.name}: push to a session without a source")
        self._check_pushed(item)
        if self._state is State.NEW:
            with self._state_lock:
                if self._state is State.NEW:
                    self._state = State.RUNNING

    def _serve(self) -> None:
        """Do what was asked for, unless somebody has the pipeline, who does it then."""
        while self._save.is_set() and self._owner != threading.get_ident() and self._pipeline.acquire(blocking=False):
            self._owner = threading.get_ident()
            try:
                if self._save.is_set():
                    self._save.clear()
                    self._show(Occasion.SAVE, self._result)
            finally:
                self._owner = 0
                self._pipeline.release()
                self._after_turn()

    def _loop(self) -> None:
        self._heard_ns = now_ns()
        while not self._stop.is_set() and not self._intake.is_done:
            if self._paused.is_set():
                self._heard_ns = now_ns()
                self._intake.pause()
                self._stop.wait(0.05)
                continue
            try:
                arrival = self._next()
            except TimeoutError:
                self._stalled((now_ns() - self._heard_ns) * 1e-9)
                continue
            if arrival is None:
                return
            self._heard_ns, self._heard = now_ns(), True
            with self._turn():
                self._work(arrival.frame, arrival.arrived_ns if self._intake.is_live else None)
            self._serve()

    def _next(self) -> Arrival[T] | None:
        if self._first is not None:
            arrival, self._first = self._first, None
            return arrival
        assert self._intake.reader is not None
        return self._intake.reader.take(STALL_S)

    def _stalled(self, seconds: float) -> None:
        assert self._intake.source is not None
        if self._heard:  # before that, somebody has yet to put the headset on or to open its page
            self._intake.counts.warn(f"{self._intake.source.name} gave no {self._what} for {STALL_S:.0f} s")
        reason = f"{self._intake.source.name} gave no {self._what} for {seconds:.0f} s"
        self._tell(Status.LOST, reason, None)

    def _work_on_pushed(self) -> None:
        while (arrival := self._intake.slot.take()) is not None:
            while self._paused.is_set() and not self._intake.slot.closed:
                with suppress(TimeoutError):
                    newer = self._intake.slot.take(0.05)
                    if newer is not None:
                        arrival = newer
                        self._intake.passed_over += 1
            try:
                with self._turn():
                    self._work(arrival.frame, arrival.arrived_ns)
            except BodystreamError as error:
                self._intake.refused += 1
                self._note(f"warning: a pushed {self._what} was left out: {error}")
            except Exception as error:  # ours: whoever asks next is told
                self._run_failures = (*self._run_failures, error)
                self._warn(f"a pushed {self._what} failed: {type(error).__name__}: {error}")
            self._serve()

    def _shut(self) -> None:
        """Everything that is under way ends, in the order in which one hands over to the next."""
        try:
            if self._intake.reader is not None:
                self._intake.reader.close()
            if self._push_thread is not None and self._push_thread is not threading.current_thread():
                self._push_thread.join()
            if self._run_thread is not threading.current_thread():
                self._idle.wait()
            with self._pipeline:
                self._owner = threading.get_ident()
                try:
                    self._show(Occasion.END, self._result)
                finally:
                    self._owner = 0
            self._sinks.close()
            self._notifier.close(_LISTENERS_S)
            with self._pipeline, suppress(BodystreamError):
                self._close_pipeline()
        finally:
            self._shut_down.set()
