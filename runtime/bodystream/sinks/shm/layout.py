"""The layout of include/bodystream.h for numpy: what a C compiler makes of its structs, byte by byte."""

from __future__ import annotations

import enum
import sys
import time
from dataclasses import dataclass

import numpy as np

from bodystream.geometry.skeleton import JOINTS
from bodystream.timing import now_ns
from bodystream.types import Status

__all__ = [
    "ABI",
    "DEAD_AFTER_NS",
    "FACE_CAPACITY",
    "HEADER",
    "JOINT",
    "MAGIC",
    "MOST_VERTICES",
    "POSE",
    "POSE_SLOT",
    "STATUS",
    "SURFACE_INFO",
    "SURFACE_SLOT",
    "VERTEX_CAPACITY",
    "Offer",
    "Places",
    "PoseFlag",
    "SurfaceFlag",
    "offset_of",
    "shared_ns",
    "shared_now_ns",
]

ABI = 1
MAGIC = b"BODYSHM\0"
DEAD_AFTER_NS = 2_000_000_000
"""Without a heartbeat a writer is dead."""
VERTEX_CAPACITY, FACE_CAPACITY = 65_536, 131_072
"""Of a slot, unless a user says otherwise: a person at voxels of 4 mm has about as many."""
MOST_VERTICES = 4_000_000
POSE_SLOTS, SURFACE_SLOTS = 16, 3
STATUS = {Status.LOST: 0, Status.DEGRADED: 1, Status.TRACKED: 2}
_LINE = 64


class Offer(enum.IntFlag):
    """What a writer writes."""

    POSES = 1
    SURFACES = 2


class PoseFlag(enum.IntFlag):
    """What is known of a pose."""

    HEAD_MEASURED = 1
    LEFT_MEASURED = 2
    RIGHT_MEASURED = 4
    CONTACTS_KNOWN = 8
    LEFT_STANDS = 16
    RIGHT_STANDS = 32


class SurfaceFlag(enum.IntFlag):
    """What is known of a surface."""

    HAS_NORMALS = 1
    HAS_COLOURS = 2
    IN_CAMERA = 4


HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("abi", "<u4"),
        ("header_bytes", "<u4"),
        ("total_bytes", "<u8"),
        ("session", "<u8"),
        ("joint_count", "<u4"),
        ("offers", "<u4"),
        ("pose_offset", "<u4"),
        ("pose_stride", "<u4"),
        ("pose_slots", "<u4"),
        ("surface_slots", "<u4"),
        ("surface_offset", "<u8"),
        ("surface_stride", "<u8"),
        ("vertex_capacity", "<u4"),
        ("face_capacity", "<u4"),
        ("started_ns", "<i8"),
        ("writer_pid", "<u4"),
        ("reserved_0", "<u4"),
        ("name", "S32"),
        ("writer", "S32"),
        ("reserved_1", "u1", 96),
        ("joint_names", "S16", len(JOINTS)),
        ("joint_parents", "<i4", len(JOINTS)),
        ("reserved_2", "u1", 8),
        ("heartbeat_ns", "<i8"),
        ("ended_ns", "<i8"),
        ("reserved_3", "u1", 48),
        ("pose_number", "<u8"),
        ("reserved_4", "u1", 56),
        ("surface_number", "<u8"),
        ("surfaces_too_large", "<u8"),
        ("reserved_5", "u1", 176),
    ]
)
JOINT = np.dtype(
    [("position_m", "<f4", 3), ("rotation_xyzw", "<f4", 4), ("local_xyzw", "<f4", 4), ("std_m", "<f4")],
)
POSE = np.dtype(
    [
        ("number", "<u8"),
        ("sample_ns", "<i8"),
        ("published_ns", "<i8"),
        ("status", "<u4"),
        ("flags", "<u4"),
        ("stature_m", "<f4"),
        ("joint_count", "<u4"),
        ("joints", JOINT, len(JOINTS)),
        ("reason", "S96"),
    ]
)
POSE_SLOT = np.dtype([("sequence", "<u8"), ("reserved", "u1", 56), ("pose", POSE), ("padding", "u1", 24)])
SURFACE_INFO = np.dtype(
    [
        ("number", "<u8"),
        ("sample_ns", "<i8"),
        ("published_ns", "<i8"),
        ("topology", "<u8"),
        ("status", "<u4"),
        ("flags", "<u4"),
        ("vertex_count", "<u4"),
        ("face_count", "<u4"),
        ("reserved", "u1", 16),
    ]
)
SURFACE_SLOT = np.dtype([("sequence", "<u8"), ("reserved", "u1", 56), ("info", SURFACE_INFO)])


def offset_of(struct: np.dtype, field: str) -> int:
    """Where a field begins in its struct [bytes]."""
    assert struct.fields is not None
    return {name: place[1] for name, place in struct.fields.items()}[field]


def _aligned(size: int) -> int:
    return -(-size // _LINE) * _LINE


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in a segment [bytes].

    Attributes:
        vertices, faces: capacity of a surface's slot; 0 vertices = no surfaces.
    """

    vertices: int
    faces: int
    pose_slots: int = POSE_SLOTS
    surface_slots: int = SURFACE_SLOTS

    @property
    def surface_offset(self) -> int:
        return _aligned(HEADER.itemsize + self.pose_slots * POSE_SLOT.itemsize)

    @property
    def parts(self) -> tuple[int, int, int, int, int]:
        """Of a surface's slot, where vertices, normals, colours and faces begin, and its whole size."""
        vertices = SURFACE_SLOT.itemsize
        normals = vertices + _aligned(12 * self.vertices)
        colours = normals + _aligned(12 * self.vertices)
        faces = colours + _aligned(4 * self.vertices)
        return vertices, normals, colours, faces, faces + _aligned(12 * self.faces)

    @property
    def total(self) -> int:
        return self.surface_offset + self.surface_slots * self.parts[-1]


def shared_now_ns() -> int:
    """The clock of the segment's times, which is that of `bodystream_now_ns` in C."""
    return time.perf_counter_ns()


def shared_ns(t_ns: int) -> int:
    """A time of `now_ns` on the segment's clock: the same number, but on Windows, where Python's clocks differ."""
    if sys.platform != "win32":
        return t_ns
    return t_ns + time.perf_counter_ns() - now_ns()
