"""Recordings of an Azure Kinect or an Orbbec Femto: `.mkv` as `k4arecorder` and Orbbec's K4A wrapper write them.

Tracks COLOR (MJPG, NV12, YUY2 or BGRA) and DEPTH (b16g: 16 bits, most significant byte first, millimetres), and the
device's `calibration.json` attached. IR and IMU are not used.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.sources.layouts import azure
from bodystream.sources.layouts.containers import MAX_DEPTH_PIXELS, PieceReader
from bodystream.sources.layouts.images import DamagedFileError, decode_colour
from bodystream.sources.layouts.matroska import Block, MatroskaFile, Track, walk
from bodystream.sources.layouts.record import MILLIMETRE_M, FrameRecord, Recording
from bodystream.types import Array

__all__ = ["FILE_SUFFIXES", "NAME", "WANTED", "fits", "read"]

NAME = "mkv"
WANTED = "a .mkv file of an Azure Kinect or Femto"
FILE_SUFFIXES = (".mkv",)

_MAX_PICTURE_BYTES = 64 << 20
_MAX_FRAMES = 200_000  # nearly two hours
_LONGEST_PERIOD_NS = 500_000_000
_RAW_BYTES = {b"NV12": 1.5, b"YUY2": 2.0, b"BGRA": 4.0}


def fits(path: Path) -> bool:
    """Whether this is such a file."""
    return path.suffix.lower() in FILE_SUFFIXES


def read(path: Path) -> Recording:
    """List the frames of a file.

    Raises:
        InputError: it is damaged, or none of such a camera.
    """
    reader = PieceReader(path)
    try:
        return _read(path, reader)
    except BaseException:
        reader.close()
        raise


def _read(path: Path, reader: PieceReader) -> Recording:
    file = walk(reader)
    depth = _find(file, "DEPTH")
    if depth is None:
        names = ", ".join(f"{excerpt(track.name)} ({excerpt(track.codec)})" for track in file.tracks[:8]) or "none"
        raise InputError(
            f"{path}: has no depth track; an Azure Kinect's recording has tracks DEPTH and COLOR, this one has {names}"
        )
    if depth.fourcc.lower() != b"b16g" or depth.encoded:
        raise InputError(
            f"{path}: its depth is {_format(depth)}, wanted b16g (16 bits) as the camera's recorder writes it"
        )
    colour = _find(file, "COLOR")
    if colour is not None and (_codec(colour) is None or colour.encoded):
        raise InputError(
            f"{path}: its colour is {_format(colour)}, wanted MJPG, NV12, YUY2 or BGRA as the recorder writes it"
        )
    for track in (depth, colour):
        if track is not None and not 0 < track.width * track.height <= MAX_DEPTH_PIXELS:
            raise InputError(f"{path}: images of {track.width}x{track.height} are no camera's")
    if len(depth.blocks) > _MAX_FRAMES:
        raise InputError(f"{path}: holds {len(depth.blocks)} depth images, more than {_MAX_FRAMES}: cut it into pieces")
    notes: list[str] = []
    if file.cut:
        notes.append(f"{path}: ends in the middle, as after a power cut; what is whole is played")
    if colour is None:
        notes.append(f"{path}: has no colour track, so only depth is used")
    calibration = file.attachments.get("calibration.json")
    text = "" if calibration is None else calibration.rstrip(b"\0").decode("utf-8", errors="replace")
    rig = azure.parse(text, f"{path} calibration.json") if text else None
    records = _records(path, reader, depth, colour, _delay_ns(file))
    if not records:
        raise InputError(f"{path}: holds no depth image")
    return Recording(
        layout=NAME,
        records=tuple(records),
        depth_scale_m=MILLIMETRE_M,
        intrinsics=None,
        intrinsics_wanted="the calibration.json that the recorder attaches",
        notes=tuple(notes),
        rig=rig,
        unregistered=""
        if rig is not None
        else f"{path}: has no calibration.json attached, without which colour cannot be registered to depth: record "
        "with k4arecorder, or pass ?intrinsics=fx,fy,cx,cy,width,height where the images are registered",
        close=reader.close,
    )


def _find(file: MatroskaFile, name: str) -> Track | None:
    uid = file.tags.get(f"K4A_{name}_TRACK", "")
    found = [track for track in file.tracks if track.name.strip().upper() == name]
    found += [track for track in file.tracks if uid and str(track.uid) == uid]
    return found[0] if found else None


def _codec(track: Track) -> bytes | None:
    if track.codec == "V_MJPEG" or track.fourcc == b"MJPG":
        return b"MJPG"
    return track.fourcc if track.fourcc in _RAW_BYTES else None


def _format(track: Track) -> str:
    return excerpt(f"{track.codec} {track.fourcc.decode('latin-1')}{' compressed once more' if track.encoded else ''}")


def _delay_ns(file: MatroskaFile) -> int:
    """How much later than colour depth was taken on purpose, against interference of several devices."""
    text = file.tags.get("K4A_DEPTH_DELAY_NS", "0").strip()
    delay = int(text) if text.lstrip("+-").isascii() and text.lstrip("+-").isdecimal() and len(text) < 12 else 0
    return delay if abs(delay) < _LONGEST_PERIOD_NS else 0


def _records(path: Path, reader: PieceReader, depth: Track, colour: Track | None, delay_ns: int) -> list[FrameRecord]:
    depth_blocks = sorted(depth.blocks, key=lambda block: block.time_ns)
    colour_blocks = sorted(colour.blocks, key=lambda block: block.time_ns) if colour is not None else []
    times = np.array([block.time_ns for block in depth_blocks], np.int64)
    steps = np.diff(times)
    period_ns = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1e9 / 30
    nearest = _nearest(np.array([block.time_ns for block in colour_blocks], np.int64), times - delay_ns)
    records: list[FrameRecord] = []
    for index, block in enumerate(depth_blocks):
        other: Block | None = None
        if colour_blocks:
            other = colour_blocks[int(nearest[index])]
            if abs(other.time_ns - (block.time_ns - delay_ns)) > min(period_ns, _LONGEST_PERIOD_NS) / 2:
                other = None
        origin = f"{path} at {block.time_ns / 1e9:.3f} s"
        no_colour = colour is not None and other is None
        records.append(
            FrameRecord(
                name=str(index),
                read_depth=partial(_depth, reader, block, (depth.height, depth.width), origin),
                read_colour=None
                if colour is None or other is None
                else partial(_colour, reader, other, _codec(colour) or b"", (colour.height, colour.width), origin),
                depth_file=f"{origin} (depth)",
                colour_file=f"{origin} (colour)",
                time_ns=block.time_ns,
                problem=f"{origin}: no colour image was taken with it" if no_colour else "",
            )
        )
    return records


def _nearest(sorted_ns: Array, wanted_ns: Array) -> Array:
    if len(sorted_ns) < 2:
        return np.zeros(len(wanted_ns), np.int64)
    right = np.clip(np.searchsorted(sorted_ns, wanted_ns), 1, len(sorted_ns) - 1)
    return np.where(wanted_ns - sorted_ns[right - 1] <= sorted_ns[right] - wanted_ns, right - 1, right)


def _depth(reader: PieceReader, block: Block, shape: tuple[int, int], origin: str) -> Array:
    wanted = 2 * math.prod(shape)
    if block.size != wanted:
        raise DamagedFileError(
            f"{origin}: its depth has {block.size} bytes, {shape[1]}x{shape[0]} pixels have {wanted}"
        )
    return np.frombuffer(reader.read(block.offset, wanted), ">u2").astype(np.uint16).reshape(shape)


def _colour(reader: PieceReader, block: Block, codec: bytes, shape: tuple[int, int], origin: str) -> Array:
    if codec == b"MJPG":
        if block.size > _MAX_PICTURE_BYTES:
            raise DamagedFileError(f"{origin}: its colour has {block.size} bytes, which no camera's has")
        return decode_colour(reader.read(block.offset, block.size), f"{origin} (colour)")
    height, width = shape
    wanted = int(_RAW_BYTES[codec] * height * width)
    if block.size != wanted or height % 2 or width % 2:
        raise DamagedFileError(f"{origin}: its colour has {block.size} bytes, {width}x{height} pixels have {wanted}")
    data = np.frombuffer(reader.read(block.offset, wanted), np.uint8)
    if codec == b"BGRA":
        return np.ascontiguousarray(data.reshape(height, width, 4)[..., 2::-1])
    if codec == b"NV12":
        return cv2.cvtColor(data.reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_NV12)
    return cv2.cvtColor(data.reshape(height, width, 2), cv2.COLOR_YUV2RGB_YUY2)
