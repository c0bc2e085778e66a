"""Recordings in one file: ScanNet's .sens and Record3D's .r3d, written here by the descriptions of the formats."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError, MissingDependencyError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts import r3d, sens
from bodystream.types import Array, CameraIntrinsics
from helpers.fuzzing import fuzz, fuzz_file
from helpers.needs import needs
from helpers.two_cameras import Camera, TwoCameras

JPEG_TOLERANCE = 8  # of 255
SCENE = TwoCameras()
WIDE = Camera((120.0, 122.0, 79.5, 59.5), 160, 120)  # colour of the same view at twice the size
SAME_VIEW = TwoCameras(Camera((60.0, 61.0, 39.5, 29.5), 80, 60), WIDE, np.eye(4))


def encoded(image: Array, suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def check(source: FolderSource, scene: TwoCameras, count: int = 3, depth_atol: float = 6e-4) -> list:
    frames = list(source)
    assert len(frames) == count and source.counts.lost == 0, source.counts.warnings
    wanted, seen = scene.registered()
    for frame in frames:
        np.testing.assert_allclose(frame.depth_m, scene.depth_m(), atol=depth_atol)
        error = np.abs(frame.colour[seen].astype(int) - wanted[seen])
        assert seen.mean() > 0.6 and error.max() <= JPEG_TOLERANCE
    return frames


def write_sens(
    count: int = 3, *, depth_kind: int = 1, colour_kind: int = 2, shift: float = 1000.0, said: int | None = None
) -> bytes:
    """A .sens of version 4: little-endian, as sensorData.h saves its members."""

    def matrix(camera: Camera) -> bytes:
        whole = np.eye(4, dtype="<f4")
        whole[:3, :3] = camera.matrix
        return whole.tobytes()

    name = b"StructureSensor"
    out = struct.pack("<IQ", 4, len(name)) + name
    out += matrix(SCENE.colour) + np.eye(4, dtype="<f4").tobytes()
    out += matrix(SCENE.depth) + SCENE.colour_from_depth.astype("<f4").tobytes()  # colour's frame is the base
    out += struct.pack("<2i", colour_kind, depth_kind)
    out += struct.pack("<4I", SCENE.colour.width, SCENE.colour.height, SCENE.depth.width, SCENE.depth.height)
    out += struct.pack("<fQ", shift, count if said is None else said)
    depth = np.rint(SCENE.depth_m() * shift).astype("<u2").tobytes()
    depth = zlib.compress(depth) if depth_kind == 1 else depth
    rgb = SCENE.colour_rgb()
    colour = {0: rgb.tobytes(), 1: encoded(rgb, ".png"), 2: encoded(rgb, ".jpg")}[colour_kind]
    for index in range(count):
        out += np.eye(4, dtype="<f4").tobytes() + struct.pack("<2Q", index * 33333, 5000 + index * 33333)
        out += struct.pack("<2Q", len(colour), len(depth)) + colour + depth
    return out + struct.pack("<Q", 0)  # no IMU


@pytest.mark.parametrize(
    ("depth_kind", "colour_kind", "shift"), [(1, 2, 1000.0), (0, 2, 1000.0), (1, 1, 4000.0), (1, 0, 1000.0)]
)
def test_sens(tmp_path: Path, depth_kind: int, colour_kind: int, shift: float) -> None:
    path = tmp_path / "scene0000_00.sens"
    path.write_bytes(write_sens(depth_kind=depth_kind, colour_kind=colour_kind, shift=shift))
    with FolderSource.open(path) as source:
        assert source.layout == "sens" and source.depth_scale_m == pytest.approx(1 / shift)
        frames = check(source, SCENE)
    assert frames[1].t_ns - frames[0].t_ns == 33_333_000
    assert frames[0].intrinsics == CameraIntrinsics(60, 61, 39, 30.5, 80, 60)
    with FolderSource.open(path, FolderConfig(intrinsics=CameraIntrinsics(60, 61, 39, 30.5, 80, 60))) as source:
        check(source, SCENE)  # the transform stays


def bomb() -> bytes:
    """A frame whose depth unpacks to 64 MB instead of 9600 bytes."""
    data = bytearray(write_sens(1))
    size = len(zlib.compress(np.rint(SCENE.depth_m() * 1000).astype("<u2").tobytes()))
    large = zlib.compress(bytes(64 << 20), 9)
    del data[-8 - size :]
    at = data.rfind(struct.pack("<Q", size))
    data[at : at + 8] = struct.pack("<Q", len(large))
    return bytes(data) + large + bytes(8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write_sens()[:200], "ends after 200 bytes"),
        (struct.pack("<I", 3) + write_sens()[4:], "no .sens file of version 4 .says version 3"),
        (write_sens(said=1 << 40), "says that it holds 1099511627776 frames"),
        (write_sens(1)[:600], "ends within frame 0 of 1"),
        (write_sens().replace(struct.pack("<2i", 2, 1), struct.pack("<2i", 2, 2)), "depth of kind 2"),
        (write_sens(shift=0.0)[:600], "0 depth units in a metre"),
        (bomb(), "unpacks to more bytes than the 9600"),
        (write_sens().replace(struct.pack("<2I", 80, 60), struct.pack("<2I", 1 << 16, 1 << 16)), "no camera's"),
        (b"", "ends after 0 bytes"),
    ],
)
def test_damaged_sens_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"a.sens.*{message}"):
        FolderSource.open(path)


def test_sens_that_was_cut_off_plays_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(write_sens(3)[:-500])
    with FolderSource.open(path) as source:
        assert len(list(source)) == 2 and source.counts.lost == 1
        assert any("ends within frame 2 of 3" in text for text in source.counts.warnings)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("name", ["a.sens", "a.r3d"])
def test_fifos_are_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is a file|{name}: is no ordinary file"):
        FolderSource.open(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is no ordinary file"):
        (sens if name == "a.sens" else r3d).read(tmp_path / name)


def first_frame(module: object) -> Callable[[Path], object]:
    """Read a file and decode its frames."""

    def read(path: Path) -> None:
        recording = module.read(path)  # type: ignore[attr-defined]
        try:
            for record in recording.records[:2]:
                for it in (record.read_depth, record.read_colour, record.read_intrinsics):
                    if it is not None:
                        it()
        finally:
            recording.close()

    return read


def test_fuzz_sens(tmp_path: Path) -> None:
    fuzz_file(first_frame(sens), [write_sens(2), write_sens(1, depth_kind=0, colour_kind=0)], tmp_path / "a.sens")


def lzfse_of(data: bytes) -> bytes:
    lzfse = needs("lzfse", "pip install 'bodystream[recordings]'")
    return lzfse.compress(data)


def stored(data: bytes) -> bytes:
    """An LZFSE stream of one block that is not compressed."""
    return b"bvx-" + struct.pack("<I", len(data)) + data + b"bvx$"


META = {
    "w": 160,
    "h": 120,
    "dw": 80,
    "dh": 60,
    "fps": 60,
    "K": [120.0, 0, 0, 0, 122.0, 0, 79.5, 59.5, 1],
    "frameTimestamps": [0.0, 0.0166, 0.0333],
    "poses": [[0, 0, 0, 1, 0, 0, 0]] * 3,
    "initPose": [0, 0, 0, 1, 0, 0, 0],
}


def write_r3d(
    pack: Callable[[bytes], bytes],
    meta: dict | None = None,
    change: Callable[[dict[str, bytes]], None] | None = None,
    count: int = 3,
) -> bytes:
    """A zip as Record3D exports it: members are stored."""
    depth = SAME_VIEW.depth_m().astype("<f4").tobytes()
    members = {"metadata": json.dumps(META if meta is None else meta).encode(), "icon": b"\xff\xd8"}
    for index in range(count):
        members[f"rgbd/{index}.jpg"] = encoded(SAME_VIEW.colour_rgb(), ".jpg")
        members[f"rgbd/{index}.depth"] = pack(depth)
        members[f"rgbd/{index}.conf"] = pack(np.full(80 * 60, 2, np.uint8).tobytes())
    if change is not None:
        change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name == "bomb" or len(data) > 1 << 20 else None)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [lzfse_of, stored, bytes], ids=["lzfse", "stored block", "plain"])
def test_r3d(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    lzfse_of(b"")
    path = tmp_path / "take.r3d"
    path.write_bytes(write_r3d(pack))
    with FolderSource.open(path) as source:
        assert source.layout == "r3d"
        frames = check(source, SAME_VIEW, depth_atol=1e-6)
    assert frames[2].t_ns - frames[0].t_ns == 33_300_000
    camera = frames[0].intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((60, 61, 39.5, 29.5))


def test_r3d_that_was_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(write_r3d(lzfse_of))) as archive:
        archive.extractall(tmp_path)
    with FolderSource.open(tmp_path) as source:
        assert source.layout == "r3d"
        check(source, SAME_VIEW, depth_atol=1e-6)
    (tmp_path / "rgbd" / "1.depth").write_bytes(b"bvx2")
    with FolderSource.open(tmp_path) as source:
        assert len(list(source)) == 2 and source.counts.lost == 1


def without(meta: dict, *keys: str, **more: object) -> dict:
    return {key: value for key, value in {**meta, **more}.items() if key not in keys}


def test_r3d_of_each_frames_own_camera_and_of_a_rate(tmp_path: Path) -> None:
    lzfse_of(b"")
    own = [[120.0, 122.0, 79.5, 59.5], [126.0, 128.0, 80.0, 60.0], []]
    path = tmp_path / "a.r3d"
    path.write_bytes(write_r3d(bytes, without(META, "frameTimestamps", perFrameIntrinsicCoeffs=own)))
    with FolderSource.open(path) as source:
        frames = list(source)
    assert source.rate_hz == 60 and frames[1].t_ns - frames[0].t_ns == round(1e9 / 60)
    assert [frame.intrinsics.fx for frame in frames] == pytest.approx([60, 63, 60])
    assert frames[1].intrinsics.cx == pytest.approx((80 + 0.5) / 2 - 0.5)


def test_r3d_of_other_programs(tmp_path: Path) -> None:
    """K row by row; colour of higher resolution than K is for; no sizes of depth (256x192 of a LiDAR)."""
    lzfse_of(b"")
    path = tmp_path / "a.r3d"
    path.write_bytes(write_r3d(bytes, without(META, K=[120.0, 0, 79.5, 0, 122.0, 59.5, 0, 0, 1])))
    with FolderSource.open(path) as source:
        check(source, SAME_VIEW, depth_atol=1e-6)
    half = without(META, w=80, h=60, K=[60.0, 0, 0, 0, 61.0, 0, 39.5, 29.5, 1])
    path.write_bytes(write_r3d(bytes, half))
    with FolderSource.open(path) as source:
        check(source, SAME_VIEW, depth_atol=1e-6)

    def lidar(members: dict[str, bytes]) -> None:
        for index in range(3):
            members[f"rgbd/{index}.depth"] = np.full((192, 256), 1.5, "<f4").tobytes()

    path.write_bytes(write_r3d(bytes, without(META, "dw", "dh"), lidar))
    with FolderSource.open(path) as source:
        frame = next(iter(source))
    assert frame.depth_m.shape == (192, 256) and (frame.depth_m == 1.5).all()


def member(name: str, data: bytes | None) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        for index in range(3):
            key = name.format(index)
            if data is None:
                members.pop(key, None)
            else:
                members[key] = data

    return change


RAW = 80 * 60 * 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write_r3d(bytes)[:-30], "cut off, or no zip"),
        (b"not a zip at all", "cut off, or no zip"),
        (write_r3d(bytes, change=member("metadata", None)), "holds no `metadata`"),
        (write_r3d(bytes, change=member("metadata", b"{")), "metadata is no valid json"),
        (write_r3d(bytes, change=member("metadata", b"[" * 100_000)), "metadata is no valid json"),
        (write_r3d(bytes, without(META, "K")), "no camera matrix K"),
        (write_r3d(bytes, without(META, "w")), "no w and h"),
        (write_r3d(bytes, without(META, dw=-3)), "dw in its metadata is -3"),
        (write_r3d(bytes, without(META, dw=16384, dh=16384)), "16384x16384 is no camera's"),
        (write_r3d(bytes, without(META, w=160, h=80)), "do not show the view of"),
        (write_r3d(bytes, count=0), "holds 0 depth images"),
        (write_r3d(bytes, change=member("rgbd/{}.jpg", b"\xff\xd8\xff")), "truncated jpg"),
        (write_r3d(bytes, change=member("rgbd/{}.depth", bytes(64 << 20))), "unpacks to 67108864 bytes"),
        (write_r3d(bytes, change=member("rgbd/{}.depth", stored(bytes(RAW + 4)))), "float32 have 19200"),
        (write_r3d(bytes, change=member("rgbd/{}.depth", stored(bytes(RAW))[:-9])), "the stream is cut off"),
        (
            write_r3d(bytes, change=member("rgbd/{}.depth", b"bvxn" + struct.pack("<2I", RAW, 8) + bytes(8) + b"bvx$")),
            "depth is damaged|instead of",
        ),
        (write_r3d(bytes, change=member("rgbd/{}.depth", (b"bvx-" + bytes(4)) * 400)), "blocks for 0 bytes"),
    ],
)
def test_damaged_r3d_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    lzfse_of(b"")
    path = tmp_path / "a.r3d"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"a.r3d.*({message})"):
        FolderSource.open(path)


def test_lzfse_lengths_are_read_from_the_blocks() -> None:
    rng = np.random.default_rng(0)
    for data in (bytes(100_000), rng.integers(0, 4, 300_000, np.uint8).tobytes(), rng.bytes(5000), b"abc", b""):
        assert r3d.unpacked_bytes(lzfse_of(data)) == len(data)


def test_lzfse_blocks_without_length_are_refused() -> None:
    """A header of 0 bytes leads back to itself."""
    with pytest.raises(ValueError, match="whose header has 0 bytes"):
        r3d.unpacked_bytes(b"bvx2" + struct.pack("<I3Q", 36000, 0, 0, 0) + b"bvx$")


def test_r3d_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.r3d").write_bytes(write_r3d(bytes))
    for name in ("lzfse", "liblzfse"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bodystream\[recordings\]'"):
        FolderSource.open(tmp_path / "a.r3d")


def test_fuzz_r3d(tmp_path: Path) -> None:
    lzfse_of(b"")
    small = [write_r3d(pack, count=1) for pack in (bytes, stored, lzfse_of)]
    fuzz_file(first_frame(r3d), small, tmp_path / "a.r3d")

    def metadata(data: bytes) -> object:
        path = tmp_path / "m.r3d"
        path.write_bytes(write_r3d(bytes, change=member("metadata", data), count=1))
        recording = r3d.read(path)
        recording.close()  # type: ignore[misc]
        return recording.rig.for_sizes((80, 60), (160, 120))  # type: ignore[union-attr]

    fuzz(metadata, [json.dumps(META).encode()], share=0.5)


def test_fuzz_lzfse_headers() -> None:
    def read(data: bytes) -> object:
        try:
            return r3d.unpacked_bytes(data)
        except ValueError as error:
            raise InputError(str(error)) from error

    fuzz(read, [lzfse_of(np.arange(9000, dtype="<f4").tobytes()), stored(bytes(300))])


def test_wrong_layout_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.sens").write_bytes(write_sens())
    with pytest.raises(InputError, match=r"the layout 'tum' does not cover .sens files"):
        FolderSource.open(tmp_path / "a.sens", FolderConfig(layout="tum"))
    with pytest.raises(InputError, match=r"only .mat, .sens, .r3d.* are files"):
        (tmp_path / "a.zip").write_bytes(b"PK")
        FolderSource.open(tmp_path / "a.zip")
