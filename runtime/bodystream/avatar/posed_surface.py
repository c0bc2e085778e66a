"""A surface of fixed topology in its last pose, and what avatars have in common that pose one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import warp as wp

from bodystream.avatar.base import Posing
from bodystream.avatar.kernels import ring_normals
from bodystream.device import RecordedLaunch, Staged, download_together, uploaded
from bodystream.errors import InputError
from bodystream.geometry.skeleton import Skeleton
from bodystream.types import Array, Mesh

__all__ = ["PosedAvatar", "PosedSurface", "face_rings"]


class PosedSurface:
    """The buffers of a surface; a class of its own fills `vertices`, and calls `compute_normals` after it.

    Args:
        mesh: faces and colours count, and how many vertices there are.
        device: where it is posed.

    Attributes:
        device, surface: as given.
        vertices, normals: (V,) vec3 of the last pose.
    """

    def __init__(self, mesh: Mesh, device: wp.Device) -> None:
        self.device, self.surface = device, mesh
        count = len(mesh.vertices)
        # Results come to the host through pinned memory; on the CPU they are there already.
        self.vertices, self.normals = (Staged(count, wp.vec3, device) for _ in range(2))
        starts, ring = face_rings(mesh.faces, count)
        rings = [uploaded(starts, wp.int32, device), uploaded(ring, wp.vec2i, device)]
        self.compute_normals = RecordedLaunch(
            ring_normals, count, [self.vertices.array, *rings, self.normals.array], device
        )

    def check_buffers(self, vertices_out: Array, normals_out: Array) -> None:
        """Raises: InputError: they are not (V, 3) float32."""
        shape = (len(self.surface.vertices), 3)
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
        vertices, normals = np.empty((2, len(self.surface.vertices), 3), np.float32)
        self.download_into(vertices, normals)
        return Mesh(vertices, self.surface.faces, normals, self.surface.colours)


class PosedAvatar(ABC):
    """What avatars have in common; see `Avatar`. A class of its own says how a pose moves the surface.

    Args:
        skeleton: the person's.
        poser: of the surface.
    """

    def __init__(self, skeleton: Skeleton, poser: PosedSurface) -> None:
        self._skeleton, self._poser = skeleton, poser

    @property
    def device(self) -> wp.Device:
        return self._poser.device

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    @property
    def faces(self) -> Array:
        return self._poser.surface.faces

    @property
    def colours(self) -> Array | None:
        return self._poser.surface.colours

    @property
    def vertices(self) -> wp.array:
        return self._poser.vertices.array

    @property
    def normals(self) -> wp.array:
        return self._poser.normals.array

    @property
    @abstractmethod
    def posing(self) -> Posing:
        """How the surface of the last pose came about; see `Avatar.posing`."""

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
