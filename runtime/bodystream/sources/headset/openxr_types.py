"""What passes between the OpenXR source and the runtime that it is connected to.

The source (`openxr`) knows an `XrConnection` only; the one made of pyopenxr is in `openxr_sdk`, the ones of the tests
are made of plain Python.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from bodystream.errors import SourceError

__all__ = [
    "ConnectionLostError",
    "HeadsetAbsentError",
    "Located",
    "RuntimeInfo",
    "SIDES",
    "SessionState",
    "Side",
    "XrConnection",
    "XrEvent",
    "XrEventKind",
]

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


class ConnectionLostError(SourceError):
    """The session or the whole runtime is gone: connect again."""


class HeadsetAbsentError(SourceError):
    """The runtime is there, and no headset is connected to it."""


class SessionState(enum.IntEnum):
    """`XrSessionState`, with the values of the specification."""

    UNKNOWN = 0
    IDLE = 1
    READY = 2
    SYNCHRONIZED = 3
    VISIBLE = 4
    FOCUSED = 5
    STOPPING = 6
    LOSS_PENDING = 7
    EXITING = 8


class XrEventKind(enum.Enum):
    """The events of a runtime that mean something to a source of poses."""

    STATE = "state"
    LOSS = "loss"
    """The whole instance will be lost (`XrEventDataInstanceLossPending`)."""
    ORIGIN_MOVED = "origin-moved"
    EVENTS_LOST = "events-lost"
    OTHER = "other"


class XrEvent(NamedTuple):
    """One event; `state` is set where the kind is STATE."""

    kind: XrEventKind
    state: SessionState = SessionState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Located:
    """Where a space or joint is in the reference space, exactly as the runtime says.

    Attributes:
        position_m: x, y, z; meaningless where not valid.
        rotation_xyzw: quaternion; meaningless where not valid.
        position_valid, orientation_valid: whether there is a value at all.
        position_tracked, orientation_tracked: whether it was measured; valid and not tracked is a guess of the runtime.
    """

    position_m: tuple[float, float, float]
    rotation_xyzw: tuple[float, float, float, float]
    position_valid: bool = True
    orientation_valid: bool = True
    position_tracked: bool = True
    orientation_tracked: bool = True

    @property
    def valid(self) -> bool:
        return self.position_valid and self.orientation_valid

    @property
    def tracked(self) -> bool:
        return self.valid and self.position_tracked and self.orientation_tracked


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What one is connected to.

    Attributes:
        runtime: name of the runtime, with its version.
        system: what the runtime calls the headset.
        space: reference space of all poses: STAGE, LOCAL_FLOOR or LOCAL.
        hands: whether hand joints are offered.
        palm: whether the palm pose of controllers is offered.
        rate_hz: of the display, or None where the runtime does not tell.
        warnings: messages for the user.
    """

    runtime: str
    system: str
    space: str
    hands: bool = False
    palm: bool = False
    rate_hz: float | None = None
    warnings: tuple[str, ...] = ()


class XrConnection(Protocol):
    """A headless session with its spaces and actions.

    Not safe for use by two threads at a time. Every method but `close` may raise ConnectionLostError or SourceError.
    """

    info: RuntimeInfo

    def poll(self) -> XrEvent | None:
        """The next event, None when there is none."""
        ...

    def begin(self) -> None:
        """Start to run; allowed in the state READY."""
        ...

    def end(self) -> None:
        """Stop running; wanted by the runtime in the state STOPPING."""
        ...

    def now(self) -> tuple[int, int]:
        """This moment as nanoseconds of the host's monotonic clock and as XrTime."""
        ...

    def sync(self) -> bool:
        """Take over the newest state of the controllers; False where the runtime keeps them from this program."""
        ...

    def head(self, xr_time: int) -> Located:
        """The VIEW space."""
        ...

    def controller(self, side: Side, xr_time: int) -> Located | None:
        """The grip pose of a controller, None where no controller is active on that side."""
        ...

    def palm(self, side: Side, xr_time: int) -> Located | None:
        """The palm pose of a controller, None where it is not offered or no controller is active on that side."""
        ...

    def wrist(self, side: Side, xr_time: int) -> Located | None:
        """The wrist of hand tracking, None where that is not offered or sees no hand."""
        ...

    def close(self) -> None:
        """Give everything back; safe to call twice and after the runtime is gone."""
        ...
