"""Stalls, unplugging, resets and closing, on a stream that fails on command."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, MissingDependencyError, SourceError
from bodystream.sources.base import RgbdSource
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.device import load_sdk
from bodystream.sources.realsense.doctor import diagnose
from bodystream.sources.realsense.source import RealSenseSource, is_recording
from bodystream.sources.realsense.stream import CameraAbsentError, CameraInfo, ClockMapper, FramePairer, RawFrame
from bodystream.types import CameraIntrinsics, LensCamera, RgbdCalibration
from helpers.needs import needs

CAMERA = CameraIntrinsics(20.0, 20.0, 7.5, 5.5, 16, 12)
QUICK = RealSenseConfig(timeout_s=0.05, start_timeout_s=0.08, reconnect_s=0.4, reset_s=0.3)


class Bus:
    """The USB bus of the tests: one camera that plays a script of events.

    Script entries: an int is a frame of that number; "stall" gives nothing until a reset; "pause" gives nothing once;
    "unplug" removes the camera until `plugged` is set again; "break" raises in the SDK.
    """

    def __init__(self, script, *, absent_opens=0, reset_helps=True, warnings=()):
        self.script = deque(script)
        self.plugged = True
        self.absent_opens = absent_opens
        self.reset_helps = reset_helps
        self.opened = []
        self.resets = 0
        self.alive = 0
        self.first_number = None
        self.info = CameraInfo("Fake", "77", "3.2", "5.16", tuple(warnings))

    def open(self, serial):
        self.opened.append(serial)
        if not self.plugged:
            if self.absent_opens > 0:
                self.absent_opens -= 1
                self.plugged = self.absent_opens == 0
            raise CameraAbsentError("no RealSense camera found")
        return Stream(self)


class Stream:
    def __init__(self, bus):
        self.bus = bus
        self.info = bus.info
        self.calibration = RgbdCalibration(LensCamera(CAMERA), 0.001)
        self.rate_hz = 30.0
        self.unpaired = 0
        self.first_number = bus.first_number
        self.closed = False
        bus.alive += 1

    def wait(self, timeout_s):
        assert not self.closed, "waited on a closed stream"
        script = self.bus.script
        if not self.bus.plugged or not script or script[0] == "stall":
            time.sleep(timeout_s)
            return None
        event = script.popleft()
        if event == "unplug":
            self.bus.plugged = False
            return None
        if event == "break":
            raise SourceError("the stream broke")
        if event == "pause":
            time.sleep(timeout_s)
            return None
        return RawFrame(np.full((12, 16), event, np.uint16), None, event * 33_000_000, event)

    def ended(self):
        return False

    def connected(self):
        return self.bus.plugged

    def reset(self):
        self.bus.resets += 1
        if self.bus.reset_helps and self.bus.script and self.bus.script[0] == "stall":
            self.bus.script.popleft()

    def close(self):
        if not self.closed:
            self.closed = True
            self.bus.alive -= 1


def source_on(bus, config=QUICK):
    return RealSenseSource(bus.open, config, live=True, poll_s=0.02, settle_s=0.01)


def take(source, count):
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == count:
            return frames
    return frames


def test_frames_carry_number_and_time():
    bus = Bus([3, 4, 7, 8])
    source = source_on(bus)
    assert isinstance(source, RgbdSource) and source.live and source.name == "realsense:77" and source.rate_hz == 30
    frames = take(source, 4)
    assert [f.index for f in frames] == [0, 1, 4, 5]
    assert [f.device_t_ns for f in frames] == [n * 33_000_000 for n in (3, 4, 7, 8)]
    assert source.counts.lost == 2 and source.counts.delivered == 4
    assert all(b.t_ns > a.t_ns for a, b in zip(frames, frames[1:], strict=False))
    assert np.all(frames[2].depth_m == np.float32(7) * np.float32(0.001)) and frames[2].colour is None
    source.close()
    source.close()
    assert bus.alive == 0
    assert any("no colour stream" in w for w in source.counts.warnings)


def test_a_missing_first_frame_is_a_gap():
    bus = Bus([6, 7])
    bus.first_number = 5
    source = source_on(bus)
    assert [f.index for f in take(source, 2)] == [1, 2] and source.counts.lost == 1


def test_one_missed_wait_is_only_a_warning():
    bus = Bus([1, "pause", "pause", "pause", 2])
    source = source_on(bus)
    assert [f.index for f in take(source, 2)] == [0, 1]
    assert bus.resets == 0 and source.counts.reconnects == 0
    assert any("gave no frame for 0.05 s: waiting once more" in w for w in source.counts.warnings)


def test_a_stalled_camera_is_reset_and_goes_on():
    bus = Bus([5, 6, "stall", 0, 1])
    source = source_on(bus)
    frames = take(source, 4)
    assert [f.index for f in frames] == [0, 1, 2, 3]  # the count of the device starts anew, ours does not
    assert all(b.t_ns > a.t_ns for a, b in zip(frames, frames[1:], strict=False))
    assert bus.resets == 1 and bus.opened == ["", "77"] and bus.alive == 1 and source.counts.reconnects == 0
    assert any("reset" in w for w in source.counts.warnings)


def test_a_camera_that_stays_silent_ends_in_a_clear_error_in_bounded_time():
    bus = Bus([1, "stall"], reset_helps=False)
    source = source_on(bus)
    begin = time.monotonic()
    with pytest.raises(SourceError, match="camera Fake 77 gave no frame.*after its hardware was reset.*USB 3"):
        take(source, 5)
    # two timeouts, the reset with its wait, the settling and the start's timeout
    assert time.monotonic() - begin < 2 * QUICK.timeout_s + 3.0 + QUICK.reset_s + QUICK.start_timeout_s + 1.0
    assert bus.resets == 1 and bus.alive == 0 and source.counts.delivered == 1


def test_an_unplugged_camera_is_waited_for():
    bus = Bus([1, 2, "unplug", 0, 1], absent_opens=3)
    source = source_on(bus)
    frames = take(source, 4)
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert source.counts.reconnects == 1 and source.counts.delivered == 4
    assert bus.opened == [""] + ["77"] * 4 and bus.alive == 1 and bus.resets == 0
    assert any("unplugged" in w for w in source.counts.warnings)


def test_a_camera_that_never_comes_back_ends_in_a_clear_error():
    bus = Bus([1, "unplug"])
    source = source_on(bus)
    with pytest.raises(SourceError, match=r"camera Fake 77 was unplugged and did not come back within 0\.4 s"):
        take(source, 5)
    assert bus.alive == 0 and source.counts.reconnects == 0


def test_a_broken_wait_is_a_stall_that_names_its_cause():
    bus = Bus([1, *["break"] * 400], reset_helps=False)
    source = source_on(bus)
    with pytest.raises(SourceError, match="the stream broke"):
        take(source, 5)
    assert bus.resets == 1


def test_close_from_another_thread_ends_a_wait():
    for script in ([1, "stall"], [1, "unplug"]):
        bus = Bus(script)
        source = source_on(bus, replace(QUICK, timeout_s=30.0, reconnect_s=30.0))
        frames = []
        thread = threading.Thread(target=lambda s=source, f=frames: f.extend(s))
        thread.start()
        while not frames and thread.is_alive():
            time.sleep(0.005)
        time.sleep(0.05)
        begin = time.monotonic()
        source.close()
        thread.join(5)
        assert not thread.is_alive() and time.monotonic() - begin < 2 and len(frames) == 1 and bus.alive == 0


def test_warnings_of_the_camera_are_passed_on_once():
    bus = Bus([1, "unplug", 2], absent_opens=1, warnings=("slow bus",))
    source = source_on(bus)
    take(source, 2)
    assert source.counts.warnings.count("slow bus") == 1


def test_a_stream_that_cannot_be_aligned_is_closed():
    bus = Bus([1])
    with pytest.raises(SourceError, match="needs a colour stream"):
        source_on(bus, replace(QUICK, align="colour"))
    assert bus.alive == 0


def test_live_clock_keeps_out_the_jitter():
    rng = np.random.default_rng(3)
    clock, offset = ClockMapper(live=True), 123_456_789_000
    device = np.arange(600) * 33_333_333 + 5_000_000_000
    mapped = [clock.map(int(d), int(d + offset + 4_000_000 + rng.exponential(6e6))) for d in device]
    error = np.array(mapped) - device - offset
    # After the first second only the shortest delay is left, of which 4 ms cannot be told from an offset.
    assert np.all(np.diff(mapped) > 0)
    assert np.all(error[30:] >= 4_000_000) and np.all(error[30:] < 6_000_000)


def test_live_clock_survives_jumps_and_drift():
    clock = ClockMapper(live=True, window_ns=1_000_000_000)
    mapped, truth = [], []
    for i in range(300):
        host = 10**12 + i * 33_000_000
        device = int(i * 33_000_000 * 1.0001)  # 100 ppm fast
        if i >= 150:
            device -= 4_294_967_296_000  # a 32 bit counter of microseconds wrapped
        mapped.append(clock.map(device, host))
        truth.append(host)
    assert np.all(np.diff(mapped) > 0)
    assert np.abs(np.array(mapped) - truth).max() < 1_000_000


def test_recorded_clock_keeps_the_intervals():
    clock = ClockMapper(live=False)
    device = [7_000, 7_000 + 33, 7_000 + 99]
    assert [clock.map(d, 10**9 + i) - 10**9 for i, d in enumerate(device)] == [0, 33, 99]
    # A recording whose clock starts anew goes on from where it was.
    first = clock.map(-(10**12), 2 * 10**9)
    assert first == 10**9 + 100 and clock.map(-(10**12) + 50, 2 * 10**9) == first + 50


def pushes(*events):
    pairer, out = FramePairer(tolerance_ns=10), []
    for depth, colour in events:
        out += [(d[0], c[0]) for d, c in pairer.push(depth and (*depth, None), colour and (*colour, None))]
    return out, pairer


def test_pairer_waits_for_the_colour_of_the_same_time():
    # What the SDK does in playback: the new depth with the colour before, and then both.
    out, pairer = pushes(
        ((0, 0), (0, 1)), ((1, 33), (0, 1)), ((1, 33), (1, 34)), ((2, 66), (1, 34)), ((2, 66), (2, 67))
    )
    assert out == [(0, 0), (1, 1), (2, 2)] and pairer.unpaired == 0
    # The colour may also come with the depth after.
    out, pairer = pushes(((0, 0), None), ((1, 33), (0, 1)), ((1, 33), (1, 33)))
    assert out == [(0, 0), (1, 1)] and pairer.unpaired == 0


def test_pairer_drops_depth_whose_colour_never_came():
    out, pairer = pushes(((0, 0), (0, 0)), ((1, 33), (0, 0)), ((2, 66), (1, 66)), ((3, 99), (1, 66)))
    assert out == [(0, 0), (2, 1)] and pairer.unpaired == 1
    pairer.flush()
    assert pairer.unpaired == 2


@pytest.mark.parametrize(
    ("error", "package", "remedy"),
    [
        (
            ModuleNotFoundError("No module named 'pyrealsense2'"),
            "pyrealsense2",
            r'pip install "bodystream\[realsense\]"',
        ),
        (
            ImportError("libusb-1.0.so.0: cannot open shared object file: No such file or directory"),
            "libusb-1.0",
            "apt-get install libusb-1.0-0",
        ),
        (OSError("libusb-1.0.so.0: cannot open shared object file"), "libusb-1.0", "apt-get install libusb-1.0-0"),
        (ImportError("/lib/libc.so.6: version `GLIBC_2.38' not found"), "pyrealsense2", "GLIBC_2.38"),
    ],
)
def test_missing_packages_are_named(error, package, remedy):
    def importer(name):
        assert name == "pyrealsense2"
        raise error

    with pytest.raises(MissingDependencyError, match=remedy) as caught:
        load_sdk(importer)
    assert caught.value.package == package

    report = diagnose(lambda: load_sdk(importer))
    assert any(package in f"{f.name} {f.found}" and not f.well and f.remedy for f in report)


def test_doctor_never_raises():
    def broken():
        raise RuntimeError("symbol lookup error")

    assert any("symbol lookup error" in f.found and not f.well for f in diagnose(broken))

    def bus_error():
        raise RuntimeError("failed to open usb interface")

    needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    assert any("failed to open usb" in f.found and not f.well for f in diagnose(list_devices=bus_error))
    report = diagnose(list_devices=list)
    assert any(f.name == "pyrealsense2" and f.found.startswith("2.") and f.well for f in report)
    assert any("no camera is connected" in f.found and not f.well and f.remedy for f in report)


def test_config_refuses_nonsense():
    for bad in ({"width": 0}, {"timeout_s": float("nan")}, {"exposure_us": -1}, {"max_depth_m": float("inf")}):
        with pytest.raises(ConfigurationError, match=next(iter(bad))):
            RealSenseConfig(**bad)
    with pytest.raises(ConfigurationError, match="align must be one of depth, colour, got 'both'"):
        RealSenseConfig(align="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs colour=True"):
        RealSenseConfig(align="colour", colour=False)


def test_targets():
    assert [is_recording(t) for t in ("", "0123", "take.db3", "a/b.BAG", "./folder/take")] == [
        False,
        False,
        True,
        True,
        True,
    ]
