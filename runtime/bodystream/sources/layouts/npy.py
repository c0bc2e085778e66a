"""Arrays of numbers in `.npy` files (NumPy's format, NEP 1), checked against what the file holds before use.

The header is a literal that states type, order and shape; it is read by NumPy itself, without pickle, and believed only
where the file has exactly as many bytes.
"""

from __future__ import annotations

import io
import math

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["parse_npy"]

_MAX_HEADER = 10_000
_MAX_SIDE = 1 << 15


def parse_npy(data: bytes, origin: str, kind: type[InputError] = InputError) -> Array:
    """The array of numbers that a file holds.

    Args:
        origin: names the file in messages.
        kind: the error to raise.

    Raises:
        InputError: no npy file, truncated, with objects, or with a header that says another size than the file has.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
        elif version == (2, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=_MAX_HEADER)
        else:
            raise kind(f"{origin}: is of npy version {version[0]}.{version[1]}; save it again with numpy.save")
    except InputError:
        raise
    except Exception as error:  # the header is parsed as Python, and fails in as many ways
        cause = str(error).split("\n", 1)[0][:80] or type(error).__name__
        raise kind(f"{origin}: truncated or damaged npy ({cause})") from error
    if dtype.kind not in "uif" or dtype.hasobject or dtype.itemsize > 8:
        raise kind(f"{origin}: holds {str(dtype)[:60]} values; expected an npy file of integers or floats")
    if not 0 < len(shape) <= 4 or not all(0 < side <= _MAX_SIDE for side in shape):
        raise kind(f"{origin}: the npy header says shape {str(shape)[:60]}, which is no image")
    count = math.prod(shape)
    start = stream.tell()
    if len(data) - start != count * dtype.itemsize:
        state = "truncated" if len(data) - start < count * dtype.itemsize else "damaged"
        raise kind(
            f"{origin}: {state} npy (shape {shape} of {dtype} needs {count * dtype.itemsize} bytes, the file has "
            f"{len(data) - start})"
        )
    values = np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if by_columns else "C")
    return values.astype(dtype.newbyteorder("=")) if not dtype.isnative else values
