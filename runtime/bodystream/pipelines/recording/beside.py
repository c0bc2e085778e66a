"""A take of what a session reads, and of the poses that it drives, beside all else that it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bodystream.errors import BodystreamError, SessionError
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.recording.recorder import COLOUR_CODING, TakeRecorder
from bodystream.pipelines.recording.taps import FrameTap, SampleTap
from bodystream.pipelines.run import Session
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.send import DrivenPose
from bodystream.sinks.send.bd24 import BD24_JOINT, bd24_message

__all__ = ["TakeSink", "record_beside"]


class TakeSink(SinkBase[DrivenPose]):
    """Records driven poses, as BD-24, and finishes the take with the session; of a capture it does the latter alone.

    Args:
        recorder: of the take. tap: of the session's source, which records to it, too.
    """

    name = "take"
    lossless = True
    bound = 20_000
    close_within_s = 120.0

    def __init__(self, recorder: TakeRecorder, tap: FrameTap | SampleTap) -> None:
        self._recorder, self._tap = recorder, tap
        self._number = 0

    def prepare(self, view: object) -> DrivenPose | None:
        if not isinstance(view, DriveView) or view.occasion is not Occasion.RESULT or view.result is None:
            return None
        return None if view.result.sample.lap else view.driven

    def publish(self, driven: DrivenPose, /) -> None:
        data = bd24_message(driven, self._number)
        joints = np.frombuffer(data[-24 * BD24_JOINT.itemsize :], BD24_JOINT)
        self._recorder.add_pose(int(driven.pose.t_ns), data, joints["position_m"], joints["rotation_xyzw"])
        self._number += 1

    def close(self) -> Sequence[str]:
        """Finish the take.

        Raises:
            BodystreamError: what ended it before; what was recorded until then can be opened.
        """
        recorder = self._recorder
        self._tap.end()
        recorder.close()
        if recorder.failure is not None:
            raise recorder.failure
        dropped = f", {recorder.dropped} frames dropped" if recorder.dropped else ""
        return (f"recorded {recorder.path}: {recorder.summary}{dropped}",)


def record_beside(
    session: Session[Any, Any],
    path: Path,
    on_note: Callable[[str], None] | None = None,
    colour: str = COLOUR_CODING,
) -> TakeRecorder:
    """Record what a session reads to a new take, from its first item on and whether or not it is processed.

    Args:
        session: that reads a source, and has not been opened or run.
        path, on_note, colour: see `TakeRecorder`.

    Returns:
        The recorder, which the session closes.

    Raises:
        InputError, ConfigurationError, MissingDependencyError: see `TakeRecorder`.
        SessionError: the session has no source, or reads it already.
    """
    if session.source is None:
        raise SessionError("this session has no source to record: give what you push to a TakeRecorder, too")
    source = cast(Any, session.source)
    # Times that are shifted to now, as those of a recording at its own pace, are this host's.
    offset_ns = None if source.live else getattr(source, "host_utc_offset_ns", None)
    recorder = TakeRecorder(path, colour=colour, on_note=on_note, host_utc_offset_ns=offset_ns)
    try:
        is_capture = isinstance(session, CaptureSession)
        tap = FrameTap(recorder, source) if is_capture else SampleTap(recorder, source)
        session.add_tap(tap)
        session.add_sink(TakeSink(recorder, tap))
    except BodystreamError:
        recorder.close()
        raise
    return recorder
