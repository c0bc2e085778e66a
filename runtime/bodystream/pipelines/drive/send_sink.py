"""Driven poses to another program, as a sink of the session."""

from __future__ import annotations

from collections.abc import Sequence

from bodystream.errors import ConfigurationError
from bodystream.pipelines.drive.view import DriveView
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
        if rate_hz is not None and not 0.0 < rate_hz <= 1000.0:
            raise ConfigurationError(f"{sender.name}: rate_hz must be above 0 and at most 1000, got {rate_hz:g}")
        self.name = sender.name
        self.sent = self.left_out = 0
        self._sender = sender
        self._period_ns = 0 if rate_hz is None else round(1e9 / rate_hz)
        self._due_ns: int | None = None

    @property
    def warnings(self) -> Sequence[str]:
        return self._sender.warnings

    def prepare(self, view: DriveView) -> DrivenPose | None:
        if view.occasion is not Occasion.RESULT or view.result is None or not self._is_due(now_ns()):
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

    def _is_due(self, now: int) -> bool:
        """Whether a pose is to be sent now, so that on the long run there are as many as the rate wants.

        A pose that comes a little early is not left to the next one: of 90 poses a second at a rate of 90 Hz none is
        to be lost for their jitter.
        """
        if not self._period_ns:
            return True
        if self._due_ns is not None and now < self._due_ns - self._period_ns // 4:
            return False
        due = now if self._due_ns is None else max(self._due_ns, now - self._period_ns)
        self._due_ns = due + self._period_ns
        return True
