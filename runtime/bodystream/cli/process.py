"""What a command does to its whole process; a library never does, since the process is somebody else's there."""

from __future__ import annotations

import gc

__all__ = ["settle_memory"]


def settle_memory() -> None:
    """What was made at start-up lives to the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
