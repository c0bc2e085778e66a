"""What a capture's journal holds: models, each with its mesh and its motion, and the floor.

Kinds of records, all of them with the number of the model (`segment`) that they are of:

- `nodes`: `positions` (N, 3) of all nodes so far [m];
- `motion`: `t_ns`, the frame's `number`, and `motion` (N, 7), each node's quaternion xyzw and translation [m];
- `mesh`: the canonical surface with its skin: `vertices`, `faces`, `normals`, `colours`, `anchors`, `weights`; and
  `floor`, the plane that somebody stands on in the camera's frame (normal and offset [m]), or null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.sinks.animation import Animation, AnimationRecorder, motion_of
from bodystream.sinks.capture_gltf import GLTF_FROM_CAMERA, GltfSegment
from bodystream.sinks.gltf import skin_influences
from bodystream.sinks.journal import JournalReader, Record
from bodystream.sinks.ply import usable_mesh
from bodystream.types import Array, GraphSnapshot, Mesh

__all__ = [
    "MAX_KEY_FRAMES",
    "CaptureTake",
    "SkinnedMesh",
    "TakeSegment",
    "mesh_record",
    "motion_record",
    "nodes_record",
    "posed",
    "world_from_camera",
]

MAX_KEY_FRAMES = 3000
_LONGEST_PAUSE_NS = 10_000_000_000  # a file's times are float32: after days they could not tell frames apart


@dataclass(frozen=True, slots=True)
class SkinnedMesh:
    """A canonical surface and which nodes move it.

    Attributes:
        anchors: (V, 4) int32, -1 = unused. weights: (V, 4) float32. note: what was left out as it is broken.
    """

    mesh: Mesh
    anchors: Array
    weights: Array
    note: str = ""


@dataclass(slots=True)
class TakeSegment:
    """One model: its motion, and where its newest mesh is in the journal."""

    recorder: AnimationRecorder = field(default_factory=lambda: AnimationRecorder(None))
    mesh_place: int | None = None


def nodes_record(segment: int, positions: Array) -> Record:
    return Record("nodes", {"segment": segment}, {"positions": np.asarray(positions, np.float32)})


def motion_record(segment: int, number: int, graph: GraphSnapshot) -> Callable[[], Record]:
    """Makes the record when it is wanted, on the thread that writes."""
    return lambda: Record(
        "motion", {"segment": segment, "number": number, "t_ns": int(graph.t_ns)}, {"motion": motion_of(graph)}
    )


def mesh_record(segment: int, mesh: Mesh, anchors: Array, weights: Array, floor: Array | None) -> Record:
    """Args: floor: (4,) normal and offset [m] in the camera's frame."""
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces, "anchors": anchors, "weights": weights}
    if mesh.normals is not None:
        arrays["normals"] = mesh.normals
    if mesh.colours is not None:
        arrays["colours"] = mesh.colours
    told = None if floor is None else [float(x) for x in floor]
    return Record("mesh", {"segment": segment, "floor": told}, arrays)


class CaptureTake:
    """Reads a capture's journal in bounded memory: at most `max_frames` key frames, and meshes when they are asked for.

    Args:
        journal: of a capture; it may still be growing.

    Attributes:
        segments: models with a mesh and at least one frame, in order of time.
        floor: (4,) or None.
        unusable: records that do not fit the others.
        meshless: frames of models that had no mesh yet.
    """

    def __init__(self, journal: JournalReader, max_frames: int = MAX_KEY_FRAMES) -> None:
        self._journal = journal
        self._max_frames = max_frames
        self._stride = 1
        self._last_ns: int | None = None
        self._cut_ns = 0
        self._skipped_time = self._pauses = 0
        self._all: dict[int, TakeSegment] = {}
        self.floor: Array | None = None
        self.unusable = 0
        for record, place in journal.placed():
            try:
                self._take(record, place)
            except (InputError, KeyError, TypeError, ValueError, OverflowError):
                self.unusable += 1
        kept = [self._all[k] for k in sorted(self._all) if len(self._all[k].recorder)]
        self.segments = [segment for segment in kept if segment.mesh_place is not None]
        self.meshless = sum(segment.recorder.recorded for segment in kept if segment.mesh_place is None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        notes = []
        if self._stride > 1:
            notes.append(f"long recording: one of every {self._stride} frames became a key frame")
        if len(self.segments) > 1:
            notes.append(
                f"the model was started anew {len(self.segments) - 1} time(s): the animation shows "
                f"{len(self.segments)} models one after the other"
            )
        if self._skipped_time:
            notes.append(f"{self._skipped_time} frame(s) were left out because their time did not increase")
        if self._pauses:
            notes.append(f"{self._pauses} pause(s) of more than 10 seconds are cut to that in the animation")
        if self.meshless:
            notes.append(f"{self.meshless} frame(s) of a model that had no surface yet are left out")
        if self.unusable:
            notes.append(f"{self.unusable} record(s) of the journal do not fit the others and are left out")
        return tuple(notes)

    def model(self, segment: TakeSegment) -> tuple[SkinnedMesh, Animation]:
        """The newest mesh of a model, without what no reader could use, and how it moved.

        Raises:
            InputError: the journal was changed meanwhile.
        """
        assert segment.mesh_place is not None
        arrays = self._journal.at(segment.mesh_place).arrays
        raw = Mesh(arrays["vertices"], arrays["faces"], arrays.get("normals"), arrays.get("colours"))
        mesh, kept, note = usable_mesh(raw)
        anchors, weights, motion = arrays["anchors"][kept], arrays["weights"][kept], segment.recorder.result()
        # A node may have been born after the last frame that was kept.
        known = (anchors >= 0) & (anchors < len(motion.node_positions)) & np.isfinite(weights)
        anchors, weights = np.where(known, anchors, -1), np.where(known, weights, 0).astype(np.float32)
        return SkinnedMesh(mesh, anchors, weights, note), motion

    def gltf_segment(self, segment: TakeSegment) -> GltfSegment:
        """The model as the sink takes it; times count from the first frame of the first model [s]."""
        skinned, motion = self.model(segment)
        start_s = (segment.recorder.first_t_ns - self.segments[0].recorder.first_t_ns) * 1e-9
        return GltfSegment(
            skinned.mesh,
            skinned.anchors,
            skinned.weights,
            motion.node_positions,
            motion.frames_t_s + start_s,
            motion.quaternions_xyzw,
            motion.translations,
        )

    def nbytes(self, segment: TakeSegment) -> int:
        """About how much of a file the model fills."""
        assert segment.mesh_place is not None
        return segment.recorder.nbytes + sum(a.nbytes for a in self._journal.at(segment.mesh_place).arrays.values())

    def _take(self, record: Record, place: int) -> None:
        if record.kind not in ("nodes", "motion", "mesh"):
            return
        number = record.fields["segment"]
        if not isinstance(number, int) or number < 0:
            raise InputError(f"segment {number!r}")
        segment = self._all.get(number)
        if segment is None:
            segment = self._all[number] = TakeSegment(AnimationRecorder(None, self._stride))
        if record.kind == "nodes":
            positions = record.arrays["positions"]
            if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
                raise InputError(f"positions of shape {positions.shape}")
            segment.recorder.add_nodes(positions)
        elif record.kind == "motion":
            self._take_motion(segment, record)
        else:
            self._take_mesh(segment, record, place)

    def _take_motion(self, segment: TakeSegment, record: Record) -> None:
        t_ns, number, motion = record.fields["t_ns"], record.fields["number"], record.arrays["motion"]
        if not isinstance(t_ns, int) or not isinstance(number, int) or number < 0 or abs(t_ns) >= 1 << 62:
            raise InputError("a frame without a time")
        if motion.ndim != 2 or motion.shape[1:] != (7,) or not len(motion):
            raise InputError(f"motion of shape {motion.shape}")
        if not (np.abs(motion) < 1e6).all() or not np.linalg.norm(motion[:, :4], axis=1).min() > 1e-6:
            raise InputError("a motion that is none")
        t_ns -= self._cut_ns
        if self._last_ns is not None:
            if t_ns <= self._last_ns:
                self._skipped_time += 1
                return
            if t_ns - self._last_ns > _LONGEST_PAUSE_NS:
                self._pauses += 1
                self._cut_ns += t_ns - self._last_ns - _LONGEST_PAUSE_NS
                t_ns = self._last_ns + _LONGEST_PAUSE_NS
        segment.recorder.add_motion(number, t_ns, motion)
        self._last_ns = t_ns
        if sum(len(s.recorder) for s in self._all.values()) > self._max_frames + len(self._all):
            self._stride *= 2
            for each in self._all.values():
                if len(each.recorder):
                    each.recorder.thin(self._stride)

    def _take_mesh(self, segment: TakeSegment, record: Record, place: int) -> None:
        arrays, count = record.arrays, len(record.arrays["vertices"])
        shapes = {"vertices": (count, 3), "normals": (count, 3), "colours": (count, 3)}
        shapes |= {"anchors": (count, 4), "weights": (count, 4), "faces": (len(arrays["faces"]), 3)}
        if any(arrays[name].shape != shape for name, shape in shapes.items() if name in arrays):
            raise InputError("arrays of a mesh that do not fit")
        if not {"anchors", "weights"} <= set(arrays) or arrays["faces"].dtype.kind != "i":
            raise InputError("a mesh without its skin")
        if arrays["anchors"].dtype.kind != "i" or arrays.get("colours", np.zeros(1, np.uint8)).dtype != np.uint8:
            raise InputError("a mesh of other numbers")
        if not len(usable_mesh(Mesh(arrays["vertices"], arrays["faces"]))[0].faces):
            raise InputError("a mesh without faces")
        segment.mesh_place = place
        floor = record.fields.get("floor")
        if floor is not None:
            plane = np.array(floor, np.float64)
            if plane.shape == (4,) and np.isfinite(plane).all() and abs(np.linalg.norm(plane[:3]) - 1) < 1e-3:
                self.floor = plane


def posed(skinned: SkinnedMesh, motion: Animation, frame: int = -1) -> Mesh:
    """The surface in the pose of a key frame: sum_i w_i (R_i (p - v_i) + v_i + t_i), on the host."""
    v = motion.node_positions.astype(np.float64)
    rotations = matrix_from_quaternion(motion.quaternions_xyzw[frame].astype(np.float64))
    places = v + motion.translations[frame]
    mesh = skinned.mesh
    joints, weights, _ = skin_influences(mesh.vertices, skinned.anchors, skinned.weights, motion.node_positions)
    vertices, turned = np.zeros((len(mesh.vertices), 3)), np.zeros((len(mesh.vertices), 3))
    for k in range(4):
        j, w = joints[:, k].astype(np.int64), weights[:, k, None].astype(np.float64)
        vertices += w * (np.einsum("vab,vb->va", rotations[j], mesh.vertices - v[j]) + places[j])
        if mesh.normals is not None:
            turned += w * np.einsum("vab,vb->va", rotations[j], mesh.normals.astype(np.float64))
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    normals = None if mesh.normals is None else np.where(length > 1e-9, turned / np.maximum(length, 1e-9), mesh.normals)
    return Mesh(
        vertices.astype(np.float32), mesh.faces, None if normals is None else normals.astype(np.float32), mesh.colours
    )


def world_from_camera(surface: Array, floor: Array | None) -> Array:
    """Where a capture stands in its file: upright on the floor, its middle above the origin, the camera on +z.

    Args:
        surface: (V, 3) in the camera's frame when the capture began [m].
        floor: (4,) normal towards the camera and offset [m]; None = the lowest point of a camera held level.

    Returns:
        (4, 4) rigid.
    """
    out = GLTF_FROM_CAMERA.copy()
    if floor is not None:
        up = floor[:3] / np.linalg.norm(floor[:3])
        ahead = np.array([0.0, 0.0, -1.0]) - up * -up[2]
        ahead /= np.linalg.norm(ahead)
        out[:3, :3] = np.stack([np.cross(up, ahead), up, ahead])
    placed = surface.astype(np.float64) @ out[:3, :3].T
    height = -placed[:, 1].min() if floor is None else floor[3] / np.linalg.norm(floor[:3])
    out[:3, 3] = (-np.median(placed[:, 0]), height, -np.median(placed[:, 2]))
    return out
