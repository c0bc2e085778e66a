"""Playback through the SDK without hardware: its recorder writes what software cameras see, its pipeline plays it."""

from __future__ import annotations

import shutil
import sqlite3
import time

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError, SourceError
from bodystream.sources.base import RgbdSource
from bodystream.sources.realsense import source as realsense
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.source import RealSenseSource
from bodystream.types import CameraIntrinsics, RgbdFrame
from helpers.needs import needs
from helpers.realsense_fixture import DEPTH_SCALE_M, SoftwareCamera, record_software_take

rs = needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")

CAMERA = CameraIntrinsics(150.0, 151.0, 79.5, 60.5, 160, 120)
FRAMES = 40
STEP_NS = 33_333_333


def synthetic_frames(count: int = FRAMES, with_colour: bool = True) -> list[RgbdFrame]:
    """Frames that tell their number in every pixel, on noise that no lossy codec would keep."""
    rng = np.random.default_rng(11)
    depth = 1.0 + rng.random((CAMERA.height, CAMERA.width), np.float32)
    depth[:10] = 0
    colour = rng.integers(0, 200, (CAMERA.height, CAMERA.width, 3)).astype(np.uint8)
    frames = []
    for i in range(count):
        seen = np.where(depth > 0, depth + np.float32(0.01 * i), 0).astype(np.float32)
        image = colour + np.uint8(i) if with_colour else None
        frames.append(RgbdFrame(i, 10**12 + i * STEP_NS, seen, CAMERA, colour=image))
    return frames


@pytest.fixture(autouse=True)
def without_a_process_of_its_own(request, monkeypatch):
    """To start one for each of these recordings takes longer than the tests; two of them do."""
    if "a_recording_comes_back_whole" not in request.node.name and "other_bad_files" not in request.node.name:
        monkeypatch.setattr(realsense, "probe_recording", lambda path, limit_s: None)


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    path = tmp_path_factory.mktemp("takes") / "take.db3"
    record_software_take(path, synthetic_frames(), serial="4711")
    return path


@pytest.fixture(scope="module")
def depth_only_take(tmp_path_factory):
    path = tmp_path_factory.mktemp("takes") / "depth_only.db3"
    record_software_take(path, synthetic_frames(10, with_colour=False))
    return path


def edited(take, tmp_path, edit):
    """A copy of the recording whose tables were changed."""
    path = tmp_path / "edited.db3"
    shutil.copy(take, path)
    with sqlite3.connect(path) as database:
        edit(database)
    database.close()
    return path


def image_rows(database, stream):
    query = "SELECT messages.id, data FROM messages JOIN topics ON topics.id = topic_id WHERE name LIKE ? ORDER BY 1"
    return database.execute(query, (f"%/{stream}_0/image/data%",)).fetchall()


def test_a_recording_comes_back_whole(take):
    source = RealSenseSource.open(str(take))
    assert isinstance(source, RgbdSource)
    assert not source.live and source.name == "realsense:take.db3" and source.rate_hz == 30
    frames = list(source)
    truth = synthetic_frames()
    assert [f.index for f in frames] == list(range(FRAMES))
    for frame, want in zip(frames, truth, strict=True):
        assert np.abs(frame.depth_m - want.depth_m).max() <= 0.51 * DEPTH_SCALE_M
        # Where there is depth, the colour of the very pixel: both cameras are in one place. Black where there is none.
        np.testing.assert_array_equal(frame.colour[10:], want.colour[10:])
        assert not frame.colour[:10].any()
        for name in ("fx", "fy", "cx", "cy"):
            assert getattr(frame.intrinsics, name) == pytest.approx(getattr(CAMERA, name), rel=1e-6)
    device = np.array([f.device_t_ns for f in frames])
    np.testing.assert_allclose(np.diff(device), STEP_NS, atol=1000)
    np.testing.assert_array_equal(np.diff([f.t_ns for f in frames]), np.diff(device))
    counts = source.counts
    assert (counts.delivered, counts.lost, counts.reconnects, counts.warnings) == (FRAMES, 0, 0, [])
    assert list(source) == []  # ended and closed


def test_a_recording_waits_for_a_slow_reader(take):
    source = RealSenseSource.open(str(take))
    names = []
    for frame in source:
        names.append(frame.name)
        if len(names) == 3:
            time.sleep(1.0)
    assert names == [f"realsense:take.db3#{i}" for i in range(FRAMES)]


def test_a_recording_without_colour_gives_depth(depth_only_take):
    source = RealSenseSource.open(str(depth_only_take))
    frames = list(source)
    assert len(frames) == 10 and all(f.colour is None for f in frames)
    assert np.abs(frames[7].depth_m - synthetic_frames(10)[7].depth_m).max() <= 0.51 * DEPTH_SCALE_M
    assert any("depth only" in w for w in source.counts.warnings)


def test_colour_may_be_left_out(take):
    source = RealSenseSource.open(str(take), config=RealSenseConfig(colour=False))
    frames = list(source)
    assert len(frames) == FRAMES and all(f.colour is None for f in frames) and source.counts.warnings == []


def test_alignment_in_playback_matches_the_closed_form(tmp_path):
    baseline_m, z_m = 0.05, 0.8
    depth_camera = CameraIntrinsics(150.0, 150.0, 80.0, 60.0, 160, 120)
    colour_camera = CameraIntrinsics(200.0, 200.0, 110.0, 80.0, 220, 160)
    colour_from_depth = np.eye(4)
    colour_from_depth[0, 3] = baseline_m
    camera = SoftwareCamera(depth_camera, colour_camera, colour_from_depth=colour_from_depth)
    v, u = np.mgrid[:160, :220]
    image = np.stack([u, v, np.full_like(u, 7)], -1).astype(np.uint8)
    depth_raw = np.full((120, 160), round(z_m / DEPTH_SCALE_M), np.uint16)
    with camera.record(tmp_path / "wall.db3"):
        for i in range(3):
            camera.push(i, 1000.0 + i * 33, depth_raw, image)
    (frame, *_) = frames = list(RealSenseSource.open(str(tmp_path / "wall.db3")))
    assert len(frames) == 3 and np.allclose(frame.depth_m, z_m, atol=1e-6)
    v, u = np.mgrid[:120, :160].astype(np.float64)
    want_u = (u - 80) / 150 * 200 + 110 + 200 * baseline_m / z_m
    want_v = (v - 60) / 150 * 200 + 80
    inside = (want_u >= 0) & (want_u <= 219) & (want_v >= 0) & (want_v <= 159)
    assert inside.mean() > 0.8
    assert np.abs(frame.colour[..., 0] - want_u)[inside].max() <= 0.51  # bilinear on a ramp is the position, rounded
    assert np.abs(frame.colour[..., 1] - want_v)[inside].max() <= 0.51

    on_colour = next(iter(RealSenseSource.open(str(tmp_path / "wall.db3"), config=RealSenseConfig(align="colour"))))
    assert on_colour.intrinsics.width == 220 and np.array_equal(on_colour.colour, image)
    measured = on_colour.depth_m > 0
    assert measured.mean() > 0.7 and np.allclose(on_colour.depth_m[measured], z_m, atol=1e-6)
    columns = np.flatnonzero(measured[80])
    assert abs(columns.min() - (-80.5 / 150 * 200 + 110 + 200 * baseline_m / z_m)) <= 1


@pytest.mark.parametrize("fmt", ["bgr8", "rgba8", "yuyv", "y8"])
def test_colour_formats(tmp_path, fmt):
    camera = SoftwareCamera(CAMERA, CAMERA, colour_format=fmt)
    rgb = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (120, 160, 3)).astype(np.uint8), (0, 0), 8)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    image = {
        "bgr8": rgb[..., ::-1],
        "rgba8": np.dstack([rgb, np.full((120, 160, 1), 255, np.uint8)]),
        "yuyv": cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2),
        "y8": grey,
    }[fmt]
    path = tmp_path / f"{fmt}.db3"
    with camera.record(path):
        for i in range(2):
            camera.push(i, 1000.0 + 33 * i, np.full((120, 160), 4000, np.uint16), image)
    frames = list(RealSenseSource.open(str(path)))
    assert len(frames) == 2
    want = np.repeat(grey[..., None], 3, 2) if fmt == "y8" else rgb
    assert np.abs(frames[0].colour.astype(int) - want).max() <= (8 if fmt == "yuyv" else 0)


def test_a_recording_without_depth_is_refused(tmp_path):
    camera = SoftwareCamera(None, CAMERA)
    path = tmp_path / "colour.db3"
    with camera.record(path):
        camera.push(0, 1000.0, None, np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(SourceError, match=r"colour\.db3 holds no depth frames \(it has .*rgb8.*depth stream on"):
        RealSenseSource.open(str(path))


def test_an_empty_stream_is_told_from_an_absent_one(take, tmp_path):
    def without(stream):
        def edit(database):
            database.executemany("DELETE FROM messages WHERE id = ?", [(i,) for i, _ in image_rows(database, stream)])

        return edit

    with pytest.raises(SourceError, match="its depth stream is empty"):
        RealSenseSource.open(str(edited(take, tmp_path, without("Depth"))))
    frames = list(RealSenseSource.open(str(edited(take, tmp_path, without("Color")))))
    assert len(frames) == FRAMES and frames[0].colour is None


def test_depth_without_its_colour_is_dropped_and_said(take, tmp_path):
    def edit(database):
        database.execute("DELETE FROM messages WHERE id = ?", (image_rows(database, "Color")[20][0],))

    source = RealSenseSource.open(str(edited(take, tmp_path, edit)))
    frames = list(source)
    assert [f.index for f in frames] == [i for i in range(FRAMES) if i != 20]
    assert source.counts.lost == 1 and any("without a colour frame" in w for w in source.counts.warnings)


@pytest.mark.parametrize("stream", ["Depth", "Color"])
def test_a_damaged_image_ends_in_an_error_after_the_good_frames(take, tmp_path, stream):
    def edit(database):
        row, data = image_rows(database, stream)[25]
        database.execute("UPDATE messages SET data = ? WHERE id = ?", (data[: len(data) // 2], row))

    source = RealSenseSource.open(str(edited(take, tmp_path, edit)))
    frames = []
    with pytest.raises(SourceError, match="is damaged: playback stopped after depth frame .* should go on to 39"):
        for frame in source:
            frames.append(frame)
    assert [f.index for f in frames] == list(range(25))


@pytest.mark.parametrize("keep", [0, 50, 5000, 0.5, 0.999])
def test_a_recording_that_is_cut_short(take, tmp_path, keep):
    data = take.read_bytes()
    path = tmp_path / "cut.db3"
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(InputError, match=r"cut\.db3 (is cut short|is not a \.db3 recording)"):
        RealSenseSource.open(str(path))


def test_other_bad_files(take, tmp_path):
    with pytest.raises(InputError, match=r"there is no recording .*gone\.db3"):
        RealSenseSource.open(str(tmp_path / "gone.db3"))
    text = tmp_path / "notes.bag"
    text.write_text("not a bag")
    with pytest.raises(InputError, match=r"not a \.bag recording"):
        RealSenseSource.open(str(text))
    bag = tmp_path / "empty.bag"
    bag.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(InputError, match=r"empty\.bag cannot be played"):
        RealSenseSource.open(str(bag))
    with pytest.raises(InputError, match=r"wanted a recording that ends in \.db3 or \.bag"):
        RealSenseSource.open(str(shutil.copy(take, tmp_path / "take.mp4")))
    other = tmp_path / "other.db3"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE birds (name TEXT)")
    database.close()
    with pytest.raises(InputError, match="damaged or not a RealSense recording"):
        RealSenseSource.open(str(other))
    noise = bytearray(take.read_bytes())
    noise[20000:200000] = np.random.default_rng(0).bytes(180000)
    scrambled = tmp_path / "scrambled.db3"
    scrambled.write_bytes(noise)
    with pytest.raises((InputError, SourceError), match=r"scrambled\.db3"):
        list(RealSenseSource.open(str(scrambled)))


def test_controls_do_not_apply_to_recordings(take):
    source = RealSenseSource.open(str(take), config=RealSenseConfig(emitter=True))
    assert any("as recorded" in w for w in source.counts.warnings)
    source.close()
