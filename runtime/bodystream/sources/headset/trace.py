"""Recordings of headsets: which format a file is in, and its replay.

Three formats are told apart by what is in the file: WebXR action captures of iwer (`iwer.py`), A-Frame motion captures
(`aframe.py`) and tables (`table.py`), which live sessions can be recorded to.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bodystream.errors import InputError
from bodystream.sources.headset.aframe import is_aframe, parse_aframe
from bodystream.sources.headset.base import Trace
from bodystream.sources.headset.iwer import is_iwer, parse_iwer
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.sources.headset.table import parse_table

__all__ = ["MAX_TRACE_BYTES", "TraceHeadset", "parse_trace", "read_trace"]

MAX_TRACE_BYTES = 256 << 20
"""Half an hour of hand tracking in the most verbose format."""


def read_trace(path: Path) -> Trace:
    """Read a recording of any of the formats.

    Raises:
        InputError: there is no such file, it is too large, or it is not a recording that can be used.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TRACE_BYTES:
            raise InputError(
                f"{path} has {size >> 20} MiB, recordings of up to {MAX_TRACE_BYTES >> 20} MiB are read: cut it"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the headset recording {path}: {reason}") from error
    return parse_trace(data, path.name)


def parse_trace(data: bytes, name: str) -> Trace:
    """The recording in `data`; `name` is for messages.

    Raises:
        InputError: it is not a recording that can be used; the message names the file, the record and the likely cause.
    """
    if len(data) > MAX_TRACE_BYTES:
        raise InputError(f"{name} has {len(data) >> 20} MiB, recordings of up to {MAX_TRACE_BYTES >> 20} MiB are read")
    if not data.strip(b"\x00\xef\xbb\xbf \t\r\n"):
        raise InputError(f"{name} is empty: the recording was not finished, or its download failed")
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        return parse_table(data, name)
    try:
        content = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InputError(
            f"{name} is not valid JSON ({str(error)[:200]}): a truncated download, JavaScript instead of JSON, or "
            "numbers written as NaN"
        ) from error
    if is_iwer(content):
        return parse_iwer(content, name)
    if is_aframe(content):
        return parse_aframe(content, name)
    keys = ", ".join(sorted(map(str, content))[:8])[:100] if isinstance(content, dict) else type(content).__name__
    raise InputError(
        f"{name} is JSON and of no known recording format (it holds: {keys}). Wanted an action capture of iwer with "
        "`schema` and `frames`, or an A-Frame capture with `camera`, `left` and `right`"
    )


class TraceHeadset(ReplayedHeadset):
    """Replays a recording; a `HeadsetSource`.

    Args:
        trace: the recording.
        realtime: at the pace of its recording, instead of as fast as it is processed.
    """

    def __init__(self, trace: Trace, realtime: bool = False) -> None:
        super().__init__(f"trace:{trace.name}", trace.samples, trace.rate_hz, realtime)
        for warning in trace.warnings:
            self.counts.warn(warning)
