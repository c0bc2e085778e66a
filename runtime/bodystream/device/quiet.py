"""Warp without a word, for as long as it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import warp as wp

__all__ = ["quiet_warp"]

_quiet, _lock, _loud_level = 0, threading.Lock(), 0


@contextmanager
def quiet_warp() -> Iterator[None]:
    """Keep Warp's lines on its start and on what it builds off stdout, where results go; its log level is put back.

    Several threads may be within.
    """
    global _quiet, _loud_level
    with _lock:
        if _quiet == 0:
            _loud_level, wp.config.log_level = wp.config.log_level, max(wp.LOG_ERROR, wp.config.log_level)
        _quiet += 1
    try:
        yield
    finally:
        with _lock:
            _quiet -= 1
            if _quiet == 0:
                wp.config.log_level = _loud_level
