"""What was driven, as one animated glTF: the skinned body, its 22 joints as nodes, their rotations and the root's way.

The file's frame is right-handed, y up, in metres, as the format wants it, and the T-pose looks along +z, the front of
its assets: the world turned by 180 degrees about y (`sinks.facing`). Joints stand in the T-pose where
nothing is played; the mesh is bound in its A-pose by rigid inverse bind matrices (glTF 2.0, sec. 3.7.3 "Skins").
"""

from __future__ import annotations

import os

import numpy as np

from bodystream.avatar.proportions import FittedRig
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.sinks.facing import FACING_QUATERNION, FACING_VECTOR
from bodystream.sinks.gltf import GltfDocument, GltfSummary, continuous_quaternions, skin_influences
from bodystream.sinks.ply import check_mesh
from bodystream.types import Array, BodyPose, Mesh

__all__ = ["BodyAnimationRecorder", "write_body_animation"]

_FIRST_CAPACITY = 1024


class BodyAnimationRecorder:
    """Keeps driven poses until they are written: 372 bytes each, never more than `max_frames` of them.

    Arrays grow by doubling. When they are full, every second key frame is dropped and from then on every second pose
    is recorded, and so on: ten minutes at 90 Hz are kept whole, an hour at 11 Hz, in 20 MB.

    Args:
        max_frames: most key frames that are kept.

    Raises:
        InputError: fewer than two frames.
    """

    def __init__(self, max_frames: int = 54_000) -> None:
        if max_frames < 2:
            raise InputError(f"an animation needs at least 2 key frames, got max_frames={max_frames}")
        self._max_frames = max_frames
        self._count = 0
        self._recorded = 0
        self._stride = 1
        self.skipped = 0
        self._allocate(min(_FIRST_CAPACITY, max_frames))

    def __len__(self) -> int:
        return self._count

    @property
    def stride(self) -> int:
        """Every so many poses become a key frame."""
        return self._stride

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._t_ns.nbytes + self._rotations.nbytes + self._roots.nbytes

    def add(self, pose: BodyPose) -> None:
        """Record one pose; one whose time does not increase, or that is no pose (not finite, a quaternion of
        no length), is left out and counted in `skipped`."""
        lengths = np.einsum("ij,ij->i", pose.rotations_xyzw, pose.rotations_xyzw)
        usable = np.isfinite(lengths).all() and lengths.min() > 1e-12 and np.isfinite(pose.root_position_m).all()
        if not usable or (self._count and pose.t_ns <= self._t_ns[self._count - 1]):
            self.skipped += 1
            return
        due = self._recorded % self._stride == 0
        self._recorded += 1
        if not due:
            return
        if self._count == len(self._t_ns):
            self._make_room()
        self._t_ns[self._count] = pose.t_ns
        self._rotations[self._count] = pose.rotations_xyzw
        self._roots[self._count] = pose.root_position_m
        self._count += 1

    def write(self, path: str | os.PathLike[str], body: FittedRig) -> GltfSummary:
        """Write what was recorded; recording may go on afterwards.

        Raises:
            InputError: nothing was recorded, or the file cannot be written.
        """
        if self._count == 0:
            raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
        t_ns = self._t_ns[: self._count]
        times_s = (t_ns - t_ns[0]) * 1e-9
        rotations, roots = self._rotations[: self._count], self._roots[: self._count]
        return write_body_animation(path, body, times_s, rotations, roots, stride=self._stride)

    def _allocate(self, capacity: int) -> None:
        kept = self._count
        t_ns, rotations = np.zeros(capacity, np.int64), np.zeros((capacity, len(JOINTS), 4), np.float32)
        roots = np.zeros((capacity, 3), np.float32)
        if kept:
            t_ns[:kept], rotations[:kept], roots[:kept] = self._t_ns, self._rotations, self._roots
        self._t_ns, self._rotations, self._roots = t_ns, rotations, roots

    def _make_room(self) -> None:
        if self._count < self._max_frames:
            self._allocate(min(2 * self._count, self._max_frames))
            return
        kept = (self._count + 1) // 2
        for array in (self._t_ns, self._rotations, self._roots):
            array[:kept] = array[: self._count : 2].copy()
        self._count = kept
        self._stride *= 2


def write_body_animation(
    path: str | os.PathLike[str],
    body: FittedRig,
    times_s: Array,
    rotations_xyzw: Array,
    root_positions_m: Array,
    *,
    stride: int = 1,
) -> GltfSummary:
    """Write a binary glTF 2.0 with the body, its skeleton and one animation. The file appears whole or not at all.

    Args:
        path: of the `.glb` file.
        body: with the person's proportions; `LbsAvatar.fitted`.
        times_s: (T,) increasing [s]; the first becomes 0.
        rotations_xyzw: (T, 22, 4), each joint in its parent's frame, the pelvis in the world.
        root_positions_m: (T, 3) pelvis in the world [m].
        stride: for the summary, how many poses there were for each of these.

    Raises:
        InputError: arrays that do not fit, values that are not finite, or a file that cannot be written.
    """
    turned = (body.body.vertices * FACING_VECTOR).astype(np.float32)
    mesh = Mesh(turned, body.body.faces, colours=body.body.colours)
    check_mesh(mesh, str(path))
    times = np.asarray(times_s, np.float64)
    rotations = np.asarray(rotations_xyzw, np.float64)
    roots = np.asarray(root_positions_m, np.float64)
    frames = len(times)
    if frames == 0 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(f"{path}: key frames need finite, increasing times, got {frames} of them")
    for name, got, wanted in (
        ("rotations_xyzw", rotations, (frames, len(JOINTS), 4)),
        ("root_positions_m", roots, (frames, 3)),
    ):
        if got.shape != wanted:
            raise InputError(f"{path}: {name} must have shape {wanted}, got {got.shape}")
        if not np.isfinite(got).all():
            raise InputError(f"{path}: {name} hold values that are not finite")
    rotations, roots = rotations * FACING_QUATERNION, roots * FACING_VECTOR
    lengths = np.linalg.norm(rotations, axis=-1, keepdims=True)
    if lengths.min() < 1e-6:
        frame, joint = np.argwhere(lengths[..., 0] < 1e-6)[0].tolist()
        raise InputError(f"{path}: the quaternion of {JOINTS[joint]} in frame {frame} has no length")
    # Neighbouring quaternions must not flip sign: players interpolate along the longer arc otherwise.
    quaternions = continuous_quaternions(rotations / lengths).astype(np.float32)
    clock = (times - times[0]).astype(np.float32)
    if (np.diff(clock) <= 0).any():
        raise InputError(f"{path}: key frames are closer together than a file of {clock[-1]:.0f} s can tell apart")

    joints, weights, loose = skin_influences(
        mesh.vertices, body.body.skin_joints, body.body.skin_weights, body.body.joints * FACING_VECTOR
    )
    facing = np.diag([*FACING_VECTOR, 1.0])
    document = GltfDocument()
    primitive = document.primitive(mesh, joints, weights)
    skeleton = body.skeleton
    for joint, (name, offset) in enumerate(zip(JOINTS, skeleton.offsets_m, strict=True)):
        place = np.array([0.0, skeleton.pelvis_height_m, 0.0]) if joint == 0 else offset
        document.node(
            name,
            translation_m=place * FACING_VECTOR,
            children=[child for child, parent in enumerate(PARENTS) if parent == joint],
        )
    joint_nodes = list(range(len(JOINTS)))
    skin = document.skin("body", joint_nodes, facing @ body.bone_from_bind @ facing)
    document.mesh("surface", primitive, skin)
    document.animation("driven", clock, joint_nodes, quaternions, {0: roots.astype(np.float32)})
    size = document.save(path)
    return GltfSummary(
        frames, float(clock[-1]), len(JOINTS), len(mesh.vertices), len(mesh.faces), loose, size, stride=stride
    )
