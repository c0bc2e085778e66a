"""Driven poses to another program, as a sink of the session."""

from __future__ import annotations

from collections.abc import Sequence

from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.send.pace import Pace
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.send import DrivenPose, PoseSender
from bodystream.timing import now_ns

__all__ = ["SendSink"]


class SendSink(SinkBase[DrivenPose]):
    """Hands poses to a sender on a thread of its own; the newest wins, and none waits for a receiver.

    Args:
        sender: to one receiver; closed with the sink.
        rate_hz: at most so many poses a second; None = each one.

    Attributes:
        sent, left_out: poses that left this machine, and poses that it could not take.

    Raises:
        ConfigurationError: a rate that is none.
    """

    def __init__(self, sender: PoseSender, rate_hz: float | None = None) -> None:
        self.name = sender.name
        self.sent = self.left_out = 0
        self._sender = sender
        self._pace = Pace(rate_hz, f"{sender.name}: rate_hz")

    @property
    def warnings(self) -> Sequence[str]:
        return self._sender.warnings

    def prepare(self, view: DriveView) -> DrivenPose | None:
        if view.occasion is not Occasion.RESULT or view.result is None or not self._pace.is_due(now_ns()):
            return None
        return view.driven

    def publish(self, driven: DrivenPose, /) -> None:
        if self._sender.send(driven):
            self.sent += 1
        else:
            self.left_out += 1

    def close(self) -> Sequence[str]:
        self._sender.close()
        rest = f", {self.left_out} could not be sent" if self.left_out else ""
        return (f"sent {self.sent} poses to {self.name}{rest}",)
