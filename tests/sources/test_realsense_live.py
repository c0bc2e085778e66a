"""Live streaming through the SDK without hardware: software cameras on the code path that opens real ones."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, SourceError
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.device import device_holders
from bodystream.sources.realsense.doctor import diagnose
from bodystream.sources.realsense.sdk import open_camera
from bodystream.sources.realsense.source import RealSenseSource
from bodystream.sources.realsense.stream import CameraAbsentError
from bodystream.types import CameraIntrinsics
from helpers.needs import needs
from helpers.realsense_fixture import Feeder, SoftwareCamera

rs = needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")

CAMERA = CameraIntrinsics(150.0, 151.0, 79.5, 60.5, 160, 120)


class Rig:
    """Software cameras in place of the bus, opened through the code that opens real ones."""

    def __init__(self, *cameras):
        self.cameras = list(cameras)

    def open(self, target="", **options):
        values = {"width": 160, "height": 120, "timeout_s": 0.3, "start_timeout_s": 2.0, "reconnect_s": 3.0, **options}
        config = RealSenseConfig(**values)

        def devices():
            return [camera.device for camera in self.cameras]

        return RealSenseSource(
            lambda serial: open_camera(rs, serial or target, config, list_devices=devices),
            config,
            live=True,
            poll_s=0.05,
            settle_s=0.05,
        )


DEPTH_RAW = np.full((120, 160), 6000, np.uint16)
IMAGE = np.random.default_rng(9).integers(1, 256, (120, 160, 3)).astype(np.uint8)


def test_a_live_camera_streams():
    camera = SoftwareCamera(CAMERA, CAMERA, info={"serial_number": "42", "usb_type_descriptor": "3.2"})
    with Rig(SoftwareCamera(CAMERA, CAMERA), camera).open("42") as source, Feeder(camera, DEPTH_RAW, IMAGE):
        assert source.name == "realsense:42" and source.live
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 12:
                break
    assert all(np.allclose(f.depth_m, 1.5) and np.array_equal(f.colour, IMAGE) for f in frames)
    steps = np.diff([f.device_t_ns for f in frames])
    indices = np.diff([f.index for f in frames])
    np.testing.assert_allclose(steps, indices * 1e9 / 60, atol=1e4)
    assert np.all(np.diff([f.t_ns for f in frames]) > 0)
    assert source.counts.warnings == [] and source.counts.delivered == 12


def test_a_live_camera_that_is_unplugged_comes_back():
    camera = SoftwareCamera(CAMERA, CAMERA, info={"serial_number": "42"})
    rig = Rig(camera)
    source = rig.open()
    with Feeder(camera, DEPTH_RAW, IMAGE):
        iterator = iter(source)
        first = [next(iterator) for _ in range(3)]
    rig.cameras.clear()
    again = SoftwareCamera(CAMERA, CAMERA, info={"serial_number": "42"})
    threading.Timer(0.4, rig.cameras.append, [again]).start()
    with Feeder(again, DEPTH_RAW // 2, IMAGE):
        second = [next(iterator) for _ in range(60)]
    source.close()
    assert source.counts.reconnects == 1
    assert np.allclose(first[0].depth_m, 1.5) and np.allclose(second[-1].depth_m, 0.75)
    assert np.all(np.diff([f.t_ns for f in first + second]) > 0)


def test_a_live_camera_that_falls_silent_ends_in_an_error():
    camera = SoftwareCamera(CAMERA, CAMERA, info={"serial_number": "42"})
    source = Rig(camera).open(start_timeout_s=0.3)
    # The SDK's software camera has no hardware to reset, which is the end of the ladder.
    with pytest.raises(SourceError, match="camera Software Camera 42 stalled and its hardware cannot be reset"):
        next(iter(source))
    assert any("waiting once more" in w for w in source.counts.warnings)


def test_a_busy_camera_is_named():
    camera = SoftwareCamera(CAMERA, CAMERA, info={"serial_number": "42"})
    source = Rig(camera).open()
    with pytest.raises(SourceError, match="camera Software Camera 42 is busy, another program uses it"):
        Rig(camera).open()
    source.close()
    Rig(camera).open().close()  # let go of, it opens again


def test_absent_cameras():
    with pytest.raises(CameraAbsentError, match="no RealSense camera found.*USB 3 port.*udev"):
        Rig().open()
    with pytest.raises(CameraAbsentError, match="serial number '7', found 0001, 0002"):
        Rig(SoftwareCamera(CAMERA), SoftwareCamera(CAMERA, info={"serial_number": "0002"})).open("7")


def test_a_size_that_the_camera_lacks_lists_what_it_has():
    with pytest.raises(SourceError, match="it offers depth 160x120@30 and colour 160x120@30"):
        Rig(SoftwareCamera(CAMERA, CAMERA)).open(width=640, height=480)


def test_slow_bus_and_old_firmware_are_said():
    info = {
        "usb_type_descriptor": "2.1",
        "firmware_version": "5.9.14.0",
        "recommended_firmware_version": "5.16.0.1",
    }
    camera = SoftwareCamera(CAMERA, CAMERA, info=info)
    source = Rig(camera).open()
    source.close()
    assert any("USB 2.1, wanted USB 3" in w for w in source.counts.warnings)
    assert any("firmware 5.9.14.0, older than the 5.16.0.1" in w for w in source.counts.warnings)
    nothing = SoftwareCamera(CAMERA, CAMERA, info={"firmware_version": ""})
    source = Rig(nothing).open()
    source.close()
    assert any("does not tell its firmware" in w for w in source.counts.warnings)
    report = diagnose(list_devices=lambda: [camera.device])
    assert any("USB 2.1, firmware 5.9.14.0" in f.found and not f.well and "USB 3" in f.remedy for f in report)


def test_a_camera_without_firmware():
    class Recovering:
        def is_update_device(self):
            return True

    with pytest.raises(SourceError, match="recovery mode.*rs-fw-update"):
        open_camera(rs, "", RealSenseConfig(), list_devices=lambda: [Recovering()])
    assert any("recovery" in f.found and not f.well for f in diagnose(list_devices=lambda: [Recovering()]))


CONTROLS = {
    "emitter_enabled": (0.0, 1.0, 1.0, 1.0),
    "laser_power": (0.0, 360.0, 30.0, 150.0),
    "exposure": (1.0, 165000.0, 1.0, 8500.0),
    "enable_auto_exposure": (0.0, 1.0, 1.0, 1.0),
    "visual_preset": (0.0, 3.0, 1.0, 0.0),
}


def test_controls_reach_the_sensor():
    camera = SoftwareCamera(CAMERA, CAMERA, controls=CONTROLS)
    # A software camera describes its presets by their numbers only.
    Rig(camera).open(emitter=False, laser_power=90, exposure_us=4000, preset="3").close()
    sensor = camera.device.query_sensors()[0]
    got = {name: sensor.get_option(getattr(rs.option, name)) for name in CONTROLS}
    assert got == {
        "emitter_enabled": 0.0,
        "laser_power": 90.0,
        "exposure": 4000.0,
        "enable_auto_exposure": 0.0,
        "visual_preset": 3.0,
    }
    with pytest.raises(ConfigurationError, match="laser power must be 0 to 360, got 500"):
        Rig(camera).open(laser_power=500)
    with pytest.raises(ConfigurationError, match="no preset 'High Accuracy', it has"):
        Rig(camera).open(preset="High Accuracy")
    with pytest.raises(ConfigurationError, match="has no control 'emitter enabled'"):
        Rig(SoftwareCamera(CAMERA, CAMERA)).open(emitter=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_holders_of_a_device_are_named(tmp_path):
    device = tmp_path / "video0"
    device.write_text("")
    program = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        holders = device_holders([str(device)])
        assert len(holders) == 1 and holders[0].endswith(f"(pid {process.pid})")
        assert device_holders([str(tmp_path / "video1")]) == []
        process.communicate()
