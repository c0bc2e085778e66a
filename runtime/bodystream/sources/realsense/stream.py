"""Between the RealSense SDK and the source: frames in pairs, their clock, and the seam that tests replace."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from bodystream.errors import SourceError
from bodystream.types import Array, RgbdCalibration

__all__ = ["CameraAbsentError", "CameraInfo", "ClockMapper", "FramePairer", "FrameStream", "RawFrame"]

_NS = 1_000_000_000


class CameraAbsentError(SourceError):
    """The camera that was asked for is not connected."""


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What a camera says of itself; empty where it does not say.

    Attributes:
        usb_type: `3.2`, `2.1`...
        warnings: what the user should know of this camera (old firmware, slow bus).
    """

    name: str = ""
    serial: str = ""
    usb_type: str = ""
    firmware: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One depth image and the colour image that belongs to it, as the SDK gave them.

    Attributes:
        depth: (H, W) uint16 in the sensor's units.
        colour: (Hc, Wc, 3) uint8 RGB, or None.
        device_t_ns: when the depth was taken, by the device's clock.
        number: the device's count of depth frames.
        owner: what must live as long as the images.
    """

    depth: Array
    colour: Array | None
    device_t_ns: int
    number: int
    owner: Any = None


class FrameStream(Protocol):
    """An opened camera or recording.

    Attributes:
        info, calibration, rate_hz: of what was opened.
        unpaired: depth frames dropped because their colour never came.
        first_number: the device's count of the first depth frame of a recording, None where it is not known.
    """

    @property
    def info(self) -> CameraInfo: ...

    @property
    def calibration(self) -> RgbdCalibration: ...

    @property
    def rate_hz(self) -> float | None: ...

    @property
    def unpaired(self) -> int: ...

    @property
    def first_number(self) -> int | None: ...

    def wait(self, timeout_s: float) -> RawFrame | None:
        """The next frame, or None when none came in time.

        Raises:
            SourceError: the stream broke.
        """
        ...

    def ended(self) -> bool:
        """Whether a recording came to its end; always false for a camera.

        Raises:
            SourceError: the recording stopped before its last frame, because it is damaged.
        """
        ...

    def connected(self) -> bool:
        """Whether the camera is still there."""
        ...

    def reset(self) -> None:
        """Restart the camera's hardware; the stream must be closed and opened again."""
        ...

    def close(self) -> None:
        """Stop and release; safe to call twice."""
        ...


class ClockMapper:
    """Maps the device's clock to the host's monotonic clock.

    A live frame arrives some time after it was taken, never before: the smallest (arrival - device time) of the last
    seconds is the clocks' offset plus the shortest delay, and the jitter of the arrivals stays out of the timestamps.
    A recording has no arrival: its first frame is taken to be now and the device's intervals are kept.

    Args:
        live: false for recordings.
        window_ns: how long a smallest delay counts, which is how fast the drift of the clocks is followed.
        jump_ns: a larger disagreement means that a clock jumped (a reset, a counter that wrapped): start afresh.
    """

    def __init__(self, *, live: bool, window_ns: int = 10 * _NS, jump_ns: int = _NS) -> None:
        self._live = live
        self._window_ns = window_ns
        self._jump_ns = jump_ns
        self._last_ns: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the offset, for a device that starts anew; timestamps keep increasing."""
        self._delays: deque[tuple[int, int]] = deque()
        self._anchor_ns: int | None = None

    def map(self, device_t_ns: int, arrival_ns: int) -> int:
        """The host time [ns] at which the frame was taken; strictly increasing over calls."""
        mapped = self._map_live(device_t_ns, arrival_ns) if self._live else self._map_recorded(device_t_ns, arrival_ns)
        if self._last_ns is not None:
            mapped = max(mapped, self._last_ns + 1)
        self._last_ns = mapped
        return mapped

    def _map_recorded(self, device_t_ns: int, arrival_ns: int) -> int:
        if self._anchor_ns is None or device_t_ns + self._anchor_ns < (self._last_ns or 0) - self._jump_ns:
            start_ns = arrival_ns if self._last_ns is None else self._last_ns + 1
            self._anchor_ns = start_ns - device_t_ns
        return device_t_ns + self._anchor_ns

    def _map_live(self, device_t_ns: int, arrival_ns: int) -> int:
        delay = arrival_ns - device_t_ns
        if self._delays and abs(delay - self._delays[0][1]) > self._jump_ns:
            self._delays.clear()
        # A window minimum: entries that a later, smaller delay makes useless are dropped.
        while self._delays and self._delays[-1][1] >= delay:
            self._delays.pop()
        self._delays.append((arrival_ns, delay))
        while self._delays[0][0] < arrival_ns - self._window_ns:
            self._delays.popleft()
        return min(device_t_ns + self._delays[0][1], arrival_ns)


@dataclass(slots=True)
class _Image:
    number: int
    t_ns: int
    image: Any


@dataclass(slots=True)
class FramePairer:
    """Makes frames atomic: the SDK may hand out a new depth image with the colour of the frame before, and then both.

    Each depth image is delivered once, with the colour image nearest in time within the tolerance.

    Args:
        tolerance_ns: largest difference of the two device times.
    """

    tolerance_ns: int
    unpaired: int = 0
    _depths: deque[_Image] = field(default_factory=deque)
    _colours: deque[_Image] = field(default_factory=lambda: deque(maxlen=2))
    _newest: int | None = None

    def push(
        self, depth: tuple[int, int, Any] | None, colour: tuple[int, int, Any] | None
    ) -> list[tuple[tuple[int, int, Any], tuple[int, int, Any]]]:
        """Take what came, as (number, device time [ns], image); return the pairs that are now complete, in order."""
        if depth is not None and depth[0] != self._newest:
            self._newest = depth[0]
            self._depths.append(_Image(*depth))
        if colour is not None and (not self._colours or self._colours[-1].number != colour[0]):
            self._colours.append(_Image(*colour))
        pairs = []
        while self._depths:
            waiting = self._depths[0]
            best = min(self._colours, key=lambda c: abs(c.t_ns - waiting.t_ns), default=None)
            if best is not None and abs(best.t_ns - waiting.t_ns) <= self.tolerance_ns:
                pairs.append(((waiting.number, waiting.t_ns, waiting.image), (best.number, best.t_ns, best.image)))
                self._depths.popleft()
            elif len(self._depths) > 1:
                # A newer depth image came and this one's colour did not.
                self._depths.popleft()
                self.unpaired += 1
            else:
                break
        return pairs

    def flush(self) -> None:
        """Give up the depth image that still waits, at the end of a recording."""
        self.unpaired += len(self._depths)
        self._depths.clear()
