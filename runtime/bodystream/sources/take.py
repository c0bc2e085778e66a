"""The frames of a take, with the times of their recording."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.base import SourceCounts
from bodystream.sources.layouts.images import decode_colour
from bodystream.sources.layouts.units import decide_scale, measured
from bodystream.sources.take_config import TakeConfig
from bodystream.takes import TakeCamera, TakeMessage, TakeReader, foxglove
from bodystream.takes.images import DepthUnit
from bodystream.takes.messages import (
    CAMERA,
    CAMERA_TOPICS,
    COLOUR,
    DEPTH,
    FRAME,
    MASK,
    CameraMessage,
    FrameMessage,
    decode,
    take_camera,
)
from bodystream.timing import now_ns
from bodystream.types import Array, CameraIntrinsics, RawImages, RgbdFrame

__all__ = ["TakeSource"]

_UNIT_SAMPLES, _UNIT_FRAMES = 3, 30
_NAMED_LOSSES = 10


@dataclass(slots=True)
class _Stored:
    """One frame as it is in the file."""

    camera: TakeCamera
    message: FrameMessage
    depth: Array
    colour: Array | None
    mask: Array | None


@dataclass(slots=True)
class _Parts:
    """Images that came, and whose frame has not; by topic."""

    sequence: int = -1
    images: dict[str, TakeMessage] = field(default_factory=dict)


class TakeSource:
    """Plays the frames of a take; see `bodystream.sources.base.RgbdSource`.

    Frames have the times and numbers of their recording, the same each time it is played, so that they go with its
    samples of head and hands (`sources.headset.take`), which have theirs. With `realtime` both are shifted to now.
    A frame that is damaged is left out, counted as lost and told.

    Args:
        path: of the take.
        config: how it is read.

    Attributes:
        intrinsics: of the frames' pixels.
        frame_count: frames that the take says it has, None where it was cut off.
        keep_raw: set it, and frames have the images as the camera gave them (`RgbdFrame.raw`).
        host_utc_offset_ns: of the recording.

    Raises:
        InputError: no take, one without a camera, not one whole frame, or depth in a unit that makes no scene.
        MissingDependencyError: the packages of the extra `mcap` are not installed.
    """

    def __init__(self, path: Path, config: TakeConfig | None = None) -> None:
        self.config = TakeConfig() if config is None else config
        self.name = f"take:{path.name}"
        self.live = self.config.realtime
        self.loops = self.config.loop
        self.counts = SourceCounts()
        self.keep_raw = False
        self._path = path
        self._closed = threading.Event()
        self._aligners: list[tuple[TakeCamera, Any]] = []
        self._scale_m: float | None = self.config.depth_scale_m
        with TakeReader(path) as reader:
            self.frame_count = reader.counts.get(FRAME) if reader.whole else None
            self.host_utc_offset_ns = reader.host_utc_offset_ns
            self._start_ns = reader.start_ns or 0
            first = self._look_at_first(reader)
            self._told = list(reader.problems)
            for problem in reader.problems:
                self.counts.warn(problem)
        self.rate_hz: float | None = first.camera.rate_hz
        self.intrinsics: CameraIntrinsics = self._intrinsics_of(first.camera)

    def __iter__(self) -> Iterator[RgbdFrame]:
        lap_ns = lap_index = 0
        shift_ns = now_ns() - self._start_ns if self.live else 0
        while not self._closed.is_set():
            delivered, last, expected = self.counts.delivered, None, 0
            with TakeReader(self._path) as reader, closing(self._stored(reader)) as frames:
                for stored in frames:
                    message = stored.message
                    t_ns = message.t_ns + shift_ns + lap_ns
                    if self.live and self._closed.wait(max(0, t_ns - now_ns()) * 1e-9):
                        return
                    self.counts.lost += max(0, message.index - expected)
                    expected = max(expected, message.index + 1)
                    frame = self._frame(stored, t_ns, message.index + lap_index)
                    last = message
                    self.counts.delivered += 1
                    yield frame
                    del frame
                    if self._closed.is_set():
                        return
            if not self.config.loop or last is None or self.counts.delivered == delivered:
                return
            lap_ns += last.t_ns - self._start_ns + round(1e9 / (self.rate_hz or 30.0))
            lap_index += expected

    def close(self) -> None:
        """Stop; the iteration under way ends before its next frame. Safe to call twice and from another thread."""
        self._closed.set()

    def __enter__(self) -> TakeSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look_at_first(self, reader: TakeReader) -> _Stored:
        """The first whole frame; the unit of depth is looked at in it and in those that follow."""
        if reader.whole and not reader.counts.get(FRAME):
            raise InputError(
                f"{self._path}: a take without a camera (it holds {_held(reader)}): use it with --headset take:FILE"
            )
        first: _Stored | None = None
        samples: list[Array] = []
        with closing(self._stored(reader)) as frames:
            for number, stored in enumerate(frames):
                first = stored if first is None else first
                if measured(stored.depth).any():
                    samples.append(stored.depth.copy())
                if len(samples) == _UNIT_SAMPLES or number == _UNIT_FRAMES:
                    break
        if first is None:
            why = next(reversed(self.counts.warnings or reader.problems), "it holds none")
            raise InputError(f"{self._path}: not one whole frame of a camera: {why}")
        self.counts = SourceCounts()  # they are played, and told, again
        unit_m = first.camera.calibration.depth_scale_m
        found = decide_scale(samples, unit_m, self.config.depth_scale_m, self.name, (unit_m, self.name))
        if found.warning:
            self.counts.warn(found.warning)
        return first

    def _stored(self, reader: TakeReader) -> Generator[_Stored, None, None]:
        """The frames in the file, each once its last message came."""
        camera: TakeCamera | None = None
        parts = _Parts()
        for message in reader.messages(*CAMERA_TOPICS):
            try:
                if message.topic == CAMERA:
                    camera = take_camera(decode(message.data, CameraMessage, message.where), message.where)
                elif message.topic != FRAME:
                    if message.sequence != parts.sequence:
                        parts = _Parts(message.sequence)
                    parts.images[message.topic] = message
                else:
                    found = decode(message.data, FrameMessage, message.where)
                    images = parts.images if message.sequence == parts.sequence else {}
                    parts = _Parts()
                    yield self._joined(camera, found, images, message.where)
            except InputError as error:
                self._lose(error)
            if self._closed.is_set():
                return
            for problem in reader.problems:
                self.counts.warn(problem) if problem not in self.counts.warnings else None

    def _joined(
        self, camera: TakeCamera | None, message: FrameMessage, images: dict[str, TakeMessage], where: str
    ) -> _Stored:
        """Decode the images of one frame.

        Raises:
            InputError: one of them is absent, damaged, or of another size than the camera's.
        """
        if camera is None:
            raise InputError(f"{where}: the camera of the frame is not described")
        for value in (message.t_ns, message.device_t_ns or 0):
            if not -(2**63) <= value < 2**63:
                raise InputError(f"{where}: {value} is no time of at most 64 bits")
        if not 0 <= message.index < 2**53:
            raise InputError(f"{where}: {message.index} is no number of a frame")
        wanted = {DEPTH: True, COLOUR: message.colour, MASK: message.mask}
        absent = [topic for topic, there in wanted.items() if there and topic not in images]
        if absent:
            raise InputError(f"{where}: the frame has no {', '.join(absent)}")
        depth = foxglove.raw_depth_of(images[DEPTH].data, images[DEPTH].where)
        calibration = camera.calibration
        _check_size(depth, calibration.depth.intrinsics, images[DEPTH].where)
        colour = mask = None
        if message.colour:
            data = foxglove.compressed_image_of(images[COLOUR].data, images[COLOUR].where)
            colour = decode_colour(data, images[COLOUR].where)
            lens = calibration.depth if calibration.colour is None else calibration.colour
            _check_size(colour, lens.intrinsics, images[COLOUR].where)
        if message.mask:
            data = foxglove.compressed_image_of(images[MASK].data, images[MASK].where)
            mask = decode_colour(data, images[MASK].where)[..., 0] > 127
            _check_size(mask, calibration.depth.intrinsics, images[MASK].where)
        return _Stored(camera, message, depth, colour, mask)

    def _frame(self, stored: _Stored, t_ns: int, index: int) -> RgbdFrame:
        message, camera, raw = stored.message, stored.camera, None
        scale_m = self._scale_m or camera.calibration.depth_scale_m
        if camera.registered:
            limit_m = self.config.max_depth_m
            depth_m, colour = DepthUnit(scale_m, camera.depth_quotient).to_metres(stored.depth), stored.colour
            depth_m[~measured(stored.depth) | (depth_m > (limit_m or np.inf))] = 0.0
        else:
            aligner = self._aligner(camera)
            depth_m, colour = aligner(np.ascontiguousarray(stored.depth), stored.colour)
            if self.keep_raw:
                raw = RawImages(
                    stored.depth,
                    stored.colour,
                    aligner.calibration,
                    self.config.align or camera.align,
                    self.config.sampling or camera.sampling,
                    self.config.max_depth_m or camera.max_depth_m or 10.0,
                )
        return RgbdFrame(
            index=index,
            t_ns=t_ns,
            depth_m=depth_m,
            intrinsics=self._intrinsics_of(camera),
            colour=colour,
            device_t_ns=message.device_t_ns,
            mask=stored.mask,
            name=message.name[:200],
            raw=raw,
        )

    def _intrinsics_of(self, camera: TakeCamera) -> CameraIntrinsics:
        return camera.calibration.depth.intrinsics if camera.registered else self._aligner(camera).intrinsics

    def _aligner(self, camera: TakeCamera) -> Any:
        """What brings colour and depth together as it was done live; made once for each calibration."""
        from bodystream.sources.realsense.align import Aligner

        for known, aligner in self._aligners:
            if known is camera:
                return aligner
        config, calibration = self.config, camera.calibration
        if self._scale_m is not None:
            calibration = replace(calibration, depth_scale_m=self._scale_m)
        aligner = Aligner(
            calibration,
            align=config.align or camera.align,
            sampling=config.sampling or camera.sampling,
            max_depth_m=config.max_depth_m or camera.max_depth_m or 10.0,
        )
        self._aligners = [*self._aligners[-3:], (camera, aligner)]
        return aligner

    def _lose(self, error: InputError) -> None:
        """A frame that cannot be read leaves a gap in the numbers, by which it is counted."""
        if len(self.counts.warnings) < _NAMED_LOSSES:
            self.counts.warn(f"a frame is lost: {error}")
        else:
            self.counts.warn(f"{self.name}: more than {_NAMED_LOSSES} frames are damaged; the others are only counted")


def _check_size(image: Array, camera: CameraIntrinsics, where: str) -> None:
    if image.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f"{where}: {image.shape[1]}x{image.shape[0]} pixels, and its camera has {camera.width}x{camera.height}"
        )


def _held(reader: TakeReader) -> str:
    return ", ".join(f"{count} of {topic}" for topic, count in sorted(reader.counts.items())) or "nothing"
