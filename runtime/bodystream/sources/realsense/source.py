"""Depth and colour from a RealSense camera or a librealsense recording, through one code path.

The SDK (`pyrealsense2`) is imported when a source is opened, so that this module loads without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bodystream.errors import SourceError
from bodystream.sources.base import SourceCounts
from bodystream.sources.realsense.align import Aligner
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.probe import probe_recording
from bodystream.sources.realsense.recording import check_recording
from bodystream.sources.realsense.stream import CameraAbsentError, ClockMapper, FrameStream, RawFrame
from bodystream.timing.clock import now_ns
from bodystream.types import CameraIntrinsics, RawImages, RgbdFrame

__all__ = ["RealSenseSource", "is_recording"]


def is_recording(target: str) -> bool:
    """Whether the target names a recording file rather than a camera's serial number."""
    return Path(target).suffix.lower() in (".db3", ".bag") or "/" in target or "\\" in target


class RealSenseSource:
    """Frames of one camera or recording; see `bodystream.sources.base.RgbdSource`.

    A camera that stalls is waited for once more, then its hardware is reset, then the iteration ends with a
    SourceError; one that is unplugged is waited for and continued with (`counts.reconnects`). A frame is delivered
    only with the colour image taken at the same time.

    Args:
        opener: opens the stream of the given serial number ("" for any), also after a fault.
        config: of the source.
        name: for people; None takes the camera's serial number.
        live: false for recordings.
        poll_s: longest wait inside the SDK, and so how late `close` or an unplugged camera is noticed [s].
        settle_s: pause before a camera that came back is opened, which crashes the SDK when done too early [s].

    Attributes:
        intrinsics: of the frames' pixels.
        keep_raw: set it, and frames have the images as they came (`RgbdFrame.raw`), as a recorder wants them.
    """

    def __init__(
        self,
        opener: Callable[[str], FrameStream],
        config: RealSenseConfig,
        *,
        name: str | None = None,
        live: bool,
        poll_s: float = 0.1,
        settle_s: float = 1.0,
    ) -> None:
        self.live = live
        self.keep_raw = False
        self.counts = SourceCounts()
        self._opener = opener
        self._config = config
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._closing = threading.Event()
        # Held by whoever is inside the stream, so that close() in another thread never stops it under a wait.
        self._lock = threading.Lock()
        self._clock = ClockMapper(live=live)
        self._next_index = 0
        self._last_number: int | None = None
        self._stream: FrameStream | None = opener("")
        try:
            self._attach(self._stream)
        except BaseException:
            self._stream.close()
            raise
        self.name = name if name is not None else f"realsense:{self._serial}"

    @classmethod
    def open(cls, target: str = "", *, config: RealSenseConfig | None = None) -> RealSenseSource:
        """Open a camera or a recording.

        Args:
            target: "" for the first camera, a serial number, or the path of a `.db3` or `.bag` recording.
            config: how to open it; None takes the defaults.

        Raises:
            MissingDependencyError: pyrealsense2 or libusb-1.0 is not installed.
            SourceError: no such camera, a camera that is busy or cannot stream as asked, a recording without depth.
            InputError: the file is absent or is not a whole recording, or the camera library does not end with it.
            ConfigurationError: the camera has no such option or value.
        """
        from bodystream.sources.realsense import sdk
        from bodystream.sources.realsense.device import load_sdk

        config = config if config is not None else RealSenseConfig()
        rs = load_sdk()
        if is_recording(target):
            path = Path(target)
            check_recording(path)
            probe_recording(path, config.probe_s)
            return cls(
                lambda _: sdk.open_recording(rs, path, config), config, name=f"realsense:{path.name}", live=False
            )
        return cls(lambda serial: sdk.open_camera(rs, serial or target, config), config, live=True)

    def __iter__(self) -> Iterator[RgbdFrame]:
        while True:
            try:
                with self._lock:
                    raw = self._next_raw()
                    frame = None if raw is None else self._frame(raw)
            except BaseException:
                self.close()
                raise
            del raw
            if frame is None:
                break
            self.counts.delivered += 1
            yield frame
            # The generator must not hold the frame while it waits, or its buffers could not be reused.
            del frame
        self.close()

    def close(self) -> None:
        """Stop and release the camera or file; safe to call twice and from another thread."""
        self._closing.set()
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close()

    def __enter__(self) -> RealSenseSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attach(self, stream: FrameStream) -> None:
        """Take a stream into use that was just opened."""
        config = self._config
        for warning in stream.info.warnings:
            self.counts.warn(warning)
        if stream.calibration.colour is None and config.colour:
            self.counts.warn("there is no colour stream: the frames hold depth only")
        self._aligner = Aligner(
            stream.calibration, align=config.align, max_depth_m=config.max_depth_m, sampling=config.sampling
        )
        self.intrinsics: CameraIntrinsics = self._aligner.intrinsics
        self._serial = stream.info.serial
        self._label = f"camera {stream.info.name} {stream.info.serial}".rstrip() if self.live else "the recording"
        self.rate_hz: float | None = stream.rate_hz
        self._clock.reset()
        # As if the frame before the recording's first had been delivered: a missing first frame is then a gap, too.
        self._last_number = None if stream.first_number is None else stream.first_number - 1
        self._fresh = True
        self._unpaired = 0

    def _frame(self, raw: RawFrame) -> RgbdFrame:
        arrival_ns = now_ns()
        gap = 1
        if self._last_number is not None:
            step = raw.number - self._last_number
            # A count that went back, or on by more than ten seconds, was restarted by the device.
            gap = step if 0 < step <= 10 * (self.rate_hz or 30) else 1
        self._last_number = raw.number
        self.counts.lost += gap - 1
        index = self._next_index + gap - 1
        self._next_index = index + 1
        depth_m, colour = self._aligner(raw.depth, raw.colour)
        return RgbdFrame(
            index=index,
            t_ns=self._clock.map(raw.device_t_ns, arrival_ns),
            depth_m=depth_m,
            intrinsics=self.intrinsics,
            colour=colour,
            device_t_ns=raw.device_t_ns,
            name=f"{self.name}#{raw.number}",
            raw=self._kept(raw) if self.keep_raw else None,
        )

    def _kept(self, raw: RawFrame) -> RawImages:
        """Copies: the SDK has few buffers, and stops where they are kept from it."""
        colour = None if raw.colour is None else raw.colour.copy()
        config = self._config
        return RawImages(
            raw.depth.copy(), colour, self._aligner.calibration, config.align, config.sampling, config.max_depth_m
        )

    def _next_raw(self) -> RawFrame | None:
        """The next frame, through all faults; None at the end or when closed."""
        config = self._config
        strikes = 0
        fault = ""
        since = time.monotonic()
        while not self._closing.is_set() and self._stream is not None:
            stream = self._stream
            limit_s = config.start_timeout_s if self._fresh else config.timeout_s
            try:
                raw = stream.wait(min(self._poll_s, limit_s))
            except SourceError as error:
                if not self.live:
                    raise
                raw, fault = None, f" ({error})"
                # A stream that fails at once must not be asked in a tight loop.
                self._closing.wait(self._poll_s)
            if raw is not None:
                self._fresh = False
                self._note_unpaired(stream)
                return raw
            if stream.ended():
                self._note_unpaired(stream)
                return None
            if self.live and not stream.connected():
                if not self._reconnect():
                    return None
                strikes, fault, since = 0, "", time.monotonic()
                continue
            if time.monotonic() - since < limit_s:
                continue
            strikes += 1
            stalled = f"{self._label} gave no frame for {limit_s:g} s{fault}"
            if not self.live:
                raise SourceError(f"{stalled}: its file may be on a disk that stalls, or it is damaged; play it again")
            if strikes == 1:
                self.counts.warn(f"{stalled}: waiting once more")
            elif strikes == 2:
                self.counts.warn(f"{stalled}: its hardware is being reset")
                if not self._reset():
                    return None
            else:
                raise SourceError(
                    f"{stalled}, not even after its hardware was reset: unplug the camera and plug it in again, use "
                    "the cable it came with and a USB 3 port, and close other programs that use it"
                )
            since = time.monotonic()
        return None

    def _note_unpaired(self, stream: FrameStream) -> None:
        if stream.unpaired > self._unpaired:
            self._unpaired = stream.unpaired
            self.counts.warn(
                "some depth frames came without a colour frame of the same time and were dropped: set the same rate "
                "for both streams, and give the colour camera more light (a long exposure lowers its rate)"
            )

    def _reconnect(self) -> bool:
        """Wait for an unplugged camera and open it again; false when closed meanwhile."""
        wait_s = self._config.reconnect_s
        self.counts.warn(f"{self._label} was unplugged: waiting {wait_s:g} s for it to come back")
        if not self._reopen(wait_s, f"{self._label} was unplugged and did not come back within {wait_s:g} s"):
            return False
        self.counts.reconnects += 1
        return True

    def _reset(self) -> bool:
        """Reset a stalled camera's hardware and open it again; false when closed meanwhile."""
        stream = self._stream
        assert stream is not None
        stream.reset()
        # The camera leaves the bus a moment after the command; opening it before that would fail when it goes.
        leave_by = time.monotonic() + min(3.0, self._config.reset_s)
        while stream.connected() and time.monotonic() < leave_by and not self._closing.wait(self._poll_s):
            pass
        wait_s = self._config.reset_s
        return self._reopen(wait_s, f"{self._label} stalled and did not come back within {wait_s:g} s of its reset")

    def _reopen(self, wait_s: float, failure: str) -> bool:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        serial, deadline = self._serial, time.monotonic() + wait_s
        while not self._closing.wait(self._settle_s):
            try:
                self._stream = self._opener(serial)
            except SourceError as error:
                # Absent, or present but not ready yet: both pass while the camera starts up.
                if time.monotonic() < deadline:
                    continue
                hint = "connect it and start again" if isinstance(error, CameraAbsentError) else str(error)
                raise SourceError(f"{failure}: {hint}") from error
            self._attach(self._stream)
            return True
        return False
