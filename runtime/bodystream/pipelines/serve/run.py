"""Sessions side by side in one process, until somebody ends them or all have read their sources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bodystream.errors import BodystreamError
from bodystream.pipelines.run import Session
from bodystream.sinks.stream import StreamHub

__all__ = ["ServedSessions"]

_POLL_S = 0.2
_END_S = 20.0


class ServedSessions:
    """Runs sessions on threads of their own and closes them, the hub's clients first.

    Args:
        sessions: that were made and not run.
        hub: that their results go to.
        on_note: takes lines for a person.
    """

    def __init__(self, sessions: Sequence[Session[Any, Any]], hub: StreamHub, on_note: Callable[[str], None]) -> None:
        self._sessions, self._hub, self._on_note = tuple(sessions), hub, on_note
        self._stop = threading.Event()

    def stop(self) -> None:
        """End `run` soon; from any thread and from a signal's handler."""
        self._stop.set()

    def run(self) -> list[BodystreamError]:
        """Run all sessions.

        Returns:
            What ended sessions before their time, each told already; the others went on.
        """
        failures: list[BodystreamError] = []
        for session in self._sessions:
            session.start()
        left = list(self._sessions)
        while left and not self._stop.is_set():
            self._stop.wait(_POLL_S)
            for session in tuple(left):
                if self._has_ended(session, 0.001, failures):
                    left.remove(session)
        for session in left:
            session.stop()
        for session in left:
            self._has_ended(session, _END_S, failures)
        return failures

    def close(self) -> list[Exception]:
        """Say goodbye to clients and let sinks finish; what they could not finish is returned."""
        self._hub.close()
        failures: list[Exception] = []
        for session in self._sessions:
            try:
                session.close()
            except Exception as error:
                failures.append(error)
            for note in session.notes:
                self._on_note(note)
            for warning in session.warnings:
                self._on_note(f"warning: {warning}")
        return failures

    def _has_ended(self, session: Session[Any, Any], within_s: float, failures: list[BodystreamError]) -> bool:
        try:
            session.wait(within_s)
        except TimeoutError:
            return False
        except BodystreamError as error:
            failures.append(error)
            self._hub.notice(str(error), "error")
        else:
            if not self._stop.is_set():
                self._hub.notice(f"{session.source.name if session.source else 'a session'} has ended", "warning")
        return True
