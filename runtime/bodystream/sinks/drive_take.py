"""What a drive's journal holds, and what is made of it: the person's proportions, and poses in batches.

- `session`: `avatar`, what the avatar was called, journals without it are of the shipped body; `rig`, where one was
  chosen;
- `person`: `offsets_m` (22, 3), of the skeleton whose poses follow, again for each other one [m];
- `poses`: `t_ns` (K,), `rotations_xyzw` (K, 22, 4), `root_positions_m` (K, 3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bodystream.avatar.open import SHIPPED_AVATAR
from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.geometry.skinning import influences
from bodystream.sinks.animated_gltf import GltfSegment, write_animated_gltf
from bodystream.sinks.animation import Animation, AnimationRecorder
from bodystream.sinks.bvh_text import same_lengths
from bodystream.sinks.facing import FACING_VECTOR, turned_motion, turned_skin
from bodystream.sinks.gltf import GltfSummary, Morphs
from bodystream.sinks.journal import JournalReader, Record
from bodystream.sinks.rigs import RIGS, FittedRig, Rig, RigName
from bodystream.types import Array, BodyPose, SkinnedMesh

__all__ = [
    "DriveTake",
    "person_record",
    "persons_of",
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


def persons_of(motion: Animation, last: Skeleton) -> Iterator[tuple[slice, Skeleton]]:
    """Whose poses the key frames are, in turn: runs of one person; where that was not told, all are of the last one."""
    offsets, count = motion.offsets_m, len(motion.t_ns)
    if offsets is None:
        yield slice(0, count), last
        return
    starts = [0, *(np.flatnonzero((offsets[1:] != offsets[:-1]).any(axis=(1, 2))) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        same = same_lengths(offsets[start], last.offsets_m)
        yield slice(start, stop), last if same else Skeleton(offsets[start])


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
    have its names, tree, axes and rest pose. Where the person had other lengths before, all joints have keys of
    translation, and the mesh a morph target that makes it as large as the person was.

    Args:
        path: of the `.glb` file.
        skin: of the avatar, its bones the joints of `geometry.skeleton`.
        skeleton: the person's, as known last.
        recorder: of poses; recording may go on afterwards.
        rig: that other programs know; None = our joints by their own names.

    Raises:
        InputError: nothing was recorded, or the file cannot be written.
    """
    if not len(recorder):
        raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
    body, recorded = turned_skin(skin), recorder.result()
    motion = replace(turned_motion(recorded), offsets_m=None)
    persons = list(persons_of(recorded, skeleton))
    changed = any(person is not skeleton for _, person in persons)
    fitted = None if rig is None else FittedRig(rig, skeleton, turned=True)
    places_m = morphs = None
    if changed:
        places = [p.offsets_m * FACING_VECTOR if fitted is None else fitted.offsets_of(p) for _, p in persons]
        lengths = [frames.stop - frames.start for frames, _ in persons]
        places_m = np.repeat(np.array(places, np.float32), lengths, axis=0)
        sizes = np.array([person.stature_m / skeleton.stature_m for _, person in persons])
        morphs = _grown(body, np.repeat(sizes, lengths))
    if fitted is None:
        rest_m, rest_xyzw = skeleton.offsets_m * FACING_VECTOR, None
        rest_m[0] = (0.0, skeleton.pelvis_height_m, 0.0)
    else:
        motion = replace(motion, rotations_xyzw=fitted.rotations(motion.rotations_xyzw))
        rest_m, rest_xyzw = fitted.offsets_m.copy(), quaternion_from_matrix(fitted.rest)
        rest_m[0] = (0.0, fitted.height_m, 0.0)
        body = fitted.skin(body)
    segment = GltfSegment(body, motion, rest_m, rest_xyzw, morphs, places_m)
    return write_animated_gltf(path, "driven", [segment])


def _grown(body: SkinnedMesh, sizes: Array) -> Morphs:
    """A shape that makes each bone's part of a mesh larger about its joint: `sizes` (T,) times as large.

    With bones of such lengths the whole surface is that much larger, but for what bones share where they bend.
    """
    which, weights, _ = influences(body)
    arms = body.mesh.vertices[:, None] - body.bind_positions_m[which]
    offsets = np.einsum("vk,vka->va", weights, arms)[None].astype(np.float32)
    return Morphs(offsets, np.zeros_like(offsets), (sizes[:, None] - 1.0).astype(np.float32))


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
            offsets = None if self.skeleton is None else self.skeleton.offsets_m
            for t_ns, turned, root in zip(times.tolist(), rotations, roots, strict=True):
                self.recorder.add(t_ns, turned, root[None], offsets_m=offsets)
