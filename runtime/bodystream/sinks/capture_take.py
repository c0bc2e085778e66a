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
from bodystream.geometry.skinning import graph_motion, posed, unturned_bones
from bodystream.sinks.animated_gltf import GltfSegment
from bodystream.sinks.animation import Animation, AnimationRecorder
from bodystream.sinks.journal import JournalReader, Record
from bodystream.sinks.ply import usable_mesh
from bodystream.types import Array, BoneMotion, GraphSnapshot, Mesh, SkinnedMesh

__all__ = [
    "MAX_KEY_FRAMES",
    "CaptureTake",
    "TakeModel",
    "TakeSegment",
    "mesh_record",
    "motion_record",
    "nodes_record",
    "world_from_camera",
]

MAX_KEY_FRAMES = 3000
_LONGEST_PAUSE_NS = 10_000_000_000  # a file's times are float32: after days they could not tell frames apart
_SET_BACK_NS = 250_000_000  # a time that is earlier by more is of a clock that was set back
_PERIOD_NS = 33_333_333


_GLTF_FROM_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera (x right, y down, z forward) to glTF (y up, z towards who looks at it): what faces the camera faces +z."""


@dataclass(frozen=True, slots=True)
class TakeModel:
    """One model of a capture: its newest surface on its graph, and how it moved.

    Attributes:
        skin: the canonical surface; its bones are the nodes.
        animation: in the camera's frame.
        note: what was left out of the surface as it is broken.
    """

    skin: SkinnedMesh
    animation: Animation
    note: str = ""

    def last(self) -> Mesh:
        """The surface in the pose of the last frame."""
        motion = self.animation
        return posed(self.skin, BoneMotion(int(motion.t_ns[-1]), motion.rotations_xyzw[-1], motion.positions_m[-1]))

    def segment(self) -> GltfSegment:
        """As the glTF takes it."""
        return GltfSegment(self.skin, self.animation)


@dataclass(slots=True)
class TakeSegment:
    """One model: its motion, and where its newest mesh is in the journal."""

    recorder: AnimationRecorder = field(default_factory=AnimationRecorder)
    mesh_place: int | None = None


def nodes_record(segment: int, positions: Array) -> Record:
    return Record("nodes", {"segment": segment}, {"positions": np.asarray(positions, np.float32)})


def motion_record(segment: int, number: int, graph: GraphSnapshot) -> Callable[[], Record]:
    """Makes the record when it is wanted, on the thread that writes."""

    def make() -> Record:
        motion = np.concatenate([graph_motion(graph).rotations_xyzw, graph.translations], axis=1, dtype=np.float32)
        return Record("motion", {"segment": segment, "number": number, "t_ns": int(graph.t_ns)}, {"motion": motion})

    return make


def mesh_record(segment: int, skin: SkinnedMesh, floor: Array | None) -> Record:
    """Args: floor: (4,) normal and offset [m] in the camera's frame."""
    mesh = skin.mesh
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces, "anchors": skin.bones, "weights": skin.weights}
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
        self._skipped_time = self._pauses = self._set_back = 0
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
        if self._set_back:
            notes.append(f"the clock was set back {self._set_back} time(s): the animation goes on without a pause")
        if self._pauses:
            notes.append(f"{self._pauses} pause(s) of more than 10 seconds are cut to that in the animation")
        if self.meshless:
            notes.append(f"{self.meshless} frame(s) of a model that had no surface yet are left out")
        if self.unusable:
            notes.append(f"{self.unusable} record(s) of the journal do not fit the others and are left out")
        return tuple(notes)

    def model(self, segment: TakeSegment) -> TakeModel:
        """The newest mesh of a model, without what no reader could use, and how it moved.

        Raises:
            InputError: the journal was changed meanwhile.
        """
        assert segment.mesh_place is not None
        arrays = self._journal.at(segment.mesh_place).arrays
        raw = Mesh(arrays["vertices"], arrays["faces"], arrays.get("normals"), arrays.get("colours"))
        mesh, kept, note = usable_mesh(raw)
        anchors, weights = arrays["anchors"][kept], _usable_weights(arrays["weights"])[kept]
        animation = segment.recorder.result()
        # A node may have been born after the last frame that was kept.
        nodes = animation.positions_m.shape[1]
        known = (anchors >= 0) & (anchors < nodes) & (weights > 0)
        anchors, weights = np.where(known, anchors, -1), np.where(known, weights, 0)
        rest_m = segment.recorder.rest_m[:nodes]
        skin = SkinnedMesh(mesh, anchors.astype(np.int32), weights.astype(np.float32), unturned_bones(rest_m))
        return TakeModel(skin, animation, note)

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
            segment = self._all[number] = TakeSegment(AnimationRecorder(stride=self._stride))
        if record.kind == "nodes":
            positions = record.arrays["positions"]
            if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
                raise InputError(f"positions of shape {positions.shape}")
            segment.recorder.take_up(positions)
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
            if t_ns < self._last_ns - _SET_BACK_NS:
                self._set_back += 1
                self._cut_ns -= self._last_ns + _PERIOD_NS - t_ns
                t_ns = self._last_ns + _PERIOD_NS
            if t_ns <= self._last_ns:
                self._skipped_time += 1
                return
            if t_ns - self._last_ns > _LONGEST_PAUSE_NS:
                self._pauses += 1
                self._cut_ns += t_ns - self._last_ns - _LONGEST_PAUSE_NS
                t_ns = self._last_ns + _LONGEST_PAUSE_NS
        segment.recorder.add(t_ns, motion[:, :4], motion[:, 4:], number)
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
        if (_usable_weights(arrays["weights"]).sum(axis=1) > 1.01).any():
            raise InputError("weights of a mesh that are none")
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


def _usable_weights(weights: Array) -> Array:
    """(V, 4) with 0 for what is no weight."""
    return np.where(np.isfinite(weights) & (weights > 0), weights, 0)


def world_from_camera(surface: Array, floor: Array | None) -> Array:
    """Where a capture stands in its file: upright on the floor, its middle above the origin, the camera on +z.

    Args:
        surface: (V, 3) in the camera's frame when the capture began [m].
        floor: (4,) normal towards the camera and offset [m]; None = the lowest point of a camera held level.

    Returns:
        (4, 4) rigid.
    """
    out = _GLTF_FROM_CAMERA.copy()
    if floor is not None:
        up = floor[:3] / np.linalg.norm(floor[:3])
        ahead = np.array([0.0, 0.0, -1.0]) - up * -up[2]
        ahead /= np.linalg.norm(ahead)
        out[:3, :3] = np.stack([np.cross(up, ahead), up, ahead])
    placed = surface.astype(np.float64) @ out[:3, :3].T
    height = -placed[:, 1].min() if floor is None else floor[3] / np.linalg.norm(floor[:3])
    out[:3, 3] = (-np.median(placed[:, 0]), height, -np.median(placed[:, 2]))
    return out
