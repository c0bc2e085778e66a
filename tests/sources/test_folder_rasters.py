"""Depth as tiff and pgm, and the settings of ORB-SLAM beside the images."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.layouts.images import DamagedFileError, read_depth
from bodystream.sources.layouts.orbslam import parse_settings
from bodystream.sources.layouts.raster import RasterError, parse_raster
from bodystream.types import Array
from helpers.folder_takes import HEIGHT, WIDTH, colour_rgb, depth_mm, write_intrinsics, write_plain, write_png
from helpers.fuzzing import fuzz, fuzz_file


def pgm(image: Array, comment: str = "") -> bytes:
    """By the description of the format: most significant byte first."""
    return f"P5\n{comment}{image.shape[1]} {image.shape[0]}\n65535\n".encode() + image.astype(">u2").tobytes()


def tiff(image: Array, order: str = "<", rows_per_strip: int = 8) -> bytes:
    """TIFF 6.0 by hand: uncompressed strips, one directory."""
    height, width = image.shape
    kind = {"u": 1, "f": 3}[image.dtype.kind]
    strips = [image[i : i + rows_per_strip] for i in range(0, height, rows_per_strip)]
    data = [strip.astype(strip.dtype.newbyteorder(order)).tobytes() for strip in strips]
    starts = np.cumsum([8, *map(len, data)])
    lists_at = int(starts[-1])
    directory_at = lists_at + 8 * len(data)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, image.dtype.itemsize * 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, len(data), lists_at),
        (277, 3, 1, 1),
        (278, 4, 1, rows_per_strip),
        (279, 4, len(data), lists_at + 4 * len(data)),
        (339, 3, 1, kind),
    ]
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory_at) + b"".join(data)
    out += struct.pack(f"{order}{len(data)}I", *starts[:-1]) + struct.pack(f"{order}{len(data)}I", *map(len, data))
    out += struct.pack(order + "H", len(entries))
    for tag, sort, count, value in entries:
        packed = struct.pack(order + ("H2x" if sort == 3 else "I"), value)
        out += struct.pack(order + "HHI", tag, sort, count) + packed
    return out + b"\0\0\0\0"


DEPTH = depth_mm(3)
METRES = (DEPTH / 1000).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".pgm", pgm(DEPTH)),
        (".pgm", pgm(DEPTH, "# of a Kinect\n")),
        (".pgm", f"P2\n{WIDTH} {HEIGHT}\n65535\n".encode() + " ".join(map(str, DEPTH.ravel())).encode() + b"\n"),
        (".tiff", tiff(DEPTH)),
        (".tif", tiff(DEPTH, ">")),
        (".TIFF", tiff(METRES)),
        (".tiff", tiff(METRES, ">")),
        (".tiff", cv2.imencode(".tiff", DEPTH)[1].tobytes()),  # LZW
    ],
)
def test_depth_in_metres(tmp_path: Path, suffix: str, data: bytes) -> None:
    (tmp_path / "depth").mkdir()
    for index in range(2):
        (tmp_path / "depth" / f"{index:04d}{suffix}").write_bytes(data)
        write_png(tmp_path / "colour" / f"{index:04d}.png", colour_rgb(index))
    write_intrinsics(tmp_path)
    with FolderSource.open(tmp_path) as source:
        frames = list(source)
    assert len(frames) == 2 and source.counts.lost == 0
    np.testing.assert_allclose(frames[0].depth_m, DEPTH / 1000, rtol=2e-7)
    np.testing.assert_array_equal(frames[0].colour, colour_rgb(0))


def lying(data: bytes, tag: int, value: int) -> bytes:
    """A tiff with another value in one entry of its directory."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    out = bytearray(data)
    for index in range(count):
        place = at + 2 + 12 * index
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<I", out, place + 8, value)
    return bytes(out)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pgm", pgm(DEPTH)[:-1], "truncated pgm"),
        ("a.pgm", b"P5\n60000 60000\n65535\n", "60000x60000 pixels are no camera's"),
        ("a.pgm", b"P5\n48 32\n0\n" + bytes(4000), "largest value of 0"),
        ("a.pgm", b"P6\n48 32\n255\n", "no whole pgm header"),
        ("a.pgm", b"P2\n2 1\n65535\n1 x", "truncated or damaged pgm"),
        ("a.pgm", b"P5\n48 32\n255\n" + bytes(48 * 32), "must be 16-bit"),
        ("a.tiff", tiff(DEPTH)[:-40], "truncated tiff"),
        ("a.tiff", tiff(DEPTH)[:1000], "truncated tiff"),
        ("a.tiff", lying(tiff(DEPTH), 256, 1 << 30), "pixels are no camera's"),
        ("a.tiff", lying(tiff(DEPTH), 257, 3000), "its strips hold 3072 bytes"),
        ("a.tiff", lying(tiff(DEPTH), 277, 5), "5 samples"),
        ("a.tiff", lying(tiff(DEPTH), 259, 34712), "cannot be decoded|not known"),
        ("a.tiff", cv2.imencode(".tiff", colour_rgb())[1].tobytes(), "must have one channel"),
        ("a.tiff", b"not a tiff at all", "truncated tiff|damaged tiff"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}.*({message})"):
        read_depth(tmp_path / name)


def test_fuzz_rasters() -> None:
    def read(data: bytes) -> object:
        try:
            return parse_raster(data)
        except RasterError as error:
            raise DamagedFileError(str(error)) from error

    seeds = [pgm(DEPTH), tiff(DEPTH), tiff(METRES, ">"), cv2.imencode(".tiff", DEPTH)[1].tobytes()]
    fuzz(read, seeds)


ORB_SLAM2 = """%YAML:1.0
# Camera Parameters
Camera.fx: 50.0
Camera.fy: 51.0
Camera.cx: 23.5
Camera.cy: 15.5
Camera.k1: 0.0
Camera.width: 48
Camera.height: 32
Camera.fps: 15.0
Camera.RGB: 1
DepthMapFactor: 2000.0
ORBextractor.nFeatures: 1000
"""
ORB_SLAM3 = """%YAML:1.0
File.version: "1.0"
Camera.type: "PinHole"
Camera1.fx: 50.0
Camera1.fy: 51.0
Camera1.cx: 23.5
Camera1.cy: 15.5
Camera.width: 48
Camera.height: 32
Camera.fps: 15
Stereo.ThDepth: 40.0
RGBD.DepthMapFactor: 2000.0
"""


@pytest.mark.parametrize("text", [ORB_SLAM2, ORB_SLAM3])
@pytest.mark.parametrize("name", ["TUM1.yaml", "camera.yaml", "my camera.yml"])
def test_orb_slam_settings(tmp_path: Path, text: str, name: str) -> None:
    write_plain(tmp_path, intrinsics=False)
    (tmp_path / name).write_text(text)
    with FolderSource.open(tmp_path) as source:
        frames = list(source)
    camera = source.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (50, 51, 23.5, 15.5)
    assert source.depth_scale_m == pytest.approx(1 / 2000)
    assert source.rate_hz == 15 and frames[1].t_ns - frames[0].t_ns == round(1e9 / 15)
    np.testing.assert_allclose(frames[0].depth_m, depth_mm(0) / 2000, rtol=1e-6)


def test_orb_slam_settings_beside_tum_lists(tmp_path: Path) -> None:
    write_plain(tmp_path, intrinsics=False)
    lines = [
        f"{1305031102 + i / 20:.6f} colour/{i:04d}.png {1305031102 + i / 20:.6f} depth/{i:04d}.png" for i in range(4)
    ]
    (tmp_path / "associations.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "TUM1.yaml").write_text(ORB_SLAM2.replace("2000", "1000"))
    with FolderSource.open(tmp_path) as source:
        frames = list(source)
    assert source.layout == "tum" and source.depth_scale_m == pytest.approx(1e-3)
    assert frames[1].t_ns - frames[0].t_ns == 50_000_000  # the list's times, not the settings' rate
    (tmp_path / "intrinsics.txt").write_text("60 60 23.5 15.5")  # nearer to the images; the unit is still said
    with FolderSource.open(tmp_path) as source:
        assert source.intrinsics.fx == 60 and source.depth_scale_m == pytest.approx(1e-3)


def test_orb_slam_settings_that_differ_or_are_impossible(tmp_path: Path) -> None:
    write_plain(tmp_path, intrinsics=False)
    (tmp_path / "a.yaml").write_text(ORB_SLAM2)
    (tmp_path / "b.yaml").write_text(ORB_SLAM2.replace("50.0", "55.0"))
    with pytest.raises(InputError, match=r"several settings of ORB-SLAM that differ .a.yaml, b.yaml"):
        FolderSource.open(tmp_path)
    with pytest.raises(InputError, match="with positive focal lengths, got -50"):
        parse_settings(ORB_SLAM2.replace("fx: 50.0", "fx: -50.0"), "a.yaml")
    with pytest.raises(InputError, match="DepthMapFactor must be the units in a metre, got 0"):
        parse_settings(ORB_SLAM2.replace("2000.0", "0.0"), "a.yaml")
    assert parse_settings("camera_matrix: [1, 2]\n", "a.yaml") is None


def test_fuzz_orb_slam_settings(tmp_path: Path) -> None:
    fuzz(
        lambda data: parse_settings(data.decode("utf-8", errors="replace"), "a.yaml"),
        [ORB_SLAM2.encode(), ORB_SLAM3.encode()],
    )
    fuzz_file(read_depth, [pgm(DEPTH)], tmp_path / "a.pgm", share=0.2)
