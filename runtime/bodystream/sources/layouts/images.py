"""Colour, depth and mask files, decoded only when they are whole.

libpng and libjpeg fill what is missing from a truncated file with grey or zeros and return it as an image. Here a
file must therefore be complete before it is decoded: a PNG's chunks are walked to `IEND` with their checksums
(PNG specification, section 5), a JPEG must have its end marker after its last scan (ITU-T T.81, annex B).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded, read_head
from bodystream.sources.layouts.npy import parse_npy
from bodystream.sources.layouts.raster import RASTER_SUFFIXES, RasterError, parse_raster
from bodystream.types import Array

__all__ = [
    "COLOUR_SUFFIXES",
    "DEPTH_SUFFIXES",
    "MAX_IMAGE_BYTES",
    "DamagedFileError",
    "decode_colour",
    "png_has_alpha",
    "png_is_depth",
    "read_colour",
    "read_depth",
    "read_mask_image",
]

COLOUR_SUFFIXES = (".jpg", ".jpeg", ".png")
DEPTH_SUFFIXES = (".png", ".npy", *RASTER_SUFFIXES)

MAX_IMAGE_BYTES = 128 << 20
_MAX_PIXELS = 16 << 20  # 4096x3072 and 4K have fewer
_MAX_UNPACKED_BYTES = 96 << 20
_MAX_SCANS = 100  # of a progressive jpg, each decoded over the whole image
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33  # signature 8, length 4, "IHDR" 4, 13 bytes of content, checksum 4


class DamagedFileError(InputError):
    """One file of a recording is truncated, absent or unreadable; the frames around it may be whole."""


def read_colour(path: Path) -> Array:
    """A jpg or png as (H, W, 3) uint8 RGB, in the sensor's orientation.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
    """
    return decode_colour(_read(path), path)


def decode_colour(data: bytes, origin: Path | str) -> Array:
    """The same from the content of a file.

    Raises:
        DamagedFileError: it is truncated or cannot be decoded.
    """
    # The orientation tag is ignored: depth has none, and the two must stay on the same pixels.
    image = _decode(data, origin, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.dtype != np.uint8:
        raise InputError(f"{origin}: colour must be an 8-bit image, got {image.dtype}")
    return image


def read_depth(path: Path) -> Array:
    """Raw depth as (H, W): uint16 of a png or pgm, or the numbers of a tiff or npy file.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
        InputError: it is whole but no depth image (8 bits or several channels).
    """
    suffix = path.suffix.lower()
    if suffix in RASTER_SUFFIXES:
        raw = _decode_raster(path)
    else:
        raw = _decode_npy(path) if suffix == ".npy" else _decode(_read(path), path, cv2.IMREAD_UNCHANGED)
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


def read_mask_image(path: Path) -> Array:
    """A mask file as it is stored, (H, W) or (H, W, 3 | 4) blue first; `masks` tells what it means.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
    """
    image = _decode(_read(path), path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: a mask must be an image of 8 or 16 bits, got {image.dtype}")
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def png_has_alpha(path: Path) -> bool:
    """Whether a png's header says that it has alpha."""
    head = _png_head(path)
    return head is not None and head[25] in (4, 6)


def png_is_depth(path: Path) -> bool | None:
    """Whether a png's header says 16-bit grey (depth); None when there is no readable png."""
    head = _png_head(path)
    return None if head is None else head[24] == 16 and head[25] == 0


def _png_head(path: Path) -> bytes | None:
    try:
        head = read_head(path, _PNG_HEADER_END)
    except InputError:
        return None
    return head if len(head) == _PNG_HEADER_END and head.startswith(_PNG_SIGNATURE) else None


def _read(path: Path) -> bytes:
    return read_bounded(path, MAX_IMAGE_BYTES, DamagedFileError)


def _decode(data: bytes, path: Path | str, flags: int) -> Array:
    if data.startswith(_PNG_SIGNATURE):
        width, height, pixel_bytes = _check_png(path, data)
    elif data.startswith(b"\xff\xd8"):
        width, height = _check_jpeg(path, data)
        pixel_bytes = 3
    else:
        raise DamagedFileError(f"{path}: is neither a png nor a jpg (starts with {data[:4].hex(' ')})")
    if not (width and height) or width * height > _MAX_PIXELS or width * height * pixel_bytes > _MAX_UNPACKED_BYTES:
        raise DamagedFileError(
            f"{path}: {width}x{height} pixels of {pixel_bytes} bytes are not what a camera gives; not decoded"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DamagedFileError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise DamagedFileError(f"{path}: cannot be decoded")
    return image


def _check_png(path: Path | str, data: bytes) -> tuple[int, int, int]:
    """Walk the chunks to IEND; returns (width, height, bytes of a pixel when it is unpacked)."""
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
            width, height = struct.unpack_from(">II", data, 16)
            depth_bits, colour_type = data[24], data[25]
            # A palette may hold alpha, and grey with alpha is unpacked to colour with alpha.
            return width, height, (1 if colour_type == 0 else 4) * (2 if depth_bits == 16 else 1)
        position = end


def _check_jpeg(path: Path | str, data: bytes) -> tuple[int, int]:
    """The end marker must follow the last scan (a thumbnail's own lies before it); returns (width, height)."""
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or data.rfind(b"\xff\xd9") < scan:
        raise DamagedFileError(f"{path}: truncated jpg (ends after {len(data)} bytes, without its end marker)")
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise DamagedFileError(f"{path}: a jpg of more than {_MAX_SCANS} scans, as no camera writes; not decoded")
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
    return parse_npy(read_bounded(path, _MAX_UNPACKED_BYTES + 4096, DamagedFileError), str(path), DamagedFileError)


def _decode_raster(path: Path) -> Array:
    try:
        return parse_raster(_read(path))
    except RasterError as error:
        raise DamagedFileError(f"{path}: {error}") from error
