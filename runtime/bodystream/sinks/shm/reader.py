"""Reads what `ShmWriter` writes, as include/bodystream.h does in C; for Python programs, and to list what there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.sinks.shm.layout import (
    ABI,
    DEAD_AFTER_NS,
    HEADER,
    POSE,
    POSE_SLOT,
    STATUS,
    SURFACE_INFO,
    SURFACE_SLOT,
    Offer,
    Places,
    PoseFlag,
    SurfaceFlag,
    offset_of,
    shared_now_ns,
)
from bodystream.sinks.shm.segment import Segment, open_segment
from bodystream.types import Array, Mesh, Status

__all__ = ["ReadPose", "ReadSurface", "ShmReader", "SurfaceTooLargeError", "WriterGoneError"]

_TRIES = 100
_STATUS = {value: status for status, value in STATUS.items()}
_POSE = offset_of(POSE_SLOT, "pose")
_INFO = offset_of(SURFACE_SLOT, "info")


class WriterGoneError(InputError):
    """The writer ended or died: close the reader, and open another when one publishes again."""


class SurfaceTooLargeError(InputError):
    """A surface in the memory claims to be larger than its slot."""


@dataclass(frozen=True, slots=True)
class ReadPose:
    """One pose, as it was written.

    Attributes:
        number: from 1; gaps are poses that nobody looked for in time.
        sample_ns, published_ns: when it was measured, and when written, on the clock of `layout.shared_now_ns`.
        status, flags, reason: of the pose.
        stature_m: of the person [m]; 0 = not known yet.
        positions_m: (22, 3) float32 in the world [m].
        rotations_xyzw: (22, 4) float32, world from bone. local_xyzw: in each parent's frame.
        std_m: (22,) float32 standard deviations of the positions [m], or None.
    """

    number: int
    sample_ns: int
    published_ns: int
    status: Status
    flags: PoseFlag
    reason: str
    stature_m: float
    positions_m: Array
    rotations_xyzw: Array
    local_xyzw: Array
    std_m: Array | None


@dataclass(frozen=True, slots=True)
class ReadSurface:
    """One surface, as it was written: see `ReadPose`, and `bodystream_surface_info` of the header."""

    number: int
    sample_ns: int
    published_ns: int
    status: Status
    flags: SurfaceFlag
    topology: int
    mesh: Mesh


class ShmReader:
    """Looks at what a writer publishes under a name; it waits for nobody and writes nothing.

    Attributes:
        offers: what the writer writes. pid: its process. writer: the program.
        joints: names of the joints. parents: of each, its parent, or -1.

    Raises:
        InputError: nobody publishes under the name, or it is of another ABI or damaged.
        WriterGoneError: its writer is dead.
    """

    def __init__(self, name: str) -> None:
        self._segment = open_segment(name)
        self.name = name
        try:
            self._check()
            if not self.alive:
                raise WriterGoneError(
                    f"the writer of {name} died: start `bodystream publish --name {name}` again, which takes it over"
                )
        except InputError:
            self._segment.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the writer still publishes."""
        header = self._segment.header
        if int(header["session"]) != self._session or int(header["ended_ns"]):
            return False
        return shared_now_ns() - int(header["heartbeat_ns"]) <= DEAD_AFTER_NS

    @property
    def newest(self) -> int:
        """The number of the newest pose; 0 = there is none yet."""
        return int(self._segment.header["pose_number"])

    @property
    def surfaces_too_large(self) -> int:
        """Surfaces that the writer had no room for."""
        return int(self._segment.header["surfaces_too_large"])

    def pose(self) -> ReadPose | None:
        """The newest pose, or None before there is one.

        Raises:
            WriterGoneError: the writer ended or died.
            InputError: it was written over again and again while it was copied, which a sane writer cannot do.
        """
        self._refuse_gone()
        for _ in range(_TRIES):
            number = self.newest
            if number == 0:
                return None
            place = HEADER.itemsize + (number - 1) % self._places.pose_slots * POSE_SLOT.itemsize
            sequence = self._segment.words(place)
            if int(sequence[0]) != 2 * number:
                continue
            copy = self._segment.bytes[place + _POSE : place + _POSE + POSE.itemsize].copy()
            if int(sequence[0]) == 2 * number:
                return _pose(copy.view(POSE)[0])
        raise InputError(f"shm:{self.name}: poses are written over while they are copied: try again")

    def surface(self) -> ReadSurface | None:
        """The newest surface, or None before there is one, or where the writer offers none.

        Raises:
            WriterGoneError, InputError: as `pose`.
        """
        self._refuse_gone()
        places = self._places
        for _ in range(_TRIES):
            number = int(self._segment.header["surface_number"])
            if number == 0 or places.surface_slots == 0:
                return None
            place = places.surface_offset + (number - 1) % places.surface_slots * places.parts[-1]
            slot = self._segment.bytes[place : place + places.parts[-1]]
            sequence = self._segment.words(place)
            if int(sequence[0]) != 2 * number:
                continue
            info = slot[_INFO : _INFO + SURFACE_INFO.itemsize].copy().view(SURFACE_INFO)[0]
            if int(sequence[0]) != 2 * number:
                continue
            mesh = self._mesh(slot, info)
            if int(sequence[0]) == 2 * number:
                return ReadSurface(
                    int(info["number"]),
                    int(info["sample_ns"]),
                    int(info["published_ns"]),
                    _STATUS[int(info["status"])],
                    SurfaceFlag(int(info["flags"])),
                    int(info["topology"]),
                    mesh,
                )
        raise InputError(f"shm:{self.name}: surfaces are written over while they are copied: try again")

    def close(self) -> None:
        self._segment.close()

    def __enter__(self) -> ShmReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mesh(self, slot: Array, info: Array) -> Mesh:
        vertices, faces = int(info["vertex_count"]), int(info["face_count"])
        if vertices > self._places.vertices or faces > self._places.faces:
            raise SurfaceTooLargeError(f"shm:{self.name}: a surface claims to have {vertices} vertices, {faces} faces")
        v, n, c, f, _ = self._places.parts
        flags = int(info["flags"])

        def part(offset: int, kind: type[np.generic], rows: int, columns: int) -> Array:
            size = rows * columns * np.dtype(kind).itemsize
            return slot[offset : offset + size].copy().view(kind).reshape(rows, columns)

        return Mesh(
            part(v, np.float32, vertices, 3),
            part(f, np.int32, faces, 3),
            part(n, np.float32, vertices, 3) if flags & SurfaceFlag.HAS_NORMALS else None,
            part(c, np.uint8, vertices, 4)[:, :3].copy() if flags & SurfaceFlag.HAS_COLOURS else None,
        )

    def _refuse_gone(self) -> None:
        if not self.alive:
            raise WriterGoneError(f"the writer of {self.name} ended or died: open it again when one publishes")

    def _check(self) -> None:
        segment: Segment = self._segment
        header = segment.header
        if not segment.is_ours:
            raise InputError(f"shm:{self.name} is being made, or no memory of bodystream: try again")
        if int(header["abi"]) != ABI:
            raise InputError(
                f"{self.name} is published with ABI {int(header['abi'])} and this program reads ABI {ABI}: use the "
                "bodystream that publishes it"
            )
        places = Places(
            int(header["vertex_capacity"]),
            int(header["face_capacity"]),
            int(header["pose_slots"]),
            int(header["surface_slots"]),
        )
        wanted = {
            "header_bytes": HEADER.itemsize,
            "pose_offset": HEADER.itemsize,
            "pose_stride": POSE_SLOT.itemsize,
            "surface_offset": places.surface_offset,
            "surface_stride": places.parts[-1],
            "total_bytes": places.total,
        }
        wrong = [name for name, value in wanted.items() if int(header[name]) != value]
        if wrong or places.total > len(segment.bytes) or places.pose_slots < 1:
            raise InputError(f"shm:{self.name} is damaged: {', '.join(wrong) or 'it'} cannot be")
        self._places, self._session = places, int(header["session"])
        self.offers, self.pid = Offer(int(header["offers"])), int(header["writer_pid"])
        self.writer = bytes(header["writer"]).decode("utf-8", "replace")
        self.joints = tuple(bytes(name).decode("ascii", "replace") for name in header["joint_names"])
        self.parents = tuple(int(parent) for parent in header["joint_parents"])


def _pose(record: Array) -> ReadPose:
    joints = record["joints"]
    std_m = joints["std_m"]
    return ReadPose(
        int(record["number"]),
        int(record["sample_ns"]),
        int(record["published_ns"]),
        _STATUS.get(int(record["status"]), Status.LOST),
        PoseFlag(int(record["flags"])),
        bytes(record["reason"]).decode("utf-8", "replace"),
        float(record["stature_m"]),
        joints["position_m"].copy(),
        joints["rotation_xyzw"].copy(),
        joints["local_xyzw"].copy(),
        None if (std_m < 0).any() else std_m.copy(),
    )
