"""The one clock of every timestamp: the host's monotonic clock in integer nanoseconds."""

import time

__all__ = ["now_ns"]

now_ns = time.monotonic_ns
