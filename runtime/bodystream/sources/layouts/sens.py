"""ScanNet's `.sens` files, version 4 (`SensReader/sensorData.h`): jpg or png colour, zlib or raw 16-bit depth.

The frames are listed by their headers alone, without reading them. Depth has `depth_shift` units per metre; colour is
registered with the two cameras' intrinsics and their transforms to one frame. Times are in microseconds.
"""

from __future__ import annotations

import math
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.layouts.containers import MAX_DEPTH_PIXELS, PieceReader
from bodystream.sources.layouts.images import MAX_IMAGE_BYTES, DamagedFileError, decode_colour
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.record import FrameRecord, Recording
from bodystream.sources.layouts.scannet import base_from, rig_of
from bodystream.types import Array

__all__ = ["FILE_SUFFIXES", "NAME", "WANTED", "fits", "read"]

NAME = "sens"
WANTED = "a .sens file (ScanNet)"
FILE_SUFFIXES = (".sens",)

_VERSION = 4
_MAX_NAME = 1024
_MAX_FRAMES = 200_000  # nearly two hours
_FRAME = struct.Struct("<64x4Q")  # camera to world; times of colour and depth; bytes of colour and depth
_JPEG, _PNG, _RAW = 2, 1, 0
_RAW_USHORT, _ZLIB_USHORT = 0, 1


def fits(path: Path) -> bool:
    """Whether this is such a file."""
    return path.suffix.lower() in FILE_SUFFIXES


def read(path: Path) -> Recording:
    """List the frames of a file.

    Raises:
        InputError: it is damaged, or of a version or compression that is not known.
    """
    reader = PieceReader(path)
    try:
        return _read(path, reader)
    except BaseException:
        reader.close()
        raise


def _read(path: Path, reader: PieceReader) -> Recording:
    version, name_bytes = struct.unpack("<IQ", reader.read(0, 12))
    if version != _VERSION or name_bytes > _MAX_NAME:
        raise InputError(f"{path}: no .sens file of version {_VERSION} (says version {version})")
    at = 12 + name_bytes
    matrices = np.frombuffer(reader.read(at, 256), "<f4").reshape(4, 4, 4)
    at += 256
    colour_kind, depth_kind, *sizes, shift, count = struct.unpack("<2i4IfQ", reader.read(at, 36))
    at += 36
    colour_width, colour_height, depth_width, depth_height = sizes
    if not (0 < depth_width * depth_height <= MAX_DEPTH_PIXELS and colour_width * colour_height <= MAX_DEPTH_PIXELS):
        raise InputError(
            f"{path}: {depth_width}x{depth_height} depth and {colour_width}x{colour_height} colour are no camera's"
        )
    if depth_kind not in (_RAW_USHORT, _ZLIB_USHORT) or colour_kind not in (_JPEG, _PNG, _RAW):
        raise InputError(
            f"{path}: depth of kind {depth_kind} and colour of kind {colour_kind} are not known (wanted 0 or 1, and 0 "
            "to 2); export the frames with ScanNet's reader and give the folder"
        )
    if not (math.isfinite(shift) and 1 <= shift <= 1e6):
        raise InputError(f"{path}: {shift:g} depth units in a metre are not plausible")
    if not 0 < count <= _MAX_FRAMES:
        raise InputError(f"{path}: says that it holds {count} frames")
    depth_shape, colour_shape = (depth_height, depth_width), (colour_height, colour_width)
    records: list[FrameRecord] = []
    for index in range(count):
        if at + _FRAME.size > reader.size:
            records.append(FrameRecord(str(index), None, problem=f"{path} ends after {index} of {count} frames"))
            break
        _, depth_us, colour_bytes, depth_bytes = _FRAME.unpack(reader.read(at, _FRAME.size))
        colour_at, at = at + _FRAME.size, at + _FRAME.size + colour_bytes + depth_bytes
        if at > reader.size or max(colour_bytes, depth_bytes) > MAX_IMAGE_BYTES:
            records.append(FrameRecord(str(index), None, problem=f"{path} ends within frame {index} of {count}"))
            break
        origin = f"{path} frame {index}"
        depth = partial(_depth, reader, colour_at + colour_bytes, depth_bytes, depth_kind, depth_shape, origin)
        has_colour = colour_bytes > 0 and colour_width > 0
        colour = partial(_colour, reader, colour_at, colour_bytes, colour_kind, colour_shape, origin)
        records.append(
            FrameRecord(
                name=str(index),
                read_depth=depth if depth_bytes else None,
                read_colour=colour if has_colour else None,
                depth_file=f"{origin} (depth)",
                colour_file=f"{origin} (colour)",
                time_ns=depth_us * 1000 if 0 < depth_us < 1 << 53 else None,
                number=index,
                problem="" if depth_bytes else f"{origin} has no depth",
            )
        )
    depth_camera = _pinhole(matrices[2], (depth_width, depth_height), f"{path} (depth)")
    rig = None
    if any(record.read_colour is not None for record in records):
        colour_camera = _pinhole(matrices[0], (colour_width, colour_height), f"{path} (colour)")
        rig = rig_of(
            depth_camera, colour_camera, base_from(matrices[3], str(path)), base_from(matrices[1], str(path)), str(path)
        )
    return Recording(
        layout=NAME,
        records=tuple(records),
        depth_scale_m=1.0 / shift,
        intrinsics=depth_camera,
        intrinsics_wanted="a whole .sens file",
        rig=rig,
        close=reader.close,
    )


def _pinhole(matrix: Array, size: tuple[int, int], origin: str) -> PinholeParameters:
    fx, fy, cx, cy = (float(matrix[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not all(math.isfinite(value) for value in (fx, fy, cx, cy)) or min(fx, fy) <= 0:
        raise InputError(f"{origin}: its intrinsics are no camera's (fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g})")
    return PinholeParameters(fx, fy, cx, cy, origin, size[0], size[1])


def _depth(reader: PieceReader, at: int, count: int, kind: int, shape: tuple[int, int], origin: str) -> Array:
    data = reader.read(at, count)
    wanted = 2 * shape[0] * shape[1]
    if kind == _ZLIB_USHORT:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(data, wanted + 1)
        except zlib.error as error:
            raise DamagedFileError(f"{origin}: damaged depth ({error})") from error
    if len(data) != wanted:
        more = "more" if len(data) > wanted else "fewer"
        raise DamagedFileError(
            f"{origin}: its depth unpacks to {more} bytes than the {wanted} of {shape[1]}x{shape[0]}"
        )
    return np.frombuffer(data, "<u2").reshape(shape)


def _colour(reader: PieceReader, at: int, count: int, kind: int, shape: tuple[int, int], origin: str) -> Array:
    data = reader.read(at, count)
    if kind != _RAW:
        return decode_colour(data, origin)
    if len(data) != 3 * shape[0] * shape[1]:
        raise DamagedFileError(f"{origin}: its colour has {len(data)} bytes, {shape[1]}x{shape[0]} pixels need 3 each")
    return np.frombuffer(data, np.uint8).reshape(*shape, 3)
