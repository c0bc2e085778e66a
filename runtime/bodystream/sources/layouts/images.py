"""Colour, depth and mask files, decoded only when they are whole.

libpng and libjpeg fill what is missing from a truncated file with grey or zeros and return it as an image. Here a
file must therefore be complete before it is decoded: a PNG's chunks are walked to `IEND` with their checksums
(PNG specification, section 5), a JPEG must have its end marker after its last scan (ITU-T T.81, annex B).
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.types import Array

__all__ = [
    "COLOUR_SUFFIXES",
    "DEPTH_SUFFIXES",
    "MAX_IMAGE_BYTES",
    "DamagedFileError",
    "png_is_depth",
    "read_colour",
    "read_depth",
    "read_mask",
]

COLOUR_SUFFIXES = (".jpg", ".jpeg", ".png")
DEPTH_SUFFIXES = (".png", ".npy")

MAX_IMAGE_BYTES = 256 << 20
_MAX_PIXELS = 64 << 20
_JPEG_MASK_THRESHOLD = 127  # lossy masks ring around their edges
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33  # signature 8, length 4, "IHDR" 4, 13 bytes of content, checksum 4


class DamagedFileError(InputError):
    """One file of a recording is truncated, absent or unreadable; the frames around it may be whole."""


def read_colour(path: Path) -> Array:
    """A jpg or png as (H, W, 3) uint8 RGB, in the sensor's orientation.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
    """
    # The orientation tag is ignored: depth has none, and the two must stay on the same pixels.
    image = _decode(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.dtype != np.uint8:
        raise InputError(f"{path}: colour must be an 8-bit image, got {image.dtype}")
    return image


def read_depth(path: Path) -> Array:
    """Raw depth as (H, W): uint16 of a png, or the numbers of an npy file.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
        InputError: it is whole but no depth image (8 bits or several channels).
    """
    raw = _decode_npy(path) if path.suffix.lower() == ".npy" else _decode(path, cv2.IMREAD_UNCHANGED)
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise InputError(
            f"{path}: depth must have one channel, got an image of shape {raw.shape}: a coloured picture of depth "
            "cannot be read as depth; give the 16-bit original"
        )
    if raw.dtype.kind not in "uif" or raw.dtype.itemsize < 2:
        raise InputError(f"{path}: depth must be 16-bit integers or floats, got {raw.dtype}: give the 16-bit original")
    return raw


def read_mask(path: Path) -> Array:
    """A mask image as (H, W) bool: any non-zero png pixel, or any jpg pixel above 127.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.ndim == 3:
        image = image[..., :3].max(axis=2)
    threshold = 0 if path.suffix.lower() == ".png" else _JPEG_MASK_THRESHOLD
    return image > threshold


def png_is_depth(path: Path) -> bool | None:
    """Whether a png's header says 16-bit grey (depth); None when there is no readable png."""
    try:
        with path.open("rb") as file:
            head = file.read(_PNG_HEADER_END)
    except OSError:
        return None
    if len(head) < _PNG_HEADER_END or not head.startswith(_PNG_SIGNATURE):
        return None
    return head[24] == 16 and head[25] == 0


def _decode(path: Path, flags: int) -> Array:
    data = read_bounded(path, MAX_IMAGE_BYTES, DamagedFileError)
    if data.startswith(_PNG_SIGNATURE):
        width, height = _check_png(path, data)
    elif data.startswith(b"\xff\xd8"):
        width, height = _check_jpeg(path, data)
    else:
        raise DamagedFileError(f"{path}: is neither a png nor a jpg (starts with {data[:4].hex(' ')})")
    if width * height > _MAX_PIXELS:
        raise DamagedFileError(f"{path}: {width}x{height} pixels are more than a camera gives; not decoded")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DamagedFileError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise DamagedFileError(f"{path}: cannot be decoded")
    return image


def _check_png(path: Path, data: bytes) -> tuple[int, int]:
    """Walk the chunks to IEND; returns (width, height)."""
    if len(data) < _PNG_HEADER_END or data[12:16] != b"IHDR":
        raise DamagedFileError(f"{path}: truncated png (header incomplete)")
    position = len(_PNG_SIGNATURE)
    view = memoryview(data)
    while True:
        if position + 12 > len(data):
            raise DamagedFileError(f"{path}: truncated png (ends after {len(data)} bytes, without its end marker)")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            raise DamagedFileError(f"{path}: truncated png (has {len(data)} bytes, a chunk needs {end})")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise DamagedFileError(f"{path}: damaged png (checksum of the chunk at byte {position} is wrong)")
        if data[position + 4 : position + 8] == b"IEND":
            return struct.unpack_from(">II", data, 16)
        position = end


def _check_jpeg(path: Path, data: bytes) -> tuple[int, int]:
    """The end marker must follow the last scan (a thumbnail's own lies before it); returns (width, height)."""
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or data.rfind(b"\xff\xd9") < scan:
        raise DamagedFileError(f"{path}: truncated jpg (ends after {len(data)} bytes, without its end marker)")
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length
    raise DamagedFileError(f"{path}: damaged jpg (no frame header)")


def _decode_npy(path: Path) -> Array:
    data = read_bounded(path, MAX_IMAGE_BYTES, DamagedFileError)
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, TypeError, SyntaxError, MemoryError, OverflowError) as error:
        raise DamagedFileError(f"{path}: truncated or damaged npy ({error})") from error
