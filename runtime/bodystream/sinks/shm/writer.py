"""Writes poses and surfaces into shared memory, each into the next slot of a ring, so that nobody waits for anybody.

A slot's sequence number is odd while it is written, then twice the number of what it holds (a seqlock): see
include/bodystream.h for what a reader does with it.
"""

from __future__ import annotations

import os
import secrets
import threading

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.sinks.send.base import DrivenPose
from bodystream.sinks.shm.layout import (
    ABI,
    HEADER,
    MAGIC,
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
    shared_ns,
)
from bodystream.sinks.shm.segment import create_segment, making
from bodystream.types import Array, Mesh, Status

__all__ = ["ShmWriter", "pose_record", "posed_record", "upright"]

_BEAT_S = 0.1
_INFO = offset_of(SURFACE_SLOT, "info")
_POSE = offset_of(POSE_SLOT, "pose")
_LARGEST_M = 1e4
_UP = np.array([1.0, -1.0, -1.0], np.float32)


def pose_record(driven: DrivenPose) -> Array:
    """One pose of the person as `layout.POSE`, without its number and the time of writing.

    Raises:
        InputError: as `posed_record`.
    """
    pose, person, sample = driven.pose, driven.person, driven.sample
    flags = PoseFlag(0)
    for device, flag in (
        (sample.head, PoseFlag.HEAD_MEASURED),
        (sample.left, PoseFlag.LEFT_MEASURED),
        (sample.right, PoseFlag.RIGHT_MEASURED),
    ):
        flags |= flag if device is not None else 0
    if pose.contacts is not None:
        left, right = pose.contacts
        flags |= PoseFlag.CONTACTS_KNOWN
        flags |= (PoseFlag.LEFT_STANDS if left else 0) | (PoseFlag.RIGHT_STANDS if right else 0)
    return posed_record(
        t_ns=pose.t_ns,
        positions_m=person.joints_m,
        rotations_xyzw=quaternion_from_matrix(person.orientations),
        local_xyzw=pose.rotations_xyzw,
        std_m=pose.joint_std_m,
        status=pose.status,
        flags=flags,
        stature_m=person.skeleton.stature_m,
        reason=pose.reason,
    )


def posed_record(
    *,
    t_ns: int,
    positions_m: Array,
    rotations_xyzw: Array,
    local_xyzw: Array,
    status: Status,
    flags: PoseFlag,
    stature_m: float,
    std_m: Array | None = None,
    reason: str = "",
) -> Array:
    """The same of its parts.

    Args:
        t_ns: of the sample, on the clock of `now_ns`.
        positions_m: (22, 3) in the world. rotations_xyzw: (22, 4) world from bone.
        local_xyzw: (22, 4) in each parent's frame. std_m: (22,) of the positions, or None.
        status, flags, stature_m, reason: of the pose, as the header has them.

    Raises:
        InputError: a number that is not finite, or farther away than any room is wide.
    """
    record = np.zeros((), POSE)
    joints = record["joints"]
    joints["position_m"], joints["rotation_xyzw"], joints["local_xyzw"] = positions_m, rotations_xyzw, local_xyzw
    joints["std_m"] = -1.0 if std_m is None else std_m
    numbers = joints.view(np.float32)
    if not np.abs(numbers).max() < _LARGEST_M:  # nan fails, too
        bad = np.flatnonzero(~(np.abs(numbers.reshape(len(JOINTS), -1)) < _LARGEST_M).all(axis=1))
        raise InputError(
            f"the pose at {t_ns} ns has numbers that are not finite or too large, first of {JOINTS[bad[0]]}: it is "
            "left out, and readers keep the one before"
        )
    record["sample_ns"], record["status"], record["flags"] = shared_ns(t_ns), STATUS[status], int(flags)
    record["stature_m"], record["joint_count"] = stature_m, len(JOINTS)
    record["reason"] = _utf8(reason, 95)
    return record


def upright(mesh: Mesh) -> Mesh:
    """A surface that a camera saw (y down, z ahead) in the axes of the header (y up, -z ahead)."""
    normals = None if mesh.normals is None else mesh.normals * _UP
    return Mesh(mesh.vertices * _UP, mesh.faces, normals, mesh.colours)


class ShmWriter:
    """Has a name in shared memory until it is closed. Poses and surfaces may be written from different threads.

    Args:
        name: 1 to 18 letters, digits, - or _.
        offers: what will be written.
        vertices, faces: the largest surface that there is room for.

    Attributes:
        poses, surfaces: that were written. too_large: surfaces for which there was no room.

    Raises:
        ConfigurationError: the name cannot be had: see `create_segment`.
    """

    def __init__(self, name: str, offers: Offer, vertices: int = 0, faces: int = 0) -> None:
        wants_surfaces = Offer.SURFACES in offers
        places = Places(vertices, faces, surface_slots=3) if wants_surfaces else Places(0, 0, surface_slots=0)
        self.poses = self.surfaces = self.too_large = 0
        self.places = places
        with making():
            self._segment = create_segment(name, places.total)
            self._barrier_lock = threading.Lock()
            self._pose_lock, self._surface_lock = threading.Lock(), threading.Lock()
            bytes_ = self._segment.bytes
            ring = bytes_[HEADER.itemsize : HEADER.itemsize + places.pose_slots * POSE_SLOT.itemsize]
            self._pose_slots = ring.reshape(places.pose_slots, POSE_SLOT.itemsize)
            surfaces = bytes_[places.surface_offset : places.total]
            self._surface_slots = surfaces.reshape(places.surface_slots, places.parts[-1])
            self._pose_number, self._surface_number = (self._at(field) for field in ("pose_number", "surface_number"))
            self._heartbeat, self._too_large = (self._at(field) for field in ("heartbeat_ns", "surfaces_too_large"))
            self._begin(name, offers)
        self._closed = threading.Event()
        self._beating = threading.Thread(target=self._beat, name=f"shm-{name}", daemon=True)
        self._beating.start()

    def write_pose(self, record: Array) -> int:
        """Write what `pose_record` gave; its number is returned, from 1."""
        with self._pose_lock:
            self.poses += 1
            number = self.poses
            record["number"], record["published_ns"] = number, shared_now_ns()
            slot = self._pose_slots[(number - 1) % len(self._pose_slots)]
            sequence = slot[:8].view(np.uint64)
            sequence[0] = 2 * number - 1
            self._barrier()
            slot[_POSE : _POSE + POSE.itemsize] = np.frombuffer(record.tobytes(), np.uint8)
            self._barrier()
            sequence[0] = 2 * number
            self._barrier()
            self._pose_number[0] = number
        return number

    def write_surface(self, mesh: Mesh, t_ns: int, status: Status, topology: int, *, in_camera: bool) -> bool:
        """Write a surface; False where it is larger than there is room for. The one before stays then.

        Args:
            mesh: [m], in the axes of the header.
            t_ns: when it was measured, on the clock of `now_ns`.
            topology: another number whenever faces or the order of vertices change.
            in_camera: seen from the camera; else in the world.

        Raises:
            InputError: vertices or normals that are not finite.
        """
        vertices, faces = len(mesh.vertices), len(mesh.faces)
        if vertices > self.places.vertices or faces > self.places.faces:
            self.too_large += 1
            self._too_large[0] = self.too_large
            return False
        for what, array in (("vertices", mesh.vertices), ("normals", mesh.normals)):
            if array is not None and array.size and not np.isfinite(array.sum()):
                raise InputError(f"the surface at {t_ns} ns has {what} that are not finite: it is left out")
        flags = (SurfaceFlag.HAS_NORMALS if mesh.normals is not None else 0) | (
            SurfaceFlag.HAS_COLOURS if mesh.colours is not None else 0
        )
        info = np.zeros((), SURFACE_INFO)
        info["sample_ns"], info["topology"], info["status"] = shared_ns(t_ns), topology, STATUS[status]
        info["flags"] = flags | (SurfaceFlag.IN_CAMERA if in_camera else 0)
        info["vertex_count"], info["face_count"] = vertices, faces
        with self._surface_lock:
            self.surfaces += 1
            number = self.surfaces
            slot = self._surface_slots[(number - 1) % len(self._surface_slots)]
            sequence = slot[:8].view(np.uint64)
            sequence[0] = 2 * number - 1
            self._barrier()
            v, n, c, f, _ = self.places.parts
            _numbers(slot, v, np.float32, (vertices, 3))[:] = mesh.vertices
            if mesh.normals is not None:
                _numbers(slot, n, np.float32, (vertices, 3))[:] = mesh.normals
            if mesh.colours is not None:
                colours = _numbers(slot, c, np.uint8, (vertices, 4))
                colours[:, :3], colours[:, 3] = mesh.colours, 255
            _numbers(slot, f, np.uint32, (faces, 3))[:] = mesh.faces
            info["number"], info["published_ns"] = number, shared_now_ns()
            slot[_INFO : _INFO + SURFACE_INFO.itemsize] = np.frombuffer(info.tobytes(), np.uint8)
            self._barrier()
            sequence[0] = 2 * number
            self._barrier()
            self._surface_number[0] = number
        return True

    def close(self) -> None:
        """Tell readers that nothing will come any more, and give the name back. May be called again."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._beating.join()
        with self._pose_lock, self._surface_lock:
            self._at("ended_ns")[0] = shared_now_ns()
            self._segment.remove()
            del self._pose_slots, self._surface_slots, self._pose_number, self._surface_number
            del self._heartbeat, self._too_large
            self._segment.close()

    def _begin(self, name: str, offers: Offer) -> None:
        header, places = self._segment.header, self.places
        header["abi"], header["header_bytes"] = ABI, HEADER.itemsize
        header["total_bytes"], header["session"] = places.total, secrets.randbits(63) | 1
        header["joint_count"], header["offers"] = len(JOINTS), offers
        header["pose_offset"], header["pose_stride"] = HEADER.itemsize, POSE_SLOT.itemsize
        header["pose_slots"], header["surface_slots"] = places.pose_slots, places.surface_slots
        header["surface_offset"] = places.surface_offset
        header["surface_stride"] = places.parts[-1]
        header["vertex_capacity"], header["face_capacity"] = places.vertices, places.faces
        header["started_ns"] = header["heartbeat_ns"] = shared_now_ns()
        header["writer_pid"] = os.getpid()
        header["name"], header["writer"] = name.encode(), b"bodystream"
        header["joint_names"], header["joint_parents"] = [joint.encode() for joint in JOINTS], PARENTS
        self._barrier()
        self._segment.words(0)[0] = np.frombuffer(MAGIC, np.uint64)[0]

    def _at(self, field: str) -> Array:
        return self._segment.words(offset_of(HEADER, field))

    def _beat(self) -> None:
        while not self._closed.wait(_BEAT_S):
            self._heartbeat[0] = shared_now_ns()

    def _barrier(self) -> None:
        """What was written before is seen before what is written after.

        x86 keeps the order of writes by itself. numpy has no fence; elsewhere a lock's release and the next acquisition
        keep it.
        """
        for _ in range(2):
            self._barrier_lock.acquire()
            self._barrier_lock.release()


def _numbers(slot: Array, offset: int, kind: type[np.generic], shape: tuple[int, int]) -> Array:
    size = shape[0] * shape[1] * np.dtype(kind).itemsize
    return slot[offset : offset + size].view(kind).reshape(shape)


def _utf8(text: str, limit: int) -> bytes:
    """Bytes of a text, cut between letters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode("utf-8")
