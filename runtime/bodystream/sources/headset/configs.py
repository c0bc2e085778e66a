"""What can be said of a headset source in text; each field goes to its source under the same name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["MotionConfig", "OpenXrConfig", "TraceConfig", "VmcConfig", "WebXrConfig"]


@dataclass(frozen=True, slots=True)
class OpenXrConfig:
    """How an OpenXR runtime is read, see `openxr.OpenXrHeadset`."""

    rate_hz: float | None = None
    controller_pose: Literal["grip", "palm"] = "grip"
    inferred_s: float = 0.3
    start_timeout_s: float = 30.0
    reconnect_s: float = 30.0


@dataclass(frozen=True, slots=True)
class WebXrConfig:
    """Where a headset's browser is waited for, see `webxr.WebXrHeadset`."""

    host: str = "127.0.0.1"
    port: int = 8443
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    tls: bool = True
    origins: tuple[str, ...] = ()
    first_client_s: float | None = None
    stop_at_end: bool = False


@dataclass(frozen=True, slots=True)
class VmcConfig:
    """How head and hands are taken from VMC messages, see `vmc.VmcHeadset`."""

    port: int = 39540
    host: str = "127.0.0.1"
    use: Literal["auto", "devices", "bones"] = "auto"
    left: str | None = None
    right: str | None = None


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """How a recording of a headset is replayed.

    Attributes:
        realtime: at its own pace; None leaves that to the session.
    """

    realtime: bool | None = None


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """How a headset is made from a motion, see `synthetic.MotionHeadset`.

    Attributes:
        take: name of one, where the path holds several.
        rate_hz: samples per second [Hz].
        hands: what is tracked of them: held controllers, hand tracking, or the wrists themselves.
        noise: that of a tracker. lost: hands, head and samples now and then.
        seed: of noise and losses.
        realtime: at the motion's own pace; None leaves that to the session.
        model: for AMASS, a SMPL model (.npz) whose joints give the proportions.
    """

    take: str | None = None
    rate_hz: float = 90.0
    hands: Literal["grip", "hand", "joint"] = "grip"
    noise: bool = False
    lost: bool = False
    seed: int = 0
    realtime: bool | None = None
    model: Path | None = None
