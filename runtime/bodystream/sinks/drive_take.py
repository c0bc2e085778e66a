"""What a drive's journal holds, and what is made of it: the person's proportions, and poses in batches.

- `session`: `avatar`, what the avatar was called, journals without it are of the shipped body; `rig`, where one was
  chosen;
- `person`: `offsets_m` (22, 3), of the skeleton whose poses follow [m];
- `poses`: `t_ns` (K,), `rotations_xyzw` (K, 22, 4), `root_positions_m` (K, 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bodystream.avatar.open import SHIPPED_AVATAR
from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.sinks.animated_gltf import GltfSegment, write_animated_gltf
from bodystream.sinks.animation import AnimationRecorder
from bodystream.sinks.facing import FACING_VECTOR, turned_motion, turned_skin
from bodystream.sinks.gltf import GltfSummary
from bodystream.sinks.journal import JournalReader, Record
from bodystream.sinks.rigs import RIGS, FittedRig, Rig, RigName
from bodystream.types import BodyPose, SkinnedMesh

__all__ = [
    "DriveTake",
    "person_record",
    "pose_recorder",
    "poses_record",
    "session_record",
    "write_driven_gltf",
]


def session_record(avatar: str, rig: RigName | None = None) -> Record:
    return Record("session", {"what": "drive", "avatar": avatar} | ({} if rig is None else {"rig": rig}))


def person_record(skeleton: Skeleton) -> Record:
    return Record("person", {}, {"offsets_m": skeleton.offsets_m})


def poses_record(poses: Sequence[BodyPose]) -> Record:
    return Record(
        "poses",
        {},
        {
            "t_ns": np.array([pose.t_ns for pose in poses], np.int64),
            "rotations_xyzw": np.array([pose.rotations_xyzw for pose in poses], np.float32),
            "root_positions_m": np.array([pose.root_position_m for pose in poses], np.float32),
        },
    )


def pose_recorder(max_frames: int = 54_000) -> AnimationRecorder:
    """Of poses of a body: each joint in its parent's frame, and the pelvis in the world."""
    return AnimationRecorder(np.zeros((1, 3), np.float32), max_frames)


def write_driven_gltf(
    path: str | os.PathLike[str],
    skin: SkinnedMesh,
    skeleton: Skeleton,
    recorder: AnimationRecorder,
    rig: Rig | None = None,
) -> GltfSummary:
    """Write a driven body as one animated glTF: its joints as nodes, their rotations and the root's way.

    The file's frame is right-handed, y up, in metres, as the format wants it, and the T-pose looks along +z, the front
    of its assets: the world turned by 180 degrees about y (`sinks.facing`). Joints stand in the T-pose, on the floor,
    where nothing is played; the mesh is bound where it was bound, by rigid inverse bind matrices. The joints of a rig
    have its names, tree, axes and rest pose.

    Args:
        path: of the `.glb` file.
        skin: of the avatar, its bones the joints of `geometry.skeleton`.
        skeleton: the person's.
        recorder: of poses; recording may go on afterwards.
        rig: that other programs know; None = our joints by their own names.

    Raises:
        InputError: nothing was recorded, or the file cannot be written.
    """
    if not len(recorder):
        raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
    body, motion = turned_skin(skin), turned_motion(recorder.result())
    if rig is None:
        rest_m = skeleton.offsets_m.copy()
        rest_m[0] = (0.0, skeleton.pelvis_height_m, 0.0)
        segment = GltfSegment(body, motion, rest_m * FACING_VECTOR)
    else:
        fitted = FittedRig(rig, skeleton, turned=True)
        motion = replace(motion, rotations_xyzw=fitted.rotations(motion.rotations_xyzw))
        rest_m = fitted.offsets_m.copy()
        rest_m[0] = (0.0, fitted.height_m, 0.0)
        segment = GltfSegment(fitted.skin(body), motion, rest_m, quaternion_from_matrix(fitted.rest))
    return write_animated_gltf(path, "driven", [segment])


class DriveTake:
    """Reads a drive's journal in bounded memory.

    Attributes:
        recorder: of what was driven.
        avatar: what the avatar was called.
        rig: that was chosen, or None.
        skeleton: the person's, as it was known last; None where it was not told.
        unusable: records that hold something else.
    """

    def __init__(self, journal: JournalReader) -> None:
        self.recorder = pose_recorder()
        self.avatar = SHIPPED_AVATAR
        self.rig: RigName | None = None
        self.skeleton: Skeleton | None = None
        self.unusable = 0
        for record in journal:
            try:
                self._take(record)
            except (InputError, KeyError, TypeError, ValueError):
                self.unusable += 1

    def _take(self, record: Record) -> None:
        if record.kind == "session":
            self.avatar = str(record.fields.get("avatar", SHIPPED_AVATAR))
            rig = record.fields.get("rig")
            self.rig = next((name for name in RIGS if name == rig), None)
        elif record.kind == "person":
            self.skeleton = Skeleton(record.arrays["offsets_m"])
        elif record.kind == "poses":
            times, rotations = record.arrays["t_ns"], record.arrays["rotations_xyzw"]
            roots, count = record.arrays["root_positions_m"], len(record.arrays["t_ns"])
            if times.dtype != np.int64 or times.ndim != 1 or rotations.shape != (count, len(JOINTS), 4):
                raise InputError("poses of another shape")
            if roots.shape != (count, 3) or (np.abs(roots) > 1e6).any() or (np.abs(rotations) > 1e3).any():
                raise InputError("poses that are none")
            if (np.abs(times) >= 1 << 62).any():
                raise InputError("times that are none")
            for t_ns, turned, root in zip(times.tolist(), rotations, roots, strict=True):
                self.recorder.add(t_ns, turned, root[None])
