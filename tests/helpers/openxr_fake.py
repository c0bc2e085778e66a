"""An OpenXR runtime that does as a test says, and the time that it lives in."""

from __future__ import annotations

from dataclasses import replace

from bodystream.sources.headset.openxr_types import (
    ConnectionLostError,
    Located,
    RuntimeInfo,
    SessionState,
    Side,
    XrEvent,
    XrEventKind,
)
from bodystream.timing import now_ns

__all__ = ["FakeConnection", "guessed", "pose", "state"]

XR_EPOCH_NS = 5_000_000_000_000


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, rotation: tuple[float, ...] = (0, 0, 0, 1)) -> Located:
    return Located((x, y, z), tuple(rotation))  # type: ignore[arg-type]


def guessed(located: Located) -> Located:
    """Valid, and not measured."""
    return replace(located, position_tracked=False, orientation_tracked=False)


def state(value: SessionState) -> XrEvent:
    return XrEvent(XrEventKind.STATE, value)


class FakeConnection:
    """See `XrConnection`; a test changes what is public."""

    def __init__(self, *, info: RuntimeInfo | None = None, ready: bool = True) -> None:
        self.info = info if info is not None else RuntimeInfo("Fake 1.0", "Fake headset", "STAGE", hands=True)
        ready_events = [SessionState.IDLE, SessionState.READY] if ready else [SessionState.IDLE]
        self.events: list[XrEvent] = [state(s) for s in ready_events]
        self.head_pose = pose(0, 1.6, 0)
        self.controllers: dict[str, Located] = {}
        self.palms: dict[str, Located] = {}
        self.wrists: dict[str, Located] = {}
        self.focused = True
        self.lost = False
        self.calls: list[str] = []
        self.closed = 0

    def _call(self, name: str) -> None:
        assert not self.closed, f"{name} after close"
        self.calls.append(name)
        if self.lost:
            raise ConnectionLostError("Fake 1.0 is gone")

    def poll(self) -> XrEvent | None:
        self._call("poll")
        return self.events.pop(0) if self.events else None

    def begin(self) -> None:
        self._call("begin")
        self.events += [state(SessionState.SYNCHRONIZED), state(SessionState.VISIBLE), state(SessionState.FOCUSED)]

    def end(self) -> None:
        self._call("end")

    def now(self) -> tuple[int, int]:
        self._call("now")
        t_ns = now_ns()
        return t_ns, t_ns - XR_EPOCH_NS

    def sync(self) -> bool:
        self._call("sync")
        return self.focused

    def head(self, xr_time: int) -> Located:
        self._call("head")
        return self.head_pose

    def controller(self, side: Side, xr_time: int) -> Located | None:
        self._call(f"controller-{side}")
        return self.controllers.get(side)

    def palm(self, side: Side, xr_time: int) -> Located | None:
        return self.palms.get(side)

    def wrist(self, side: Side, xr_time: int) -> Located | None:
        self._call(f"wrist-{side}")
        return self.wrists.get(side)

    def close(self) -> None:
        self.closed += 1
