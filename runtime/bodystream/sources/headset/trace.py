"""Recordings of headsets: which format a file is in, and its replay.

Three formats are told apart by what is in the file: WebXR action captures of iwer (`iwer.py`), A-Frame motion captures
(`aframe.py`) and tables (`table.py`), which live sessions can be recorded to.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.headset.aframe import is_aframe, parse_aframe
from bodystream.sources.headset.base import Trace
from bodystream.sources.headset.iwer import is_iwer, parse_iwer
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.sources.headset.table import parse_table

__all__ = ["MAX_TRACE_BYTES", "TraceHeadset", "parse_trace", "read_trace"]

MAX_TRACE_BYTES = 256 << 20
"""Half an hour of hand tracking in the most verbose format."""
_MAX_DECODED_BYTES = 1 << 30
_NOT_A_NUMBER = re.compile(rb"[\[,:]\s*-?(?:NaN|Infinity)\b")
"""Python's and JavaScript's writers put these into JSON, which has no words for them."""
_HIGHEST_RATE_HZ = 3000.0
"""Inertial trackers give up to 1000 samples a second."""
_FEWEST_SAMPLES = 10


def read_trace(path: Path) -> Trace:
    """Read a recording of any of the formats.

    Raises:
        InputError: there is no such file, it is no ordinary one, too large, or not a recording that can be used.
    """
    try:
        data = read_bounded(path, MAX_TRACE_BYTES)
    except InputError as error:
        raise InputError(f"cannot read the headset recording {error}") from error
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
    trace = _parsed(data, name)
    doubt = _rate_doubt(trace)
    return replace(trace, warnings=(*trace.warnings, doubt)) if doubt else trace


def _rate_doubt(trace: Trace) -> str:
    """What to say of samples closer together than any headset gives them; those far apart are flagged when driven."""
    rate_hz = trace.rate_hz
    if rate_hz is None or rate_hz < _HIGHEST_RATE_HZ or len(trace.samples) < _FEWEST_SAMPLES:
        return ""
    return (
        f"{trace.name}: {rate_hz:.4g} samples a second are no headset's, so its times are probably of another unit "
        "and all is over too soon: the column of a table is t_ns, t_ms or t_s by its unit, and JSON has milliseconds"
    )


def _parsed(data: bytes, name: str) -> Trace:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        return parse_table(data, name)
    content = _decoded(data.removeprefix(b"\xef\xbb\xbf"), name)
    if is_iwer(content):
        return parse_iwer(content, name)
    if is_aframe(content):
        return parse_aframe(content, name)
    keys = excerpt(", ".join(list(content)[:8]), 100) if isinstance(content, dict) else type(content).__name__
    raise InputError(
        f"{name} is JSON and of no known recording format (it holds: {keys}). Wanted an action capture of iwer with "
        "`schema` and `frames`, or an A-Frame capture with `camera`, `left` and `right`"
    )


def _decoded(data: bytes, name: str) -> Any:
    # Decoded, a number takes up to 40 bytes, a name and what belongs to it 100, a list or object 100.
    names, lists = data.count(b":"), data.count(b"[") + data.count(b"{")
    if 40 * data.count(b",") + 100 * (names + lists) > _MAX_DECODED_BYTES:
        raise InputError(
            f"{name} holds {lists} lists and objects, which would take over {_MAX_DECODED_BYTES >> 30} GiB of memory: "
            "cut it"
        )
    try:
        if _NOT_A_NUMBER.search(data):
            return json.loads(data)
        return msgspec.json.decode(data)
    # ValueError: what json says of bad JSON, of bytes that are no text, and of numbers with thousands of digits.
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name} is not valid JSON ({str(error)[:200]}): a truncated download, or JavaScript instead of JSON"
        ) from error


class TraceHeadset(ReplayedHeadset):
    """Replays a recording; a `HeadsetSource`.

    Args:
        trace: the recording.
        realtime: at the pace of its recording, instead of as fast as it is processed.
        speed: with `realtime`, how many times as fast.
    """

    from_file = True

    def __init__(self, trace: Trace, realtime: bool = False, speed: float = 1.0) -> None:
        super().__init__(f"trace:{trace.name}", trace.samples, trace.rate_hz, realtime, speed=speed)
        for warning in trace.warnings:
            self.counts.warn(warning)
