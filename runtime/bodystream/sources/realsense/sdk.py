"""Cameras and recordings opened through pyrealsense2, and the frames that come out of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bodystream.errors import InputError, SourceError
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.device import (
    UDEV_REMEDY,
    apply_controls,
    camera_info,
    depth_sensor,
    device_text,
    needs_firmware,
    offered_modes,
    start_error,
)
from bodystream.sources.realsense.recording import RecordingIndex, check_recording
from bodystream.sources.realsense.stream import CameraAbsentError, CameraInfo, FramePairer, RawFrame
from bodystream.types import Array, CameraIntrinsics, LensCamera, RgbdCalibration

__all__ = ["SdkStream", "open_camera", "open_recording"]

# How each colour format becomes RGB: OpenCV's conversion, or None where it is RGB already.
_TO_RGB: dict[str, int | None] = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "y8": cv2.COLOR_GRAY2RGB,
}


def open_camera(
    rs: Any, serial: str, config: RealSenseConfig, *, list_devices: Callable[[], list[Any]] | None = None
) -> SdkStream:
    """Open a connected camera.

    Args:
        rs: the module pyrealsense2.
        serial: number of the camera, "" for the first.
        list_devices: gives the connected devices; None asks the SDK.

    Raises:
        CameraAbsentError: it is not connected.
        SourceError: it is busy, has no firmware, or cannot stream as asked.
        ConfigurationError: it has no such control or value.
    """
    context = rs.context()
    query = list_devices if list_devices is not None else lambda: list(context.query_devices())
    devices = query()
    recovering = [d for d in devices if needs_firmware(d)]
    cameras = {device_text(rs, d, "serial_number"): d for d in devices if not needs_firmware(d)}
    if not cameras and recovering:
        raise SourceError(
            "the connected RealSense camera is in recovery mode (it has no working firmware): run "
            "`rs-fw-update -r -f <firmware file>` and plug it in again"
        )
    if not cameras:
        raise CameraAbsentError(
            "no RealSense camera found: check the cable, use a USB 3 port, see whether `lsusb` lists the maker "
            f"8086, and on Linux {UDEV_REMEDY}"
        )
    if serial and serial not in cameras:
        found = ", ".join(sorted(cameras))
        raise CameraAbsentError(
            f"no RealSense camera with the serial number {serial!r}, found {found}: connect it or name one of these"
        )
    device = cameras[serial] if serial else next(iter(cameras.values()))
    info = camera_info(rs, device)
    label = f"camera {info.name} {info.serial}"
    apply_controls(rs, device, config, label)
    wanted = rs.config()
    wanted.enable_stream(rs.stream.depth, config.width, config.height, rs.format.z16, config.rate_hz)
    if config.colour:
        size = (config.colour_width or config.width, config.colour_height or config.height)
        wanted.enable_stream(rs.stream.color, *size, rs.format.rgb8, config.rate_hz)
    pipeline = rs.pipeline(context)
    pipeline.set_device(device)
    depth_modes, colour_modes = offered_modes(rs, device, "depth", "z16"), offered_modes(rs, device, "color", "rgb8")
    modes = f"it offers depth {depth_modes} and colour {colour_modes}"
    try:
        profile = pipeline.start(wanted)
    except RuntimeError as error:
        raise start_error(error, label, modes) from error
    own = info.serial

    def connected() -> bool:
        return any(device_text(rs, d, "serial_number") == own for d in query())

    return SdkStream(rs, pipeline, profile, info, label, device=device, connected=connected)


def open_recording(rs: Any, path: Path, config: RealSenseConfig) -> SdkStream:
    """Open a `.db3` or `.bag` recording for playback without loss.

    Raises:
        InputError: the file is absent or not a whole recording.
        SourceError: it has no depth.
    """
    index = check_recording(path)
    context = rs.context()
    try:
        device = context.load_device(str(path)).as_playback()
        device.set_real_time(False)
        profiles = [p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()]
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be played: {error}. It is damaged or not a RealSense recording; copy or record it again"
        ) from error
    label, warnings = f"recording {path.name}", []
    video = [p.as_video_stream_profile() for p in profiles if p.is_video_stream_profile()]
    held = ", ".join(sorted({f"{p.stream_name()} {p.format().name}" for p in profiles})) or "no stream"
    depths = [p for p in video if p.stream_type() == rs.stream.depth and p.format() == rs.format.z16]
    colours = [p for p in video if p.stream_type() == rs.stream.color]
    if not depths or index.depth_is_empty:
        _unload(context, path)
        empty = "; its depth stream is empty" if depths else ""
        raise SourceError(f"{path} holds no depth frames (it has {held}{empty}): record with the depth stream on")
    readable = [p for p in colours if p.format().name in _TO_RGB]
    if index.colour_is_empty or not config.colour:
        readable = []
    elif colours and not readable:
        warnings.append(
            f"{path.name}: colour of the format {colours[0].format().name} cannot be read, wanted one of "
            f"{', '.join(_TO_RGB)}; the frames hold depth only"
        )
    if any(v is not None for v in (config.emitter, config.laser_power, config.exposure_us, config.preset)):
        warnings.append(f"{path.name} is a recording: emitter, laser power, exposure and preset are as recorded")
    wanted = rs.config()
    for chosen in (depths[0], *readable[:1]):
        size = (chosen.width(), chosen.height())
        wanted.enable_stream(chosen.stream_type(), chosen.stream_index(), *size, chosen.format(), chosen.fps())
    pipeline = rs.pipeline(context)
    pipeline.set_device(device)
    try:
        # Paused until all sensors have started: they start one by one, and the first would play without the rest.
        device.pause()
        profile = pipeline.start(wanted)
        device.resume()
    except RuntimeError as error:
        _unload(context, path)
        raise InputError(f"{path} cannot be played: {error}") from error
    info = CameraInfo(
        device_text(rs, device, "name"), device_text(rs, device, "serial_number"), "", "", tuple(warnings)
    )
    return SdkStream(rs, pipeline, profile, info, label, device=device, playback=(context, path, index))


def _unload(context: Any, path: Path) -> None:
    context.unload_device(str(path))


def _camera(profile: Any) -> LensCamera:
    k = profile.get_intrinsics()
    pinhole = CameraIntrinsics(k.fx, k.fy, k.ppx, k.ppy, k.width, k.height)
    return LensCamera(pinhole, k.model.name, tuple(float(c) for c in k.coeffs))


class SdkStream:
    """A started pipeline; see `FrameStream`.

    Args:
        playback: context, path and index of a recording, None for a camera.
        connected: whether the camera is still there, None for a recording.

    Raises:
        SourceError: the device does not tell its calibration or its unit of depth.
    """

    def __init__(
        self,
        rs: Any,
        pipeline: Any,
        profile: Any,
        info: CameraInfo,
        label: str,
        *,
        device: Any,
        connected: Callable[[], bool] | None = None,
        playback: tuple[Any, Path, RecordingIndex] | None = None,
    ) -> None:
        self._rs = rs
        self._pipeline: Any = pipeline
        self._device = device
        self._label = label
        self._connected = connected
        self._playback = playback
        self._drained = False
        self._ready: list[RawFrame] = []
        self._newest_number: int | None = None
        self.info = info
        self.first_number: int | None = None if playback is None else playback[2].first_depth_number
        try:
            self._calibrate(profile)
        except BaseException:
            self.close()
            raise

    def _calibrate(self, profile: Any) -> None:
        rs, label = self._rs, self._label
        streams = {s.stream_type(): s.as_video_stream_profile() for s in profile.get_streams()}
        depth, colour = streams[rs.stream.depth], streams.get(rs.stream.color)
        sensor = depth_sensor(rs, self._device, label)
        scale_m = float(sensor.get_option(rs.option.depth_units)) if sensor.supports(rs.option.depth_units) else 0.0
        if not 0 < scale_m < 1:
            raise SourceError(f"{label} gives the unit of its depth as {scale_m} m, wanted a length between 0 and 1 m")
        colour_from_depth = None
        if colour is not None:
            try:
                extrinsics = depth.get_extrinsics_to(colour)
            except RuntimeError as error:
                raise SourceError(
                    f"{label} does not tell where its colour camera is ({error}): capture without colour (colour=False)"
                ) from error
            colour_from_depth = np.eye(4)
            colour_from_depth[:3, :3] = np.reshape(extrinsics.rotation, (3, 3)).T  # column-major in the SDK
            colour_from_depth[:3, 3] = extrinsics.translation
            self._to_rgb = _TO_RGB[colour.format().name]
        self.calibration = RgbdCalibration(
            _camera(depth), scale_m, None if colour is None else _camera(colour), colour_from_depth
        )
        self.rate_hz: float | None = float(depth.fps()) or None
        # Streams that are not triggered together differ by up to half a period.
        self._pairer = FramePairer(round(0.6e9 / (self.rate_hz or 30.0)))

    @property
    def unpaired(self) -> int:
        return self._pairer.unpaired

    def wait(self, timeout_s: float) -> RawFrame | None:
        if self._ready:
            return self._ready.pop(0)
        if self._pipeline is None:
            return None
        was_stopped = self._stopped()
        try:
            arrived, frames = self._pipeline.try_wait_for_frames(max(1, round(timeout_s * 1000)))
        except RuntimeError as error:
            raise SourceError(f"{self._label} stopped: {error}") from error
        # Frames may still be under way when playback stops: it is over when a wait after that brought nothing.
        self._drained = was_stopped and not arrived
        if not arrived:
            return None
        self._take(frames)
        return self._ready.pop(0) if self._ready else None

    def _take(self, frames: Any) -> None:
        depth = frames.get_depth_frame()
        if not depth:
            return
        number, t_ns = depth.get_frame_number(), round(depth.get_timestamp() * 1e6)
        previous, self._newest_number = self._newest_number, number
        if self.calibration.colour is None:
            if number != previous:
                self._ready.append(RawFrame(_image(depth), None, t_ns, number, depth))
            return
        colour, arrived = frames.get_color_frame(), None
        if colour:
            # Clocks that differ cannot be compared: then the SDK's own pairing, by arrival, has to do.
            same_clock = colour.get_frame_timestamp_domain() == depth.get_frame_timestamp_domain()
            colour_t_ns = round(colour.get_timestamp() * 1e6) if same_clock else t_ns
            arrived = (colour.get_frame_number(), colour_t_ns, colour)
        for (n, taken_ns, z), (_, _, c) in self._pairer.push((number, t_ns, depth), arrived):
            self._ready.append(RawFrame(_image(z), self._rgb(c), taken_ns, n, (z, c)))

    def _rgb(self, frame: Any) -> Array:
        image = _image(frame)
        if self._to_rgb is None:
            return image
        if image.dtype == np.uint16:
            # The SDK gives packed YUV as one 16 bit number per pixel.
            image = image.view(np.uint8).reshape(*image.shape, 2)
        return cv2.cvtColor(image, self._to_rgb)

    def _stopped(self) -> bool:
        return self._playback is not None and self._device.current_status() == self._rs.playback_status.stopped

    def ended(self) -> bool:
        if self._playback is None or not self._drained:
            return False
        self._pairer.flush()
        _, path, index = self._playback
        if index.last_depth_number is not None and self._newest_number != index.last_depth_number:
            newest = self._newest_number
            seen = "before its first frame" if newest is None else f"after depth frame {newest}"
            raise SourceError(
                f"{path} is damaged: playback stopped {seen}, and it should go on to {index.last_depth_number}. What "
                "came before is good; copy or record it again for the rest"
            )
        return True

    def connected(self) -> bool:
        return self._connected is None or self._connected()

    def reset(self) -> None:
        try:
            self._device.hardware_reset()
        except RuntimeError as error:
            raise SourceError(f"{self._label} stalled and its hardware cannot be reset ({error}): unplug it") from error

    def close(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        self._ready.clear()
        if pipeline is None:
            return
        try:
            pipeline.stop()
        except RuntimeError as error:
            # A camera that was pulled out cannot be stopped; it is gone all the same.
            if self._connected is not None and self._connected():
                raise SourceError(f"{self._label} could not be stopped: {error}; unplug it") from error
        if self._playback is not None:
            _unload(self._playback[0], self._playback[1])


def _image(frame: Any) -> Array:
    return np.asanyarray(frame.get_data())
