"""Record3D's `.r3d` files: a zip with `metadata` (json) and per frame `rgbd/N.jpg`, `N.depth` and `N.conf`.

Depth is float32 in metres, compressed with LZFSE, smaller than colour and of the same view; `K` is of the colour
images, stored column by column, `perFrameIntrinsicCoeffs` holds fx fy cx cy of each frame. The confidence is not used.
A folder that such a file was unpacked to is read as well.
"""

from __future__ import annotations

import importlib
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bodystream.errors import InputError, MissingDependencyError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.layouts.containers import MAX_DEPTH_PIXELS, open_regular
from bodystream.sources.layouts.images import DamagedFileError, decode_colour
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.lenses import LensParameters, Rig
from bodystream.sources.layouts.pairing import files_of
from bodystream.sources.layouts.record import FrameRecord, Recording
from bodystream.types import Array

__all__ = ["FILE_SUFFIXES", "NAME", "WANTED", "fits", "read", "unpacked_bytes"]

NAME = "r3d"
WANTED = "a .r3d file (Record3D), or what is in it"
FILE_SUFFIXES = (".r3d",)

Content = Callable[[str, int], bytes]
"""The content of a member by its name, of at most so many bytes."""

_METADATA = ("metadata", "metadata.json")
_MAX_METADATA_BYTES = 16 << 20
_MAX_PICTURE_BYTES = 32 << 20
_MAX_DIRECTORY_BYTES = 20 << 20  # of half an hour at 60 Hz
_MAX_FRAMES = 200_000
_SMALLEST_BLOCK = 1024  # LZFSE writes far larger ones; a file of thousands of tiny blocks is no camera's
_ASPECT_ERROR = 0.03


def fits(path: Path) -> bool:
    """Whether this is such a file, or the folder that one was unpacked to."""
    if path.is_dir():
        return (path / "rgbd").is_dir() and any((path / name).is_file() for name in _METADATA)
    return path.suffix.lower() in FILE_SUFFIXES


def read(path: Path) -> Recording:
    """List the frames of a file.

    Raises:
        InputError: it is damaged or no recording.
        MissingDependencyError: there is nothing that unpacks LZFSE.
    """
    unpack = _unpacker()
    if path.is_dir():
        names = [f"rgbd/{file.name}" for file in files_of(path / "rgbd", (".jpg", ".depth"))]
        names += [name for name in _METADATA if (path / name).is_file()]
        return _recording(path, names, partial(_of_folder, path), unpack, None)
    file = open_regular(path)
    try:
        _check_directory(path, file)
        archive = zipfile.ZipFile(file)
        members = {info.filename: info for info in archive.infolist()}
        return _recording(path, members, partial(_of_archive, path, archive, members), unpack, archive.close)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        file.close()
        raise InputError(f"{path}: damaged, or no .r3d file ({excerpt(str(error), 100)})") from error
    except BaseException:
        file.close()
        raise


def _unpacker() -> Callable[[bytes], bytes]:
    for name in ("lzfse", "liblzfse"):  # the second is pyliblzfse's
        try:
            return importlib.import_module(name).decompress
        except ImportError:
            continue
    raise MissingDependencyError("lzfse", "to read .r3d files", "Run: pip install 'bodystream[recordings]'")


def _recording(
    path: Path,
    names: Collection[str],
    content: Content,
    unpack: Callable[[bytes], bytes],
    close: Callable[[], None] | None,
) -> Recording:
    meta = _metadata(path, names, content)
    depth_size, colour_size, camera = _sizes(path, meta)
    numbers = sorted(
        int(name[5:-6])
        for name in names
        if name.startswith("rgbd/") and name.endswith(".depth") and name[5:-6].isascii() and name[5:-6].isdecimal()
        and len(name) < 30
    )  # fmt: skip
    if not 0 < len(numbers) <= _MAX_FRAMES:
        raise InputError(f"{path}: holds {len(numbers)} depth images (rgbd/N.depth)")
    times_ns = _times(meta, numbers)
    cameras = _cameras(meta, numbers)
    records = []
    for position, number in enumerate(numbers):
        depth, colour = f"rgbd/{number}.depth", f"rgbd/{number}.jpg"
        read_depth = partial(_depth, path, depth, content, unpack, depth_size)
        problem = "" if colour in names else f"{path}: {depth} has no {colour}"
        own = cameras[position]
        pinhole = None if own is None else _scaled(own, colour_size, depth_size, f"{path} frame {number}")
        records.append(
            FrameRecord(
                name=str(number),
                read_depth=read_depth,
                read_colour=partial(_colour, path, colour, content) if not problem else None,
                read_intrinsics=None if pinhole is None else partial(_same, pinhole),
                depth_file=f"{path} {depth}",
                colour_file=f"{path} {colour}",
                time_ns=None if times_ns is None else times_ns[position],
                number=number,
                problem=problem if any(name.endswith(".jpg") for name in names) else "",
            )
        )
    fps = _number(meta.get("fps"))
    return Recording(
        layout=NAME,
        records=tuple(records),
        depth_scale_m=1.0,
        intrinsics=_scaled(camera, colour_size, depth_size, str(path)),
        intrinsics_wanted="a whole .r3d file",
        rig=_ScaledRig(camera, colour_size, str(path)),
        rate_hz=fps if fps is not None and 0.1 <= fps <= 1000 else None,
        close=close,
    )


@dataclass(frozen=True, slots=True)
class _ScaledRig:
    """One camera whose depth is of another size: both images show the same view."""

    camera: tuple[float, float, float, float]
    size: tuple[int, int]
    origin: str

    def for_sizes(self, depth: tuple[int, int], colour: tuple[int, int] | None) -> Rig:
        """The rig of images of these (width, height).

        Raises:
            InputError: they have other proportions.
        """
        depth_camera = _scaled(self.camera, self.size, depth, f"{self.origin} (depth)")
        colour_camera = _scaled(self.camera, self.size, colour or self.size, f"{self.origin} (colour)")
        return Rig(LensParameters(depth_camera), LensParameters(colour_camera), np.eye(4), self.origin)


def _scaled(
    camera: tuple[float, float, float, float], size: tuple[int, int], other: tuple[int, int], origin: str
) -> PinholeParameters:
    """The camera of the same view in images of another size (pixel centres at integers)."""
    across, down = other[0] / size[0], other[1] / size[1]
    if abs(across / down - 1) > _ASPECT_ERROR:
        raise InputError(
            f"{origin}: images of {other[0]}x{other[1]} do not show the view of {size[0]}x{size[1]}: export it again"
        )
    fx, fy, cx, cy = camera
    return PinholeParameters(
        fx * across, fy * down, (cx + 0.5) * across - 0.5, (cy + 0.5) * down - 0.5, origin, other[0], other[1]
    )


def _same(pinhole: PinholeParameters) -> PinholeParameters:
    return pinhole


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Refuse a table of contents that would fill the memory: zipfile reads it whole."""
    size = file.seek(0, 2)
    start = max(0, size - 65_557)
    file.seek(start)
    tail = file.read(65_557)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise InputError(f"{path}: is cut off, or no zip (its table of contents is absent)")
    count, directory = struct.unpack_from("<HI", tail, at + 10)
    if 0xFFFF == count or 0xFFFFFFFF == directory:
        locator = tail.rfind(b"PK\6\6", 0, at)
        if locator >= 0 and locator + 56 <= len(tail):
            (directory,) = struct.unpack_from("<Q", tail, locator + 40)
    if directory > _MAX_DIRECTORY_BYTES:
        raise InputError(f"{path}: its table of contents has {directory} bytes, more than any recording's")


def _of_archive(
    path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, limit: int
) -> bytes:
    """A member of at most `limit` bytes; its header's word is checked before, and obeyed by zipfile."""
    info = members[name]
    if info.file_size > limit:
        raise DamagedFileError(f"{path}: {name} unpacks to {info.file_size} bytes, which no camera's does")
    try:
        with archive.open(info) as member:
            return member.read(limit + 1)[:limit]
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, ValueError, NotImplementedError, RuntimeError) as error:
        raise DamagedFileError(f"{path}: {name} is damaged ({excerpt(str(error), 80)})") from error


def _of_folder(path: Path, name: str, limit: int) -> bytes:
    return read_bounded(path / name, limit, DamagedFileError)


def _metadata(path: Path, names: Collection[str], content: Content) -> dict[str, Any]:
    name = next((name for name in _METADATA if name in names), None)
    if name is None:
        raise InputError(f"{path}: holds no `metadata`: export it from Record3D as .r3d")
    try:
        meta = json.loads(content(name, _MAX_METADATA_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its metadata is no valid json ({excerpt(str(error), 80)})") from error
    if not isinstance(meta, dict):
        raise InputError(f"{path}: its metadata is no json object")
    return meta


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _side(path: Path, meta: dict[str, Any], key: str) -> int | None:
    value = _number(meta.get(key))
    if value is None or not (1 <= value <= 1 << 14 and value == int(value)):
        if key in meta:
            raise InputError(f"{path}: {key} in its metadata is {excerpt(meta[key])}, no number of pixels")
        return None
    return int(value)


def _sizes(
    path: Path, meta: dict[str, Any]
) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float, float, float]]:
    """(width, height) of depth and of the images that K is for, and fx fy cx cy."""
    width, height = _side(path, meta, "w"), _side(path, meta, "h")
    if width is None or height is None:
        raise InputError(f"{path}: its metadata has no w and h")
    depth_width, depth_height = _side(path, meta, "dw"), _side(path, meta, "dh")
    if depth_width is None or depth_height is None:
        # Before `dw` and `dh` were written, LiDAR recordings had 256x192, lying or standing as colour does.
        depth_width, depth_height = (256, 192) if width > height else (192, 256)
    if depth_width * depth_height > MAX_DEPTH_PIXELS:
        raise InputError(f"{path}: depth of {depth_width}x{depth_height} is no camera's")
    values = meta.get("K")
    numbers = [_number(value) for value in values] if isinstance(values, list) and len(values) == 9 else []
    if not numbers or any(number is None for number in numbers):
        raise InputError(f"{path}: its metadata has no camera matrix K of nine numbers, got {excerpt(values)}")
    k = np.array(numbers, np.float64).reshape(3, 3).T  # stored column by column
    if k[0, 2] == 0 and k[1, 2] == 0 and (k[2, 0] != 0 or k[2, 1] != 0):
        k = k.T  # by other programs, row by row
    if min(k[0, 0], k[1, 1]) <= 0:
        raise InputError(f"{path}: its camera matrix has no positive focal lengths, got {excerpt(values)}")
    return (depth_width, depth_height), (width, height), (k[0, 0], k[1, 1], k[0, 2], k[1, 2])


def _times(meta: dict[str, Any], numbers: list[int]) -> list[int] | None:
    stamps = meta.get("frameTimestamps")
    if not isinstance(stamps, list):
        return None
    times = [_number(stamps[n]) if n < len(stamps) else None for n in numbers]
    if any(t is None or not 0 <= t < 9e9 for t in times):
        return None
    return [round(t * 1e9) for t in times if t is not None]


def _cameras(meta: dict[str, Any], numbers: list[int]) -> list[tuple[float, float, float, float] | None]:
    """fx fy cx cy of each frame where it is given; the lens moves when it focuses."""
    given = meta.get("perFrameIntrinsicCoeffs")
    found: list[tuple[float, float, float, float] | None] = []
    for number in numbers:
        values = given[number] if isinstance(given, list) and number < len(given) else None
        coefficients = [_number(value) for value in values[:4]] if isinstance(values, list) and len(values) == 4 else []
        if len(coefficients) == 4 and all(value is not None and value > 0 for value in coefficients):
            found.append(tuple(coefficients))  # type: ignore[arg-type]
        else:
            found.append(None)
    return found


def unpacked_bytes(data: bytes) -> int:
    """What an LZFSE stream says that it unpacks to, from the headers of its blocks (`lzfse_internal.h`).

    Raises:
        ValueError: no such stream, cut off, or of many more blocks than an image has.
    """
    at, total, blocks = 0, 0, 0
    while True:
        magic = data[at : at + 4]
        if magic == b"bvx$":
            return total
        try:
            (raw,) = struct.unpack_from("<I", data, at + 4)
            if magic == b"bvx-":
                size = 8 + raw
            elif magic == b"bvxn":
                size = 12 + struct.unpack_from("<I", data, at + 8)[0]
            elif magic == b"bvx2":
                first, second, third = struct.unpack_from("<3Q", data, at + 8)
                header = third & 0xFFFFFFFF
                if header < 32:
                    raise ValueError(f"a block at byte {at} whose header has {header} bytes")
                size = header + (first >> 20 & 0xFFFFF) + (second >> 40 & 0xFFFFF)
            elif magic == b"bvx1":
                size = 772 + struct.unpack_from("<I", data, at + 8)[0]
            else:
                raise ValueError(f"no LZFSE block at byte {at}")
        except struct.error as error:
            raise ValueError("the stream is cut off") from error
        at, total, blocks = at + size, total + raw, blocks + 1
        if at > len(data):
            raise ValueError("the stream is cut off")
        if blocks > 8 + total // _SMALLEST_BLOCK:
            raise ValueError(f"{blocks} blocks for {total} bytes")


def _depth(path: Path, name: str, content: Content, unpack: Callable[[bytes], bytes], size: tuple[int, int]) -> Array:
    wanted = 4 * size[0] * size[1]
    data = content(name, 2 * wanted + 4096)
    if len(data) != wanted:  # else it was stored without compression
        origin = f"{path}: {name}"
        try:
            says = unpacked_bytes(data)
            if says != wanted:
                raise DamagedFileError(
                    f"{origin} unpacks to {says} bytes, {size[0]}x{size[1]} pixels of float32 have {wanted}"
                )
            data = unpack(data)
        except InputError:
            raise
        except Exception as error:  # the two packages raise errors of their own
            raise DamagedFileError(f"{origin} is damaged ({excerpt(str(error), 80)})") from error
        if len(data) != wanted:
            raise DamagedFileError(f"{origin} unpacks to {len(data)} bytes instead of {wanted}")
    return np.frombuffer(data, "<f4").reshape(size[1], size[0])


def _colour(path: Path, name: str, content: Content) -> Array:
    return decode_colour(content(name, _MAX_PICTURE_BYTES), f"{path} {name}")
