"""A recording that is begun and ended while sessions run, of all that they read and of the poses that they drive."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import SessionError
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.recording.recorder import TakeRecorder, check_take_path
from bodystream.pipelines.recording.taps import FrameTap, SampleTap
from bodystream.pipelines.run import Session
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.send import DrivenPose
from bodystream.sinks.send.bd24 import BD24_JOINT, bd24_message

__all__ = ["RecordingSwitch"]


class RecordingSwitch:
    """Records to one take at a time, of any number of sessions; any thread may switch it.

    Args:
        path: of the first take; the next ones get numbers. None = names by the time, in the current folder.
        on_note: told when a recording begins and ends.
    """

    def __init__(self, path: Path | None, on_note: Callable[[str], None]) -> None:
        self._path, self._on_note = path, on_note
        self._recorder: TakeRecorder | None = None
        self._taps: list[_Tap] = []
        self._takes = 0

    def watch(self, session: Session[Any, Any]) -> None:
        """Record what a session reads, too, from when the switch is on. Called before the session is run.

        Raises:
            SessionError: it has no source, or reads it already.
        """
        tap = _Tap(self, session)
        session.add_tap(tap)
        session.add_sink(_PoseSink(self))
        self._taps.append(tap)

    @property
    def recorder(self) -> TakeRecorder | None:
        """Of the take that is recorded now."""
        return self._recorder

    def status(self) -> dict[str, Any]:
        """For clients."""
        recorder = self._recorder
        if recorder is None:
            return {"on": False, "file": "", "seconds": 0.0}
        return {"on": recorder.failure is None, "file": recorder.path.name, "seconds": round(recorder.seconds, 1)}

    def switch(self, on: bool) -> str:
        """Begin or end a recording.

        Returns:
            What to tell a person.

        Raises:
            InputError, MissingDependencyError: no take can be written.
            SessionError: it is on or off already.
        """
        if on == (self._recorder is not None):
            raise SessionError("a recording is under way already" if on else "nothing is recorded: begin first")
        if on:
            path = self._next_path()
            check_take_path(path)
            self._recorder = TakeRecorder(path, on_note=self._on_note)
            text = f"recording to {path}"
        else:
            text = self.end()
        self._on_note(text)
        return text

    def end(self) -> str:
        """Finish the take, if there is one.

        Raises:
            BodystreamError: what ended it before; what was recorded until then can be opened.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return ""
        for tap in self._taps:
            tap.end(recorder)
        recorder.close()
        if recorder.failure is not None:
            raise recorder.failure
        return f"recorded {recorder.path}: {recorder.summary}"

    def _next_path(self) -> Path:
        self._takes += 1
        if self._path is None:
            return Path(f"bodystream-{time.strftime('%Y%m%d-%H%M%S')}.mcap")
        if self._takes == 1:
            return self._path
        return self._path.with_stem(f"{self._path.stem}-{self._takes}")


class _Tap:
    """Hands items to a tap of the take that is recorded now; called on the thread that reads."""

    def __init__(self, switch: RecordingSwitch, session: Session[Any, Any]) -> None:
        self._switch, self._source = switch, session.source
        self._kind: Any = FrameTap if isinstance(session, CaptureSession) else SampleTap
        self._inner: tuple[TakeRecorder, FrameTap | SampleTap] | None = None

    def __call__(self, item: Any) -> None:
        recorder = self._switch.recorder
        if recorder is None:
            return
        if self._inner is None or self._inner[0] is not recorder:
            self._inner = (recorder, self._kind(recorder, self._source))
        self._inner[1](item)

    def end(self, recorder: TakeRecorder) -> None:
        inner, self._inner = self._inner, None
        if inner is not None and inner[0] is recorder:
            inner[1].end()


class _PoseSink(SinkBase[DrivenPose]):
    """Driven poses to the take that is recorded now, as BD-24."""

    name = "take"
    lossless = True
    bound = 20_000

    def __init__(self, switch: RecordingSwitch) -> None:
        self._switch = switch
        self._number = 0

    def prepare(self, view: object) -> DrivenPose | None:
        if self._switch.recorder is None or not isinstance(view, DriveView):
            return None
        if view.occasion is not Occasion.RESULT or view.result is None or view.result.sample.lap:
            return None
        return view.driven

    def publish(self, driven: DrivenPose, /) -> None:
        recorder = self._switch.recorder
        if recorder is None:
            return
        data = bd24_message(driven, self._number)
        joints = np.frombuffer(data[-24 * BD24_JOINT.itemsize :], BD24_JOINT)
        recorder.add_pose(int(driven.pose.t_ns), data, joints["position_m"], joints["rotation_xyzw"])
        self._number += 1
