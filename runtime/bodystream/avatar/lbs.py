"""The plain skinned body: linear blend skinning of the shipped body in a person's proportions."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar import kernels
from bodystream.avatar.base import pose_quaternions
from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.device import RecordedLaunch, Staged, download_together, select_device, uploaded
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["LbsAvatar", "face_rings"]


class LbsAvatar:
    """The shipped body (13,492 vertices) in a person's proportions, posed by linear blend skinning.

    The surface is bound in its A-pose, half-way between hanging and raised arms, and goes from there to each pose in
    one step: arms that hang, the commonest pose, do not pass through the T-pose. The pose itself is relative to the
    T-pose, as everywhere. Normals are those of the posed faces, so they are true where skin folds or stretches, too.

    Args:
        skeleton: the person's proportions; default: the shipped body's own.
        device: where it is posed; default: `select_device("cpu")`, which is fast enough for any headset.
        rig: another body than the shipped one; see `avatar.rig`.

    Steady state allocates nothing on the device, and a few hundred bytes on the host. An object is for one thread.

    Raises:
        InputError: a skeleton that no body has; see `fit_rig`.
        BundleError: the shipped body is missing or damaged.
    """

    def __init__(
        self, skeleton: Skeleton | None = None, device: wp.Device | None = None, *, rig: SkinnedMesh | None = None
    ) -> None:
        self._device = select_device("cpu") if device is None else device
        fitted = fit_rig(load_rig() if rig is None else rig, skeleton)
        self._skin, self._skeleton = fitted.skin, fitted.skeleton
        mesh = self._skin.mesh
        self._count = len(mesh.vertices)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=self._device)

        def on_device(values: Array, dtype: type) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, self._device)

        joints = len(JOINTS)
        self._pose = Staged(joints + 1, wp.vec4, self._device)
        self._pose.host[:joints, 3] = 1.0
        # Results come to the host through pinned memory; on the CPU they are there already.
        self._vertices, self._normals = (Staged(self._count, wp.vec3, self._device) for _ in range(2))
        self._joints = buffer(joints, wp.vec3)

        bones = self._skin.bone_from_bind.astype(np.float32)
        linear, shift = buffer(joints, wp.mat33), buffer(joints, wp.vec3)
        starts, ring = face_rings(mesh.faces, self._count)
        self._stages = (
            RecordedLaunch(
                kernels.move_bones,
                joints,
                [
                    on_device(np.array(PARENTS, np.int32), wp.int32),
                    on_device(self.skeleton.offsets_m.astype(np.float32), wp.vec3),
                    on_device(bones[:, :3, :3], wp.mat33),
                    on_device(bones[:, :3, 3], wp.vec3),
                    self._pose.array,
                    linear,
                    shift,
                    self._joints,
                ],
                self._device,
            ),
            RecordedLaunch(
                kernels.skin_vertices,
                self._count,
                [
                    on_device(mesh.vertices, wp.vec3),
                    on_device(self._skin.bones, wp.vec4i),
                    on_device(self._skin.weights, wp.vec4),
                    linear,
                    shift,
                    self._vertices.array,
                ],
                self._device,
            ),
            RecordedLaunch(
                kernels.ring_normals,
                self._count,
                [self._vertices.array, on_device(starts, wp.int32), on_device(ring, wp.vec2i), self._normals.array],
                self._device,
            ),
        )

    @property
    def device(self) -> wp.Device:
        return self._device

    @property
    def skin(self) -> SkinnedMesh:
        """The surface at bind, an A-pose, and its bones, the joints of `skeleton`."""
        return self._skin

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    @property
    def faces(self) -> Array:
        return self._skin.mesh.faces

    @property
    def colours(self) -> Array | None:
        return self._skin.mesh.colours

    @property
    def vertices(self) -> wp.array:
        return self._vertices.array

    @property
    def normals(self) -> wp.array:
        return self._normals.array

    @property
    def joints(self) -> wp.array:
        """(22,) vec3 on `device`: the joints in the last pose [m]."""
        return self._joints

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices`, `normals` and `joints`; see `Avatar.pose_on_device`."""
        quaternions, root = pose_quaternions(rotations, root_position_m)
        self._pose.wait()
        self._pose.host[:-1] = quaternions
        self._pose.host[-1, :3] = root
        self._pose.send()
        for stage in self._stages:
            stage()

    def pose_into(self, rotations: Array, root_position_m: Array, vertices_out: Array, normals_out: Array) -> None:
        """Pose and write to (V, 3) float32 host arrays; see `Avatar.pose_into`."""
        shape = (self._count, 3)
        for name, out in (("vertices_out", vertices_out), ("normals_out", normals_out)):
            if out.shape != shape or out.dtype != np.float32:
                raise InputError(f"{name} must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}")
        self.pose_on_device(rotations, root_position_m)
        vertices, normals = download_together([self._vertices, self._normals])
        np.copyto(vertices_out, vertices)
        np.copyto(normals_out, normals)

    def pose(self, rotations: Array, root_position_m: Array) -> Mesh:
        """The posed surface in new host arrays; see `Avatar.pose`."""
        vertices, normals = np.empty((2, self._count, 3), np.float32)
        self.pose_into(rotations, root_position_m, vertices, normals)
        return Mesh(vertices, self.faces, normals, self.colours)


def face_rings(faces: Array, count: int) -> tuple[Array, Array]:
    """Of each of `count` vertices the faces around it, as their other two corners in order.

    Returns:
        (count + 1,) int32 starts and (3 F, 2) int32 corners.
    """
    corner = faces.reshape(-1)
    others = np.stack([np.roll(faces, -1, axis=1), np.roll(faces, -2, axis=1)], axis=-1).reshape(-1, 2)
    order = np.argsort(corner, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(corner, minlength=count))])
    return starts.astype(np.int32), others[order].astype(np.int32)
