"""Writes Matroska as `k4arecorder` does, element by element from RFC 8794 and RFC 9559, without the reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["RecordedTrack", "element", "recording", "vfw"]


def element(kind: int, content: bytes, length_bytes: int = 4) -> bytes:
    """One element with a length of so many bytes; 0 = without one."""
    head = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    if length_bytes == 0:
        return head + b"\x01" + b"\xff" * 7 + content
    return head + ((1 << (7 * length_bytes)) | len(content)).to_bytes(length_bytes, "big") + content


def number(kind: int, value: int) -> bytes:
    return element(kind, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"), 1)


def vfw(fourcc: bytes, width: int, height: int) -> bytes:
    """A BITMAPINFOHEADER."""
    return struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 16, fourcc, 0, 0, 0, 0, 0)


@dataclass
class RecordedTrack:
    """A video track and its frames: (time [us], content)."""

    name: str
    fourcc: bytes
    width: int
    height: int
    frames: Sequence[tuple[int, bytes]] = field(default_factory=list)


def recording(
    tracks: Sequence[RecordedTrack],
    calibration: bytes | None,
    *,
    tags: dict[str, str] | None = None,
    open_lengths: bool = False,
    groups: bool = False,
    flags: int = 0x80,
) -> bytes:
    """A whole file: one cluster per frame time of 1 us steps, attachments and tags behind the tracks."""
    out = element(0x1A45DFA3, element(0x4282, b"matroska", 1))
    body = element(0x1549A966, number(0x2AD7B1, 1000) + element(0x7BA9, b"Azure Kinect", 1))
    entries = b""
    for index, track in enumerate(tracks, 1):
        video = element(0xE0, number(0xB0, track.width) + number(0xBA, track.height))
        entry = number(0xD7, index) + number(0x73C5, 1000 + index) + number(0x83, 1)
        entry += element(0x536E, track.name.encode(), 1) + element(0x86, b"V_MS/VFW/FOURCC", 1)
        entries += element(0xAE, entry + element(0x63A2, vfw(track.fourcc, track.width, track.height)) + video)
    # The recorder leaves room for what it does not know yet.
    body += element(0xEC, bytes(100)) + element(0x1654AE6B, entries)
    if calibration is not None:
        file = element(0x466E, b"calibration.json", 1) + element(0x4660, b"application/octet-stream", 1)
        body += element(0x1941A469, element(0x61A7, file + number(0x46AE, 77) + element(0x465C, calibration)))
    written = b""
    for name, value in (tags or {}).items():
        simple = element(0x67C8, element(0x45A3, name.encode(), 1) + element(0x4487, value.encode(), 1))
        written += element(0x7373, element(0x63C0, b"", 1) + simple)
    body += element(0x1254C367, written) if written else b""
    times = sorted({time for track in tracks for time, _ in track.frames})
    for time_us in times:
        cluster = number(0xE7, time_us)
        for index, track in enumerate(tracks, 1):
            for at, content in track.frames:
                if at == time_us:
                    block = bytes([0x80 | index]) + struct.pack(">hB", 0, flags) + content
                    cluster += element(0xA0, element(0xA1, block)) if groups else element(0xA3, block)
        body += element(0x1F43B675, cluster, 0 if open_lengths else 4)
    return out + element(0x18538067, body, 0 if open_lengths else 8)
