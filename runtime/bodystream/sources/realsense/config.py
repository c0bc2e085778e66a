"""How a RealSense camera is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bodystream.errors import ConfigurationError

__all__ = ["RealSenseConfig"]


@dataclass(frozen=True, slots=True)
class RealSenseConfig:
    """How a camera is opened. A recording keeps the size, rate and controls that it was made with.

    Attributes:
        width, height: of the depth image [px].
        rate_hz: frames per second of both streams.
        colour: false to leave the colour stream off.
        colour_width, colour_height: of the colour image [px]; None takes the depth image's size.
        emitter: switch the infrared projector on or off; None leaves it as it is.
        laser_power: of the projector, in the camera's units (milliwatt); None leaves it as it is.
        exposure_us: fixed exposure of the depth sensor [us]; None leaves automatic exposure.
        preset: name of a visual preset of the camera, as "High Accuracy"; None leaves it as it is.
        align: whose pixels the frames have, the depth or the colour camera's.
        sampling: how colours are read with `align="depth"`.
        max_depth_m: farther measurements are dropped [m].
        timeout_s: without a frame for so long, the camera counts as stalled [s].
        start_timeout_s: the same for the first frame after opening [s].
        reconnect_s: how long an unplugged camera is waited for [s].
        reset_s: how long a camera may take to come back after its hardware was reset [s].
        probe_s: how long a recording may take to be opened in a process of its own, which is done first, since the
            camera library spins on some damaged ones [s].
    """

    width: int = 640
    height: int = 480
    rate_hz: int = 30
    colour: bool = True
    colour_width: int | None = None
    colour_height: int | None = None
    emitter: bool | None = None
    laser_power: float | None = None
    exposure_us: int | None = None
    preset: str | None = None
    align: Literal["depth", "colour"] = "depth"
    sampling: Literal["bilinear", "nearest"] = "bilinear"
    max_depth_m: float = 10.0
    timeout_s: float = 1.0
    start_timeout_s: float = 5.0
    reconnect_s: float = 60.0
    reset_s: float = 15.0
    probe_s: float = 60.0

    def __post_init__(self) -> None:
        sizes = ("width", "height", "rate_hz", "colour_width", "colour_height", "exposure_us")
        times = ("max_depth_m", "timeout_s", "start_timeout_s", "reconnect_s", "reset_s", "probe_s")
        for name in (*sizes, *times):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"RealSense option {name} must be a positive finite number, got {value}")
        if self.laser_power is not None and not self.laser_power >= 0:
            raise ConfigurationError(f"RealSense option laser_power must not be negative, got {self.laser_power}")
        for name, allowed in (("align", ("depth", "colour")), ("sampling", ("bilinear", "nearest"))):
            if getattr(self, name) not in allowed:
                got = getattr(self, name)
                raise ConfigurationError(f"RealSense option {name} must be one of {', '.join(allowed)}, got {got!r}")
        if self.align == "colour" and not self.colour:
            raise ConfigurationError('RealSense option align="colour" needs colour=True')
