"""What a command does to its whole process; a library never does, since the process is somebody else's there."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["settle_memory", "start_warp", "use_one_opencv_thread"]

_NO_DRIVER = b"Could not find or load the NVIDIA CUDA driver"
_STDERR = 2


def start_warp() -> None:
    """Start Warp for a command: it says nothing, and where its kernel cache cannot be written it gets another folder.

    Raises:
        DeviceError: there is no place for kernels.
    """
    import warp as wp

    from bodystream.device import allow_own_folder, initialise_warp

    wp.config.log_level = wp.LOG_ERROR
    allow_own_folder()
    with _without_line(_NO_DRIVER):
        initialise_warp()


def use_one_opencv_thread() -> None:
    """Stages run side by side on threads of their own; OpenCV's pool on top of them only makes the cores spin."""
    import cv2

    cv2.setNumThreads(1)


def settle_memory() -> None:
    """What was made at start-up lives to the end: the collector need not look through it again and again.

    What it took meanwhile and needs no more goes back to the system: an engine that works out its constants takes some
    hundred megabytes for a moment, which glibc would keep.
    """
    gc.collect()
    gc.freeze()
    with suppress(OSError, TypeError, AttributeError):  # another C library has no such call
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _without_line(unwanted: bytes) -> Iterator[None]:
    """Leave out lines that hold `unwanted` from what is written to stderr meanwhile; the rest follows afterwards.

    Warp's native library prints that there is no driver past all of its log settings. A machine without a GPU is an
    ordinary one here, and `select_device` and `bodystream doctor` say what runs where.
    """
    try:
        kept = os.dup(_STDERR)
    except OSError:  # a process without stderr has nothing to leave out
        yield
        return
    try:
        with tempfile.TemporaryFile() as written:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(written.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(kept, _STDERR)
                written.seek(0)
                for line in written:
                    if unwanted not in line:
                        os.write(_STDERR, line)
    finally:
        os.close(kept)
