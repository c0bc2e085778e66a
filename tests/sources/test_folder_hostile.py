"""Recordings that lie about their size, block, or may not be read: refused or skipped, soon and small."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from bodystream.errors import InputError
from bodystream.sources import folder as folder_module
from bodystream.sources.folder import FolderSource, read_recording
from bodystream.sources.layouts.deepdeform import parse_flow, read_graph
from bodystream.sources.layouts.images import DamagedFileError, png_is_depth, read_colour, read_depth
from bodystream.sources.layouts.mat5 import list_variables, read_variable
from bodystream.sources.layouts.matlab import read_take
from bodystream.sources.layouts.npy import parse_npy
from bodystream.types import Array
from helpers.folder_takes import colour_rgb, depth_mm, write_intrinsics, write_plain, write_png
from helpers.fuzzing import fuzz, fuzz_file

posix = pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are of POSIX systems")


def _npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + body


def _saved(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">f8", "<i4", "<f2", "u1"])
def test_npy_agrees_with_numpy(dtype: str, order: str) -> None:
    values = np.asarray(np.arange(60).reshape(6, 10), dtype=dtype, order=order)
    got = parse_npy(_saved(values), "file")
    np.testing.assert_array_equal(got, values)
    assert got.dtype == values.dtype.newbyteorder("=") and got.dtype.isnative


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (30000, 30000), }\n"), "truncated npy"),
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (9999999, 9999999), }\n"), "no image"),
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (-1, 4), }\n"), "no image"),
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (0, 4), }\n"), "no image"),
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (), }\n", b"12"), "no image"),
        (_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 2), }\n", b"123456789"), "damaged npy"),
        (_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"12345678"), "holds object"),
        (_npy("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (1,), }\n", b"12"), "expected an npy"),
        (_npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }\n", b"12345678"), "expected an npy"),
        (_npy("{'descr': 'V65536', 'fortran_order': False, 'shape': (1,), }\n"), "expected an npy"),
        (_npy("{'descr': '<u2', 'shape': (1,)}\n"), "damaged npy"),
        (_npy("(" * 9000), "damaged npy"),
        (_npy("{'descr': " * 700), "damaged npy"),
        (_npy("9" * 9000), "damaged npy"),
        (_npy("x" * 40_000), "damaged npy"),
        (_npy("{", version=b"\x02\x00"), "damaged npy"),
        (_npy("\x00\xff'"), "damaged npy"),
        (b"\x93NUMPY\x03\x00" + b"\0" * 20, "version 3.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "damaged npy"),
        (b"\x93NUMPY", "damaged npy"),
        (b"PK\x03\x04", "damaged npy"),
    ],
)
def test_npy_whose_header_lies(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "d.npy"
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=said) as caught:
        read_depth(path)
    assert len(str(caught.value)) < 400 and "d.npy" in str(caught.value)


def _png(width: int, height: int, bits: int, colour_type: int) -> bytes:
    """A valid png of zeros, a thousandth of its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    row = 1 + (width * channels * bits + 7) // 8
    packer = zlib.compressobj(9)
    body = packer.compress(bytes(row * height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "bits", "colour_type"),
    [((16384, 1200), 16, 0), ((6000, 4000), 1, 0), ((5000, 3000), 16, 6), ((4, 0), 8, 0), ((0, 4), 8, 2)],
)
def test_small_png_that_unpacks_to_much_is_not_decoded(
    tmp_path: Path, size: tuple[int, int], bits: int, colour_type: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.png"
    path.write_bytes(_png(*size, bits, colour_type))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for read in (read_depth, read_colour):
        with pytest.raises(DamagedFileError, match=f"{size[0]}x{size[1]} pixels of . bytes"):
            read(path)


def test_large_but_real_images_are_read(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    path.write_bytes(_png(4096, 3072, 8, 2))
    assert read_colour(path).shape == (3072, 4096, 3)
    path.write_bytes(_png(1024, 1024, 16, 0))
    assert read_depth(path).dtype == np.uint16


def test_jpg_of_another_size_or_of_many_scans_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.jpg"
    data = bytearray(cv2.imencode(".jpg", colour_rgb())[1].tobytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 65535, 65535)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="65535x65535 pixels"):
        read_colour(path)
    whole = cv2.imencode(".jpg", colour_rgb())[1].tobytes()
    scan = whole.index(b"\xff\xda")
    path.write_bytes(whole[:scan] + whole[scan:-2] * 200 + whole[-2:])
    with pytest.raises(DamagedFileError, match="more than 100 scans"):
        read_colour(path)


def test_small_mat_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x_depth.mat"
    savemat(path, {"d_depth": np.zeros((480, 640, 120), np.uint16)}, do_compression=True)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="unpacks from .* to 73728000 bytes"):
        read_take(path)
    savemat(path, {"d_depth": np.zeros((480, 640, 20), np.uint16)}, do_compression=True)
    assert read_take(path).shape == (480, 640, 20)


@posix
@pytest.mark.parametrize("make", ["fifo", "socket", "device", "folder", "loop"])
@pytest.mark.parametrize("where", ["depth", "colour", "mask"])
def test_what_is_no_file_among_the_frames_is_left_out(tmp_path: Path, make: str, where: str) -> None:
    write_plain(tmp_path)
    for index in range(4):
        write_png(tmp_path / "mask" / f"{index:04d}.png", (depth_mm(index) > 1450).astype(np.uint8))
    path = tmp_path / where / "0002.png"
    path.unlink()
    _put(make, path)
    source = FolderSource.open(tmp_path)
    frames = list(source)
    lost = 0 if where == "mask" else 1
    assert len(frames) == 4 - lost and source.counts.lost == lost
    assert any("0002.png" in w for w in source.counts.warnings)


def _put(make: str, path: Path) -> None:
    if make == "fifo":
        os.mkfifo(path)
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            here = os.getcwd()
            os.chdir(path.parent)  # the name of a socket is short
            try:
                end.bind(path.name)
            finally:
                os.chdir(here)
    elif make == "device":
        path.symlink_to("/dev/zero")
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)


@posix
@pytest.mark.parametrize("name", ["intrinsics.txt", "camera.json"])
def test_fifo_in_place_of_the_intrinsics(tmp_path: Path, name: str) -> None:
    write_plain(tmp_path, intrinsics=False)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="no camera intrinsics found"):
        FolderSource.open(tmp_path)


@posix
def test_fifos_in_tum_lists(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        os.mkfifo(tmp_path / kind / "0.png")
    assert png_is_depth(tmp_path / "a" / "0.png") is None
    write_intrinsics(tmp_path)
    (tmp_path / "associations.txt").write_text("0.5 a/0.png 0.5 b/0.png\n")
    with pytest.raises(InputError, match="cannot tell which column is depth"):
        FolderSource.open(tmp_path)
    (tmp_path / "associations.txt").unlink()
    os.mkfifo(tmp_path / "associations.txt")
    with pytest.raises(InputError, match="no recording found"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize("method", ["exists", "is_dir", "is_file", "iterdir"])
def test_folder_that_refuses(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, or one on the way to it, that may not be entered; the refusal is a fake, for root may enter all."""
    write_plain(tmp_path)
    before: Callable[[Path], object] = getattr(Path, method)

    def refuse(self: Path, *args: object, **options: object) -> object:
        if tmp_path in (self, *self.parents):
            raise PermissionError(13, "Permission denied", str(self))
        return before(self, *args, **options)  # type: ignore[call-arg]

    monkeypatch.setattr(folder_module.Path, method, refuse)
    with pytest.raises(InputError, match=r"cannot be (read|listed) \(Permission denied\)"):
        read_recording(tmp_path)


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    for name in ("x" * 5000, "x" * 300, "a/" * 3000, "\0"):
        with pytest.raises(InputError):
            FolderSource.open(tmp_path / name)


def test_list_of_names_that_no_system_takes(tmp_path: Path) -> None:
    write_plain(tmp_path, count=1)
    for name in ("x" * 300, "x/" * 3000 + "0.png"):
        (tmp_path / "associations.txt").write_text(f"0.5 depth/{name} 0.5 rgb/{name}\n" * 2)
        with pytest.raises(InputError, match="not one of its 2 frames is whole") as caught:
            FolderSource.open(tmp_path)
        assert len(str(caught.value)) < 1300


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_fuzz_npy(tmp_path: Path, dtype: str) -> None:
    seeds = [
        _saved(np.asarray(depth_mm(), dtype=dtype)[:6, :9]),
        _saved(np.asfortranarray(depth_mm()[:5]).astype(dtype)),
    ]
    fuzz_file(read_depth, seeds, tmp_path / "d.npy")


def test_fuzz_png_depth(tmp_path: Path) -> None:
    seeds = [cv2.imencode(".png", image)[1].tobytes() for image in (depth_mm()[:12, :16], depth_mm())]
    fuzz_file(read_depth, seeds, tmp_path / "d.png")


def test_fuzz_png_with_right_checksums(tmp_path: Path) -> None:
    """The decoder itself: what a mutation does to a chunk passes our own check of it."""
    seeds = [_png(16, 12, 16, 0), _png(16, 12, 8, 6), _png(16, 12, 1, 3), cv2.imencode(".png", depth_mm())[1].tobytes()]
    path = tmp_path / "d.png"

    def parse(data: bytes) -> None:
        path.write_bytes(_rechecked(data))
        for read in (read_depth, read_colour):
            try:
                read(path)
            except InputError as error:
                assert "d.png" in str(error)

    fuzz(parse, seeds, share=0.6)


def _rechecked(data: bytes) -> bytes:
    """The same png with the checksums of all chunks put right."""
    result, position = bytearray(data), 8
    while position + 12 <= len(result):
        (length,) = struct.unpack_from(">I", result, position)
        end = position + 12 + length
        if end > len(result):
            break
        struct.pack_into(">I", result, end - 4, zlib.crc32(result[position + 4 : end - 4]))
        position = end
    return bytes(result)


def test_fuzz_jpg(tmp_path: Path) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    seeds = [cv2.imencode(".jpg", colour_rgb(), chosen)[1].tobytes() for chosen in ([], options)]
    fuzz_file(read_colour, seeds, tmp_path / "c.jpg")


@pytest.mark.parametrize("compressed", [False, True])
def test_fuzz_mat5(tmp_path: Path, compressed: bool) -> None:
    seeds = []
    for dtype in ("u2", "f8", "i2"):
        file = io.BytesIO()
        depth = np.stack([depth_mm(i)[:9, :11] for i in range(3)], axis=2).astype(dtype)
        savemat(file, {"d_depth": depth, "z": "text"}, do_compression=compressed)
        seeds.append(file.getvalue())
    fuzz_file(read_take, seeds, tmp_path / "x_depth.mat")


def test_fuzz_mat5_within_the_compression() -> None:
    """Elements are mutated before they are packed, so that damage reaches the parser behind the checksum."""
    file = io.BytesIO()
    savemat(file, {"d_depth": np.stack([depth_mm(i)[:9, :11] for i in range(3)], axis=2)})
    plain = file.getvalue()

    def parse(data: bytes) -> None:
        packed = zlib.compress(data, 1)
        for variable in list_variables(plain[:128] + struct.pack("<II", 15, len(packed)) + packed, "file"):
            read_variable(variable, 1 << 28, "file")

    fuzz(parse, [plain[128:]])


@pytest.mark.parametrize("channels", [2, 3])
def test_fuzz_flow(channels: int) -> None:
    rng = np.random.default_rng(0)
    seeds = [
        struct.pack("<III", width, 4, channels) + rng.normal(size=width * 4 * channels).astype("<f4").tobytes()
        for width in (3, 8)
    ]
    fuzz(lambda data: parse_flow(data, channels, "file"), seeds)


def test_fuzz_graph(tmp_path: Path) -> None:
    nodes = np.random.default_rng(0).normal(size=(5, 3)).astype("<f4")
    for name, header, values in (
        ("graph_nodes", struct.pack("<I", 5), nodes),
        ("graph_edges", struct.pack("<II", 5, 2), np.full((5, 2), -1, "<i4")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "g.bin").write_bytes(header + values.tobytes())
    for name in ("graph_nodes", "graph_edges"):
        path = tmp_path / name / "g.bin"
        seed = path.read_bytes()
        fuzz_file(lambda _: read_graph(tmp_path), [seed], path, share=0.4)
        path.write_bytes(seed)


def test_fuzz_take_with_one_bad_frame(tmp_path: Path) -> None:
    """Whatever stands in one file, the other frames come out as they are."""
    write_plain(tmp_path, count=3)
    path = tmp_path / "depth" / "0001.png"

    def read(_: Path) -> None:
        source = FolderSource.open(tmp_path)
        kept = {frame.name for frame in source}
        assert kept >= {"0000", "0002"} and source.counts.lost == 3 - len(kept)

    fuzz_file(read, [path.read_bytes()], path, share=0.2)
