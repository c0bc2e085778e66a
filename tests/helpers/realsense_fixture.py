"""Software RealSense cameras, and `.db3` recordings written from synthetic frames by the SDK's own recorder."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.sources.realsense.device import load_sdk
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["DEPTH_SCALE_M", "Feeder", "SoftwareCamera", "count_images", "record_software_take"]

DEPTH_SCALE_M = 0.00025  # not 1 mm, so that a reader that assumes it is caught


class SoftwareCamera:
    """A camera that exists in the SDK only; what is pushed into it comes out of pipelines and recorders.

    Args:
        depth, colour: of the streams; `colour=None` makes a camera without colour, `depth=None` one without depth.
        colour_from_depth: (4, 4) rigid transform [m], None for the same place.
        lens: librealsense's name of the colour lens' model and its coefficients k1, k2, p1, p2, k3.
        info: camera_info name -> text (`serial_number`, `usb_type_descriptor`...).
        controls: writable controls of the depth sensor: option name -> (min, max, step, default).
    """

    def __init__(
        self,
        depth: CameraIntrinsics | None,
        colour: CameraIntrinsics | None = None,
        *,
        colour_from_depth: Array | None = None,
        lens: tuple[str, Sequence[float]] = ("none", (0, 0, 0, 0, 0)),
        depth_scale_m: float = DEPTH_SCALE_M,
        rate_hz: int = 30,
        colour_format: str = "rgb8",
        info: dict[str, str] | None = None,
        controls: dict[str, tuple[float, float, float, float]] | None = None,
    ) -> None:
        rs = self._rs = load_sdk()
        self.depth_scale_m = depth_scale_m
        self.device = rs.software_device()
        texts = {"name": "Software Camera", "serial_number": "0001", "firmware_version": "5.16.0.1", **(info or {})}
        for key, text in texts.items():
            self.device.register_info(getattr(rs.camera_info, key), text)
        self._sensors: list[Any] = []
        self._depth = self._colour = None
        if depth is not None:
            sensor = self.device.add_sensor("Stereo Module")
            sensor.add_read_only_option(rs.option.depth_units, depth_scale_m)
            for name, (low, high, step, default) in (controls or {}).items():
                limits = rs.option_range()
                limits.min, limits.max, limits.step, limits.default = low, high, step, default
                sensor.add_option(getattr(rs.option, name), limits, True)
            profile = sensor.add_video_stream(self._stream("depth", 1, "z16", 2, rate_hz, depth), True)
            self._depth = (sensor, profile)
            self._sensors.append(sensor)
        if colour is not None:
            sensor = self.device.add_sensor("RGB Camera")
            bytes_per_pixel = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "yuyv": 2, "uyvy": 2, "y8": 1}[
                colour_format
            ]
            stream = self._stream("color", 2, colour_format, bytes_per_pixel, rate_hz, colour, lens)
            self._colour = (sensor, sensor.add_video_stream(stream, True))
            self._sensors.append(sensor)
        if self._depth is not None and self._colour is not None:
            transform = np.eye(4) if colour_from_depth is None else np.asarray(colour_from_depth, np.float64)
            extrinsics = rs.extrinsics()
            extrinsics.rotation = transform[:3, :3].T.ravel().tolist()  # column-major
            extrinsics.translation = transform[:3, 3].tolist()
            self._depth[1].register_extrinsics_to(self._colour[1], extrinsics)

    def _stream(
        self,
        kind: str,
        uid: int,
        fmt: str,
        bytes_per_pixel: int,
        rate_hz: int,
        camera: CameraIntrinsics,
        lens: tuple[str, Sequence[float]] = ("none", (0, 0, 0, 0, 0)),
    ) -> Any:
        rs = self._rs
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = camera.width, camera.height
        intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = camera.fx, camera.fy, camera.cx, camera.cy
        intrinsics.model = getattr(rs.distortion, lens[0])
        intrinsics.coeffs = [float(c) for c in lens[1]]
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = getattr(rs.stream, kind), 0, uid
        stream.width, stream.height, stream.fps, stream.bpp = camera.width, camera.height, rate_hz, bytes_per_pixel
        stream.fmt, stream.intrinsics = getattr(rs.format, fmt), intrinsics
        return stream

    def push(self, number: int, t_ms: float, depth_raw: Array | None = None, colour: Array | None = None) -> None:
        """Make the camera see one frame: depth (H, W) uint16 in its units, colour (H, W[, C]) uint8 in its format."""
        for target, image in ((self._depth, depth_raw), (self._colour, colour)):
            if target is None or image is None:
                continue
            sensor, profile = target
            pixels = np.ascontiguousarray(image)
            bytes_per_pixel = pixels.nbytes // (pixels.shape[0] * pixels.shape[1])
            frame = self._rs.software_video_frame()
            frame.pixels, frame.bpp = pixels, bytes_per_pixel
            frame.stride = pixels.shape[1] * bytes_per_pixel
            frame.timestamp, frame.frame_number = t_ms, number
            frame.domain = self._rs.timestamp_domain.hardware_clock
            frame.profile = profile.as_video_stream_profile()
            if target is self._depth:
                frame.depth_units = self.depth_scale_m
            sensor.on_video_frame(frame)

    def record(self, path: Path) -> _Recording:
        """Write what is pushed inside the `with` block to a `.db3` file."""
        return _Recording(self, path)


class _Recording:
    def __init__(self, camera: SoftwareCamera, path: Path) -> None:
        self._camera = camera
        self._path = path

    def __enter__(self) -> SoftwareCamera:
        self._recorder = self._camera._rs.recorder(str(self._path), self._camera.device)
        self._sensors = list(self._recorder.query_sensors())
        for sensor in self._sensors:
            sensor.open(sensor.get_stream_profiles()[0])
            sensor.start(lambda frame: None)
        return self._camera

    def __exit__(self, *_: object) -> None:
        # The recorder writes in a thread of its own and drops what is left when it goes: wait until the file rests.
        sizes = [-1]
        deadline = time.monotonic() + 120
        while len(sizes) < 5 or len(set(sizes[-5:])) > 1:
            assert time.monotonic() < deadline, f"the recorder still writes {self._path}"
            time.sleep(0.06)
            sizes.append(self._path.stat().st_size)
        for sensor in self._sensors:
            sensor.stop()
            sensor.close()
        del self._sensors, self._recorder


def count_images(path: Path, stream: str = "Depth") -> int:
    """How many images of a stream a `.db3` holds."""
    with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as database:
        query = "SELECT count(*) FROM messages JOIN topics ON topics.id = topic_id WHERE name LIKE ?"
        return database.execute(query, (f"%/{stream}_0/image/data%",)).fetchone()[0]


def record_software_take(
    path: Path,
    frames: Iterable[RgbdFrame],
    *,
    rate_hz: int = 30,
    depth_scale_m: float = DEPTH_SCALE_M,
    serial: str = "0001",
) -> int:
    """Write frames to a `.db3` as a camera whose depth and colour come from the same place would.

    The frames must have one size, and all of them colour or none. Depth is rounded to the scale's unit; the device's
    clock is that of the frames (`device_t_ns`, else `t_ns`).

    Returns:
        the number of frames written.
    """
    iterator = iter(frames)
    first = next(iterator)
    camera = SoftwareCamera(
        first.intrinsics,
        None if first.colour is None else first.intrinsics,
        depth_scale_m=depth_scale_m,
        rate_hz=rate_hz,
        info={"serial_number": serial},
    )
    written = 0
    with camera.record(path):
        for frame in (first, *iterator):
            depth_raw = np.clip(np.rint(frame.depth_m / depth_scale_m), 0, 65535).astype(np.uint16)
            t_ns = frame.device_t_ns if frame.device_t_ns is not None else frame.t_ns
            camera.push(written, t_ns * 1e-6, depth_raw, frame.colour)
            written += 1
            # The recorder's memory is bounded, and it drops frames when it is full.
            time.sleep(0.005)
    got = count_images(path)
    assert got == written, f"the recorder kept {got} of {written} frames in {path}"
    return written


class Feeder:
    """Pushes frames into a software camera from a thread, at a rate, until stopped."""

    def __init__(self, camera: SoftwareCamera, depth_raw: Array, colour: Array | None, rate_hz: float = 60.0) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(camera, depth_raw, colour, rate_hz), daemon=True)

    def _run(self, camera: SoftwareCamera, depth_raw: Array, colour: Array | None, rate_hz: float) -> None:
        number = 0
        while not self._stop.wait(1 / rate_hz):
            camera.push(number, 5000.0 + number * 1000 / rate_hz, depth_raw, colour)
            number += 1

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
