"""Poses a skinned surface on the device: bones by forward kinematics, linear blend skinning, normals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import warp as wp

from bodystream.avatar import kernels
from bodystream.device import RecordedLaunch, Staged, download_together, select_device, uploaded
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["SkinPoser", "SkinnedAvatar", "face_rings"]


class SkinPoser:
    """The buffers and launches of one surface; steady state allocates nothing on the device.

    Args:
        skin: its first 22 bones are the joints in their canonical frames; others stand on one of these and never turn.
        skeleton: of the joints.
        device: where it is posed.

    Attributes:
        device: as given.
        vertices, normals: (V,) vec3 of the last pose.
        joints: (22,) vec3 of the last pose [m].
    """

    def __init__(self, skin: SkinnedMesh, skeleton: Skeleton, device: wp.Device) -> None:
        assert skin.parents is not None
        self.device, self._mesh = device, skin.mesh
        self._count = len(skin.mesh.vertices)
        bones, joints = len(skin.bone_from_bind), len(JOINTS)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=device)

        def on_device(values: Array, dtype: type) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        self._pose = Staged(bones + 1, wp.vec4, device)
        self._pose.host[:bones, 3] = 1.0
        # Results come to the host through pinned memory; on the CPU they are there already.
        self.vertices, self.normals = (Staged(self._count, wp.vec3, device) for _ in range(2))
        every: Any = buffer(bones, wp.vec3)
        self.joints: wp.array = every[:joints]
        offsets = np.zeros((bones, 3), np.float32)
        offsets[:joints] = skeleton.offsets_m

        matrices = skin.bone_from_bind.astype(np.float32)
        linear, shift = buffer(bones, wp.mat33), buffer(bones, wp.vec3)
        starts, ring = face_rings(skin.mesh.faces, self._count)
        self._stages = (
            RecordedLaunch(
                kernels.move_bones,
                bones,
                [
                    on_device(skin.parents, wp.int32),
                    on_device(offsets, wp.vec3),
                    on_device(matrices[:, :3, :3], wp.mat33),
                    on_device(matrices[:, :3, 3], wp.vec3),
                    self._pose.array,
                    linear,
                    shift,
                    every,
                ],
                device,
            ),
            RecordedLaunch(
                kernels.skin_vertices,
                self._count,
                [
                    on_device(skin.mesh.vertices, wp.vec3),
                    on_device(skin.bones, wp.vec4i),
                    on_device(skin.weights, wp.vec4),
                    linear,
                    shift,
                    self.vertices.array,
                ],
                device,
            ),
            RecordedLaunch(
                kernels.ring_normals,
                self._count,
                [self.vertices.array, on_device(starts, wp.int32), on_device(ring, wp.vec2i), self.normals.array],
                device,
            ),
        )

    def pose(self, quaternions: Array, root_position_m: Array) -> None:
        """Fill `vertices`, `normals` and `joints` for (22, 4) xyzw quaternions and the pelvis' place (3,) [m]."""
        self._pose.wait()
        self._pose.host[: len(JOINTS)] = quaternions
        self._pose.host[-1, :3] = root_position_m
        self._pose.send()
        for stage in self._stages:
            stage()

    def check_buffers(self, vertices_out: Array, normals_out: Array) -> None:
        """Raises: InputError: they are not (V, 3) float32."""
        shape = (self._count, 3)
        for name, out in (("vertices_out", vertices_out), ("normals_out", normals_out)):
            if out.shape != shape or out.dtype != np.float32:
                raise InputError(f"{name} must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}")

    def download_into(self, vertices_out: Array, normals_out: Array) -> None:
        """Write the last pose's vertices and normals to (V, 3) float32 host arrays."""
        vertices, normals = download_together([self.vertices, self.normals])
        np.copyto(vertices_out, vertices)
        np.copyto(normals_out, normals)

    def mesh(self) -> Mesh:
        """The surface in the last pose, in new host arrays."""
        vertices, normals = np.empty((2, self._count, 3), np.float32)
        self.download_into(vertices, normals)
        return Mesh(vertices, self._mesh.faces, normals, self._mesh.colours)


class SkinnedAvatar(ABC):
    """What avatars with a skin have in common; see `Avatar`. A class of its own says how a pose moves the bones.

    Args:
        skin: see `SkinPoser`. bound: skeleton that it is bound to.
        skeleton: the person's.
        device: where it is posed; default: `select_device("cpu")`.
    """

    def __init__(self, skin: SkinnedMesh, bound: Skeleton, skeleton: Skeleton, device: wp.Device | None = None) -> None:
        self._skin, self._skeleton = skin, skeleton
        self._poser = SkinPoser(skin, bound, select_device("cpu") if device is None else device)

    @property
    def device(self) -> wp.Device:
        return self._poser.device

    @property
    def skin(self) -> SkinnedMesh:
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
        return self._poser.vertices.array

    @property
    def normals(self) -> wp.array:
        return self._poser.normals.array

    @abstractmethod
    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices` and `normals`; see `Avatar.pose_on_device`."""

    def pose_into(self, rotations: Array, root_position_m: Array, vertices_out: Array, normals_out: Array) -> None:
        """Pose and write to (V, 3) float32 host arrays; see `Avatar.pose_into`."""
        self._poser.check_buffers(vertices_out, normals_out)
        self.pose_on_device(rotations, root_position_m)
        self._poser.download_into(vertices_out, normals_out)

    def pose(self, rotations: Array, root_position_m: Array) -> Mesh:
        """The posed surface in new host arrays; see `Avatar.pose`."""
        self.pose_on_device(rotations, root_position_m)
        return self._poser.mesh()


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
