"""Frames on their way into a take: what is kept of each, in which unit its depth is, and of which camera it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from bodystream.takes import TakeCamera, TakeWriter
from bodystream.takes.images import ROUNDING_UNIT_M, DepthUnit, unit_of
from bodystream.takes.messages import FrameMessage
from bodystream.types import Array, CameraIntrinsics, LensCamera, RawImages, RgbdCalibration, RgbdFrame

__all__ = ["FrameWriter", "KeptFrame"]


@dataclass(slots=True)
class _Camera:
    """What the last frame was of, and what the file says of it."""

    about: TakeCamera
    intrinsics: CameraIntrinsics
    unit: DepthUnit
    raw_calibration: RgbdCalibration | None
    has_colour: bool
    settled: bool
    """Whether a frame with measurements told the unit of depth."""


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """What is recorded of a frame: neither its truth nor, where there are raw images, what was made of them."""

    message: FrameMessage
    intrinsics: CameraIntrinsics
    depth_m: Array | None
    colour: Array | None
    mask: Array | None
    raw: RawImages | None
    source: object

    @classmethod
    def of(cls, frame: RgbdFrame, source: object) -> KeptFrame:
        """Of a frame, and the source that it came from."""
        raw = frame.raw
        message = FrameMessage(
            index=frame.index,
            t_ns=int(frame.t_ns),
            device_t_ns=None if frame.device_t_ns is None else int(frame.device_t_ns),
            name=frame.name,
            colour=(frame.colour if raw is None else raw.colour) is not None,
            mask=frame.mask is not None,
        )
        depth_m, colour = (frame.depth_m, frame.colour) if raw is None else (None, None)
        return cls(message, frame.intrinsics, depth_m, colour, frame.mask, raw, source)

    @property
    def nbytes(self) -> int:
        """Of its images."""
        raw = (None, None) if self.raw is None else (self.raw.depth, self.raw.colour)
        return sum(image.nbytes for image in (self.depth_m, self.colour, self.mask, *raw) if image is not None)


class FrameWriter:
    """Writes frames to a take, and what they are of where that changes. One thread at a time may use it.

    Args:
        writer: of the take.
        colour: how colour is written, see `encode_colour`.
        on_note: is called with a line for a person where depth has to be rounded.

    Attributes:
        rounded: frames whose depth was in no whole units.
    """

    def __init__(self, writer: TakeWriter, colour: str, on_note: Callable[[str], None]) -> None:
        self.rounded = 0
        self._writer, self._colour, self._on_note = writer, colour, on_note
        self._camera: _Camera | None = None

    def write(self, frame: KeptFrame) -> None:
        """Encode a frame and hand it to the writer.

        Raises:
            OSError: of the file.
            BodystreamError, ValueError, cv2.error: the frame cannot be written; the next ones can.
        """
        raw, message = frame.raw, frame.message
        camera = self._described(frame)
        if frame.depth_m is not None:
            depth, exact = camera.unit.to_units(frame.depth_m)
            if not exact:
                message = msgspec.structs.replace(message, exact=False)
                self._tell_rounded(camera)
        else:
            assert raw is not None
            depth = raw.depth
        colour = frame.colour if raw is None else raw.colour
        registered = camera.about.registered
        self._writer.add_frame(message, depth, colour, frame.mask, coding=self._colour, registered=registered)

    def _described(self, frame: KeptFrame) -> _Camera:
        """What the frame is of; told to the file where it is not what the frame before was of."""
        raw, known = frame.raw, self._camera
        calibration = None if raw is None else raw.calibration
        has_colour = frame.message.colour
        empty = frame.depth_m is not None and not frame.depth_m.any()
        if known is not None and known.raw_calibration is calibration and known.has_colour is has_colour:
            if raw is not None or (known.intrinsics == frame.intrinsics and (known.settled or empty)):
                return known
        coding = self._colour if has_colour else "none"
        source = frame.source
        name, rate_hz = str(getattr(source, "name", "")), getattr(source, "rate_hz", None)
        if raw is not None:
            unit = DepthUnit(raw.calibration.depth_scale_m)
            about = TakeCamera(
                source=name,
                rate_hz=rate_hz,
                calibration=raw.calibration,
                registered=False,
                align=raw.align,
                sampling=raw.sampling,
                max_depth_m=raw.max_depth_m,
                colour_coding=coding,
            )
        else:
            assert frame.depth_m is not None
            stated_m = getattr(source, "depth_scale_m", None)
            found = unit_of(frame.depth_m, stated_m)
            unit = DepthUnit(stated_m if stated_m and empty else ROUNDING_UNIT_M) if found is None else found
            about = TakeCamera(
                source=name,
                rate_hz=rate_hz,
                calibration=RgbdCalibration(LensCamera(frame.intrinsics), unit.scale_m),
                registered=True,
                depth_quotient=unit.quotient,
                colour_coding=coding,
            )
        self._writer.add_camera(about, frame.message.t_ns)
        self._camera = _Camera(about, frame.intrinsics, unit, calibration, has_colour, not empty)
        return self._camera

    def _tell_rounded(self, camera: _Camera) -> None:
        self.rounded += 1
        if self.rounded == 1:
            unit_mm = camera.about.calibration.depth_scale_m * 1e3
            self._on_note(
                f"note: depth of {camera.about.source} is not in whole steps of a usual unit: it is recorded in steps "
                f"of {unit_mm:g} mm, {0.5 * unit_mm:g} mm off at most, and nothing beyond {65.534 * unit_mm:.3g} m"
            )
