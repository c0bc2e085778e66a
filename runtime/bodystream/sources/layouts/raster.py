"""Depth images as tiff (16-bit integers or 32-bit floats) and pgm (16 bit), bounded by their headers before decoding.

A tiff's first directory is read here (TIFF 6.0, section 2): its size, its type, and whether every strip or tile of it
lies within the file; only then does OpenCV decode it. Pgm (Netpbm) is two lines of text and samples with the most
significant byte first, and is read here whole.
"""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np

from bodystream.types import Array

__all__ = ["RASTER_SUFFIXES", "RasterError", "parse_raster"]

RASTER_SUFFIXES = (".tif", ".tiff", ".pgm")

_MAX_PIXELS = 16 << 20
_GAP = rb"(?:\s|#[^\n]{0,400}\n){1,400}"
_PGM_HEADER = re.compile(rb"P([25])" + (_GAP + rb"(\d{1,6})") * 3 + rb"\s")
_SIZES = {3: 2, 4: 4}  # short, long
_MAX_ENTRIES = 400
_MAX_STRIPS = 1 << 20
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS, _SAMPLES, _COUNTS = 256, 257, 258, 259, 273, 277, 279
_TILE_OFFSETS, _TILE_COUNTS, _TILE_WIDTH, _TILE_HEIGHT = 324, 325, 322, 323
_UNCOMPRESSED = 1
_MAX_RATIO = 1500  # of deflate, the best of the usual compressions


class RasterError(ValueError):
    """The file is damaged, or no depth image."""


def parse_raster(data: bytes) -> Array:
    """(H, W) uint16 or float32, or what else the file holds, for the caller to refuse.

    Raises:
        RasterError: it is damaged, or of no sort that cameras write.
    """
    return _parse_pgm(data) if data[:1] == b"P" else _parse_tiff(data)


def _parse_pgm(data: bytes) -> Array:
    match = _PGM_HEADER.match(data)
    if match is None:
        raise RasterError("no whole pgm header (P5, width, height, largest value)")
    width, height, largest = (int(match[i]) for i in (2, 3, 4))
    if not 1 <= width * height <= _MAX_PIXELS:
        raise RasterError(f"{width}x{height} pixels are no camera's")
    if not 1 <= largest <= 65535:
        raise RasterError(f"a largest value of {largest} is none of pgm's")
    body = memoryview(data)[match.end() :]
    if match[1] == b"2":
        words = bytes(body[: 8 * width * height + 64]).split()[: width * height]
        if len(words) < width * height or not all(word.isdigit() and len(word) <= 5 for word in words):
            raise RasterError(f"truncated or damaged pgm ({len(words)} of {width * height} numbers)")
        values = np.array([int(word) for word in words])
        if values.max() > largest:
            raise RasterError(f"damaged pgm (holds {values.max()}, but says {largest} is its largest value)")
        return values.astype(np.uint16 if largest > 255 else np.uint8).reshape(height, width)
    dtype = np.dtype(">u2") if largest > 255 else np.dtype(np.uint8)
    wanted = width * height * dtype.itemsize
    if len(body) < wanted:
        raise RasterError(f"truncated pgm (has {len(body)} bytes of {wanted})")
    image = np.frombuffer(body[:wanted], dtype).reshape(height, width)
    return image.astype(np.uint16) if largest > 255 else image.copy()


def _parse_tiff(data: bytes) -> Array:
    order = "<" if data[:2] == b"II" else ">"
    try:
        tags = _directory(data, order)
    except struct.error as error:
        raise RasterError("truncated tiff (its directory is beyond the end of the file)") from error
    width, height = _one(tags, _WIDTH), _one(tags, _HEIGHT)
    if not 1 <= width * height <= _MAX_PIXELS:
        raise RasterError(f"{width}x{height} pixels are no camera's")
    samples, bits = _one(tags, _SAMPLES, 1), _one(tags, _BITS, 1)
    if not 1 <= samples <= 4 or bits not in (8, 16, 32, 64):
        raise RasterError(f"{samples} samples of {bits} bits are no depth image")
    tiled = _TILE_OFFSETS in tags
    offsets, counts = (
        tags.get(_TILE_OFFSETS if tiled else _OFFSETS, ()),
        tags.get(_TILE_COUNTS if tiled else _COUNTS, ()),
    )
    if not offsets or len(offsets) != len(counts):
        raise RasterError("damaged tiff (no strips, or not as many lengths as strips)")
    if tiled and not (
        1 <= _one(tags, _TILE_WIDTH) <= 2 * width + 4096 and 1 <= _one(tags, _TILE_HEIGHT) <= 2 * height + 4096
    ):
        raise RasterError("damaged tiff (tiles larger than the image)")
    if any(offset + count > len(data) or count == 0 for offset, count in zip(offsets, counts, strict=True)):
        raise RasterError(f"truncated tiff (its strips go beyond the {len(data)} bytes of the file)")
    wanted = width * height * samples * bits // 8
    held = sum(counts)
    if held < wanted / (1 if _one(tags, _COMPRESSION, 1) == _UNCOMPRESSED else _MAX_RATIO):
        raise RasterError(f"damaged tiff (its strips hold {held} bytes, {width}x{height} pixels need {wanted})")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise RasterError(f"cannot be decoded ({error.err})") from error
    if image is None or image.shape[:2] != (height, width):
        raise RasterError("damaged tiff, or a compression that is not known")
    return image


def _directory(data: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """The integers of the first directory by tag."""
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    if not 1 <= count <= _MAX_ENTRIES:
        raise RasterError(f"damaged tiff ({count} entries in its directory)")
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        tag, kind, length = struct.unpack_from(order + "HHI", data, at + 2 + 12 * index)
        if kind not in (3, 4) or tag in tags:
            continue
        if length > _MAX_STRIPS:
            raise RasterError(f"damaged tiff ({length} values under tag {tag})")
        place = at + 10 + 12 * index
        if length * _SIZES[kind] > 4:
            (place,) = struct.unpack_from(order + "I", data, place)
        tags[tag] = struct.unpack_from(f"{order}{length}{'H' if kind == 3 else 'I'}", data, place)
    return tags


def _one(tags: dict[int, tuple[int, ...]], tag: int, default: int | None = None) -> int:
    values = tags.get(tag, ())
    if not values:
        if default is None:
            raise RasterError(f"damaged tiff (tag {tag} is absent)")
        return default
    return values[0]
