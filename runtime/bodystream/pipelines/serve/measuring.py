"""What pages are told of a calibration that one of them asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from bodystream.pose.calibration import Calibration

__all__ = ["MeasuringNews"]

_FAILED, _GIVEN_UP = "not calibrated: ", "no calibration is tried again"


class MeasuringNews:
    """Follows a calibration from when it was asked for, by what the session says. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = ""
        self._lines: tuple[str, ...] = ()

    def begin(self) -> None:
        """Somebody asked to be measured."""
        with self._lock:
            self._state, self._lines = "measuring", ()

    def calibrated(self, found: Calibration) -> None:
        """The session found a person's proportions; those that it only guessed are no answer."""
        with self._lock:
            if self._state == "measuring" and found.pose != "assumed":
                self._state, self._lines = "done", found.lines

    def note(self, line: str) -> None:
        """The session told something."""
        with self._lock:
            if self._state != "measuring":
                return
            if line.startswith(_FAILED):
                self._lines = (line.removeprefix(_FAILED),)
            elif line.startswith(_GIVEN_UP):
                self._state = "failed"

    def status(self) -> Mapping[str, Any] | None:
        """For pages; None before anybody asked."""
        with self._lock:
            return {"state": self._state, "lines": list(self._lines)} if self._state else None
