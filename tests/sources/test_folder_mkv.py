"""Recordings of an Azure Kinect or Femto: true depth, true colour at each point, and every damage named."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts import mkv
from bodystream.sources.layouts.containers import PieceReader
from bodystream.sources.layouts.matroska import walk
from bodystream.types import Array, CameraIntrinsics
from helpers.fuzzing import fuzz_file
from helpers.matroska_writer import RecordedTrack, element, recording
from helpers.needs import needs
from sources.test_folder_containers import encoded, first_frame
from sources.test_folder_registration import azure_json, azure_scene

TOLERANCE = 10  # of 255: jpg or 4:2:0, and interpolation
PERIOD_US = 33_333


@cache
def scene_images() -> tuple[Array, Array]:
    scene = azure_scene()
    return scene.depth_mm(), scene.colour_rgb()


@cache
def colour_bytes(fourcc: bytes) -> bytes:
    rgb = scene_images()[1]
    if fourcc == b"MJPG":
        return encoded(rgb, ".jpg")
    if fourcc == b"BGRA":
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).tobytes()
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    height, width = rgb.shape[:2]
    y, u, v = np.split(i420, [height * width, height * width * 5 // 4])
    if fourcc == b"NV12":
        return y.tobytes() + np.stack([u, v], axis=-1).tobytes()
    halves = [np.repeat(c.reshape(height // 2, width // 2), 2, axis=0).reshape(-1) for c in (u, v)]
    yuy2 = np.stack([y[0::2], halves[0], y[1::2], halves[1]], axis=-1)
    return yuy2.tobytes()


def tracks(fourcc: bytes = b"MJPG", count: int = 3, colour_late_us: int = 0) -> list[RecordedTrack]:
    depth = scene_images()[0]
    times = [200_011 + i * PERIOD_US for i in range(count)]
    raw = depth.astype(">u2").tobytes()
    colour = [(t + colour_late_us, colour_bytes(fourcc)) for t in times]
    return [
        RecordedTrack("COLOR", fourcc, 1280, 720, colour),
        RecordedTrack("DEPTH", b"b16g", 320, 288, [(t, raw) for t in times]),
        RecordedTrack("IR", b"b16g", 320, 288, [(t, raw) for t in times]),
    ]


def calibration() -> bytes:
    return json.dumps(azure_json(azure_scene().colour_from_depth)).encode()


def check(path: Path, count: int = 3) -> list:
    scene = azure_scene()
    with FolderSource.open(path) as source:
        frames = list(source)
    assert source.layout == "mkv"
    assert len(frames) == count and source.counts.lost == 0, source.counts.warnings
    wanted, seen = scene.registered()
    for frame in frames[:1]:
        both = (frame.depth_m > 0) & seen
        assert both.mean() > 0.5
        np.testing.assert_allclose(frame.depth_m[both], scene.depth_m(bent=False)[both], atol=6e-4)
        assert np.abs(frame.colour[both].astype(int) - wanted[both]).max() <= TOLERANCE
        assert frame.intrinsics.fx == pytest.approx(scene.depth.pinhole[0])
    if count > 1:
        assert frames[1].t_ns - frames[0].t_ns == PERIOD_US * 1000
    return frames


@pytest.mark.parametrize("fourcc", [b"MJPG", b"NV12", b"YUY2", b"BGRA"])
def test_azure_kinect_recording(tmp_path: Path, fourcc: bytes) -> None:
    path = tmp_path / "take.mkv"
    path.write_bytes(recording(tracks(fourcc), calibration(), tags={"K4A_DEPTH_MODE": "NFOV_2X2BINNED"}))
    check(path)


@pytest.mark.parametrize("options", [{"open_lengths": True}, {"groups": True}, {"groups": True, "open_lengths": True}])
def test_other_ways_to_write_it(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "take.MKV"
    path.write_bytes(recording(tracks(), calibration() + b"\0", **options))
    check(path)


def test_tracks_by_their_tags(tmp_path: Path) -> None:
    named = tracks()
    for track, name in zip(named, ("a", "b", "c"), strict=True):
        track.name = name
    path = tmp_path / "take.mkv"
    path.write_bytes(recording(named, calibration(), tags={"K4A_COLOR_TRACK": "1001", "K4A_DEPTH_TRACK": "1002"}))
    check(path)


def test_depth_that_was_delayed_on_purpose(tmp_path: Path) -> None:
    """Several devices take depth in turns; frames belong together that the recorder took together."""
    path = tmp_path / "take.mkv"
    late = recording(tracks(colour_late_us=-20_000), calibration(), tags={"K4A_DEPTH_DELAY_NS": "20000000"})
    path.write_bytes(late)
    check(path)


def test_frames_without_colour_are_lost_and_named(tmp_path: Path) -> None:
    some = tracks(count=4)
    some[0].frames = some[0].frames[1:3]
    path = tmp_path / "take.mkv"
    path.write_bytes(recording(some, calibration()))
    with FolderSource.open(path) as source:
        assert len(list(source)) == 2 and source.counts.lost == 2
        assert any("no colour image was taken with it" in text for text in source.counts.warnings)


def test_recording_without_colour_and_with_given_intrinsics(tmp_path: Path) -> None:
    path = tmp_path / "take.mkv"
    path.write_bytes(recording(tracks()[1:], calibration()))
    with FolderSource.open(path) as source:
        frame = next(iter(source))
        assert frame.colour is None and any("only depth is used" in text for text in source.counts.warnings)
    given = CameraIntrinsics(250, 250, 160, 144, 320, 288)
    path.write_bytes(recording(tracks()[1:], None))
    with pytest.raises(InputError, match="no camera intrinsics found. Add the calibration.json"):
        FolderSource.open(path)
    with FolderSource.open(path, FolderConfig(intrinsics=given)) as source:
        np.testing.assert_allclose(next(iter(source)).depth_m, scene_images()[0] / 1000, rtol=1e-6)


def test_recording_that_was_cut_off_plays_to_its_end(tmp_path: Path) -> None:
    whole = recording(tracks(), calibration())
    path = tmp_path / "take.mkv"
    for cut in (len(whole) - 100, len(whole) - 320 * 288 * 2 - 50):
        path.write_bytes(whole[:cut])
        with FolderSource.open(path) as source:
            assert len(list(source)) >= 2
            assert any("ends in the middle" in text for text in source.counts.warnings)


EMPTY = element(0x1A45DFA3, b"")


def lying_depth() -> list[RecordedTrack]:
    some = tracks(count=1)
    some[1].width = some[1].height = 4000
    return some


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no Matroska file"),
        (b"RIFF" + bytes(100), "is no Matroska file|no Matroska element"),
        (recording(tracks()[:1], calibration()), "has no depth track.*COLOR"),
        (recording(tracks(), None), "no calibration.json attached.*intrinsics="),
        (recording(tracks(), b"{}"), "no whole calibration of an Azure Kinect"),
        (recording(tracks(), b'{"a":' * 5000), "no whole calibration of an Azure Kinect"),
        (recording([RecordedTrack("DEPTH", b"FFV1", 320, 288)], calibration()), "its depth is .*FFV1.*wanted b16g"),
        (recording([RecordedTrack("COLOR", b"H264", 8, 8), tracks()[1]], calibration()), "its colour is .*H264"),
        (recording([RecordedTrack("DEPTH", b"b16g", 1 << 20, 1 << 20)], None), "images of 1048576x1048576 are no"),
        (recording([RecordedTrack("DEPTH", b"b16g", 320, 288)], calibration()), "holds no depth image"),
        (recording(lying_depth(), calibration()), "184320 bytes, 4000x4000 pixels have 32000000"),
        (recording(tracks(), calibration(), flags=0x82), "several frames in one block"),
        (EMPTY + element(0x18538067, element(0x1654AE6B, element(0xAE, bytes(50)))), "damaged|no depth"),
        (EMPTY + element(0x18538067, element(0x1F43B675, b"")), "frames begin before its tracks"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"a.mkv.*({message})"):
        FolderSource.open(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mkv")
    with pytest.raises(InputError, match="is no ordinary file"):
        mkv.read(tmp_path / "a.mkv")


def test_ffmpeg_and_this_reader_agree(tmp_path: Path) -> None:
    """A file that FFmpeg's muxer wrote, with the calibration attached; and FFmpeg's demuxer on a file written here."""
    av = needs("av", "pip install 'bodystream[dev]'")
    depth = scene_images()[0]
    path = tmp_path / "by_ffmpeg.mkv"
    with av.open(str(path), "w", format="matroska", options={"allow_raw_vfw": "1"}) as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 288, "gray16be"
        stream.metadata["title"] = "DEPTH"
        stream.time_base = Fraction(1, 30)
        container.add_attachment("calibration.json", "application/octet-stream", calibration())
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(depth.astype(np.uint16) + index, format="gray16le").reformat(
                format="gray16be"
            )
            frame.pts, frame.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader = PieceReader(path)
    found = walk(reader)
    assert found.attachments["calibration.json"] == calibration() and not found.cut
    track = found.tracks[0]
    assert (track.name, track.width, track.height, len(track.blocks)) == ("DEPTH", 320, 288, 4)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    for index, (block, packet) in enumerate(zip(track.blocks, packets, strict=True)):
        assert reader.read(block.offset, block.size) == bytes(packet)
        assert block.time_ns == pytest.approx(float(packet.pts * packet.time_base) * 1e9, abs=1)
        np.testing.assert_array_equal(np.frombuffer(bytes(packet), ">u2").reshape(288, 320), depth + index)
    reader.close()

    path = tmp_path / "by_us.mkv"
    path.write_bytes(recording(tracks(), calibration()))
    with av.open(str(path)) as container:
        assert [stream.metadata.get("title") for stream in container.streams.video] == ["COLOR", "DEPTH", "IR"]
        image = next(container.decode(video=1)).to_ndarray(format="gray16le")
    np.testing.assert_array_equal(image, depth)


def small() -> list[bytes]:
    """Tiny seeds, so that mutations fall on headers."""
    raw = np.full((4, 4), 1500, ">u2").tobytes()
    colour = encoded(np.full((4, 4, 3), 90, np.uint8), ".jpg")
    pair = [
        RecordedTrack("COLOR", b"MJPG", 4, 4, [(0, colour), (33_333, colour)]),
        RecordedTrack("DEPTH", b"b16g", 4, 4, [(0, raw), (33_333, raw)]),
    ]
    tags = {"K4A_DEPTH_DELAY_NS": "0"}
    return [recording(pair, calibration(), tags=tags), recording(pair, None, open_lengths=True, groups=True)]


def test_fuzz_mkv(tmp_path: Path) -> None:
    fuzz_file(first_frame(mkv), small(), tmp_path / "a.mkv")
