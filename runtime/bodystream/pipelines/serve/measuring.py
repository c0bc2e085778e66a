"""What pages are told of a calibration that one of them asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bodystream.pose.calibration import Calibration
from bodystream.pose.person import FLOOR_FOUND, FLOOR_MISSED

__all__ = ["MeasuringNews"]

_FAILED, _GIVEN_UP = "not calibrated: ", "no calibration is tried again"


class MeasuringNews:
    """Follows a calibration from when it was asked for, by what the session says. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = ""
        self._lines: tuple[str, ...] = ()
        self._floor_alone = False
        self._floor_m: Callable[[], float] = lambda: 0.0

    def begin(self, *, floor_alone: bool = False, floor_m: Callable[[], float] = lambda: 0.0) -> None:
        """Somebody asked to be measured.

        Args:
            floor_alone: not the person, but the floor that the headset has wrong.
            floor_m: gives the height of the floor above what the headset calls 0 [m].
        """
        with self._lock:
            self._state, self._lines = "measuring", ()
            self._floor_alone, self._floor_m = floor_alone, floor_m

    def calibrated(self, found: Calibration) -> None:
        """The session found a person's proportions; those that it only guessed are no answer."""
        with self._lock:
            if self._state == "measuring" and not self._floor_alone and found.pose != "assumed":
                self._state, self._lines = "done", found.lines

    def note(self, line: str) -> None:
        """The session told something."""
        with self._lock:
            if self._state != "measuring":
                return
            if self._floor_alone:
                if line.startswith((FLOOR_FOUND, FLOOR_MISSED)):
                    # What is in brackets is for who types commands.
                    self._lines = (line.partition(" (")[0],)
                    self._state = "done" if line.startswith(FLOOR_FOUND) else "failed"
            elif line.startswith(_FAILED):
                self._lines = (line.removeprefix(_FAILED),)
            elif line.startswith(_GIVEN_UP):
                self._state = "failed"

    def status(self) -> Mapping[str, Any] | None:
        """For pages; None before anybody asked."""
        with self._lock:
            if not self._state:
                return None
            return {"state": self._state, "lines": list(self._lines), "floor_m": round(self._floor_m(), 3)}
