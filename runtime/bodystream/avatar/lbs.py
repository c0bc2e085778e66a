"""The plain skinned body: linear blend skinning of the shipped body in a person's proportions."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar import kernels
from bodystream.avatar.base import pose_quaternions
from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.avatar.rig import Rig, load_rig
from bodystream.device import RecordedLaunch, select_device
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton
from bodystream.types import Array, Mesh

__all__ = ["LbsAvatar", "face_rings", "skin_reference"]


class LbsAvatar:
    """The shipped body (13,492 vertices) in a person's proportions, posed by linear blend skinning.

    The surface is bound in its A-pose, half-way between hanging and raised arms, and goes from there to each pose in
    one step: arms that hang, the commonest pose, do not pass through the T-pose. The pose itself is relative to the
    T-pose, as everywhere. Normals are those of the posed faces, so they are true where skin folds or stretches, too.

    Args:
        skeleton: the person's proportions; default: the shipped body's own.
        device: where it is posed; default: `select_device("cpu")`, which is fast enough for any headset.
        body: another body than the shipped one.

    Steady state allocates nothing on the device, and a few hundred bytes on the host. An object is for one thread.

    Raises:
        InputError: a skeleton that no body has; see `fit_rig`.
        BundleError: the shipped body is missing or damaged.
    """

    def __init__(
        self, skeleton: Skeleton | None = None, device: wp.Device | None = None, *, body: Rig | None = None
    ) -> None:
        self._device = select_device("cpu") if device is None else device
        self.fitted: FittedRig = fit_rig(load_rig() if body is None else body, skeleton)
        self._count = len(self.body.vertices)
        on_device = self._device.is_cuda

        def upload(values: Array, dtype: type) -> wp.array:
            return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self._device)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=self._device)

        joints = len(JOINTS)
        self._pose_host = wp.zeros(joints + 1, dtype=wp.vec4, device="cpu", pinned=on_device)
        self._pose_view = self._pose_host.numpy()
        self._pose_view[:joints, 3] = 1.0
        self._pose = buffer(joints + 1, wp.vec4) if on_device else self._pose_host
        self._vertices, self._normals = buffer(self._count, wp.vec3), buffer(self._count, wp.vec3)
        self._joints = buffer(joints, wp.vec3)
        # Results come to the host through pinned memory; on the CPU they are there already.
        self._host = [
            wp.zeros(self._count, dtype=wp.vec3, device="cpu", pinned=True) if on_device else out
            for out in (self._vertices, self._normals)
        ]
        self._views = [array.numpy() for array in self._host]

        bones = self.fitted.bone_from_bind.astype(np.float32)
        linear, shift = buffer(joints, wp.mat33), buffer(joints, wp.vec3)
        starts, ring = face_rings(self.body.faces, self._count)
        self._stages = (
            RecordedLaunch(
                kernels.move_bones,
                joints,
                [
                    upload(np.array(PARENTS, np.int32), wp.int32),
                    upload(self.skeleton.offsets_m.astype(np.float32), wp.vec3),
                    upload(bones[:, :3, :3], wp.mat33),
                    upload(bones[:, :3, 3], wp.vec3),
                    self._pose,
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
                    upload(self.body.vertices, wp.vec3),
                    upload(self.body.skin_joints, wp.vec4i),
                    upload(self.body.skin_weights, wp.vec4),
                    linear,
                    shift,
                    self._vertices,
                ],
                self._device,
            ),
            RecordedLaunch(
                kernels.ring_normals,
                self._count,
                [self._vertices, upload(starts, wp.int32), upload(ring, wp.vec2i), self._normals],
                self._device,
            ),
        )

    @property
    def device(self) -> wp.Device:
        return self._device

    @property
    def body(self) -> Rig:
        """The body at bind."""
        return self.fitted.body

    @property
    def skeleton(self) -> Skeleton:
        return self.fitted.skeleton

    @property
    def faces(self) -> Array:
        return self.body.faces

    @property
    def colours(self) -> Array:
        return self.body.colours

    @property
    def vertices(self) -> wp.array:
        return self._vertices

    @property
    def normals(self) -> wp.array:
        return self._normals

    @property
    def joints(self) -> wp.array:
        """(22,) vec3 on `device`: the joints in the last pose [m]."""
        return self._joints

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices`, `normals` and `joints`; see `Avatar.pose_on_device`."""
        quaternions, root = pose_quaternions(rotations, root_position_m)
        if self._device.is_cuda:  # the last upload may still be under way
            wp.synchronize_stream(wp.get_stream(self._device))
        self._pose_view[:-1] = quaternions
        self._pose_view[-1, :3] = root
        if self._pose is not self._pose_host:
            wp.copy(self._pose, self._pose_host)
        for stage in self._stages:
            stage()

    def pose_into(self, rotations: Array, root_position_m: Array, vertices_out: Array, normals_out: Array) -> None:
        """Pose and write to (V, 3) float32 host arrays; see `Avatar.pose_into`."""
        shape = (self._count, 3)
        for name, out in (("vertices_out", vertices_out), ("normals_out", normals_out)):
            if out.shape != shape or out.dtype != np.float32:
                raise InputError(f"{name} must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}")
        self.pose_on_device(rotations, root_position_m)
        if self._device.is_cuda:
            wp.copy(self._host[0], self._vertices)
            wp.copy(self._host[1], self._normals)
            wp.synchronize_stream(wp.get_stream(self._device))
        np.copyto(vertices_out, self._views[0])
        np.copyto(normals_out, self._views[1])

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


def skin_reference(fitted: FittedRig, world_from_bone: Array, joints_m: Array) -> Array:
    """Linear blend skinning in float64, the slow twin of the kernels.

    Args:
        world_from_bone: (22, 3, 3) orientations of `geometry.skeleton.forward_kinematics`.
        joints_m: (22, 3) positions of the same [m].

    Returns:
        (V, 3) [m].
    """
    body, bones = fitted.body, fitted.bone_from_bind
    linear = world_from_bone @ bones[:, :3, :3]
    shift = joints_m + np.einsum("jab,jb->ja", world_from_bone, bones[:, :3, 3])
    moved = np.einsum("vkab,vb->vka", linear[body.skin_joints], body.vertices.astype(np.float64))
    return np.einsum("vk,vka->va", body.skin_weights.astype(np.float64), moved + shift[body.skin_joints])
