"""Poses a skinned surface on the device: bones by forward kinematics, linear blend skinning, normals."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.avatar import kernels
from bodystream.avatar.base import Posing
from bodystream.avatar.posed_surface import PosedAvatar, PosedSurface
from bodystream.device import RecordedLaunch, Staged, select_device, uploaded
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array, SkinnedMesh

__all__ = ["SkinPoser", "SkinnedAvatar"]

_SKINNING = Posing("skinning", "the avatar has a skin")


class SkinPoser(PosedSurface):
    """The buffers and launches of one surface; steady state allocates nothing on the device.

    Args:
        skin: its first 22 bones are the joints in their canonical frames; others stand on one of these and never turn.
        skeleton: of the joints.
        device: where it is posed.

    Attributes:
        joints: (22,) vec3 of the last pose [m].
    """

    def __init__(self, skin: SkinnedMesh, skeleton: Skeleton, device: wp.Device) -> None:
        assert skin.parents is not None
        super().__init__(skin.mesh, device)
        bones, joints = len(skin.bone_from_bind), len(JOINTS)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=device)

        def on_device(values: Array, dtype: type) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        self._pose = Staged(bones + 1, wp.vec4, device)
        self._pose.host[:bones, 3] = 1.0
        every: Any = buffer(bones, wp.vec3)
        self.joints: wp.array = every[:joints]
        offsets = np.zeros((bones, 3), np.float32)
        offsets[:joints] = skeleton.offsets_m

        matrices = skin.bone_from_bind.astype(np.float32)
        linear, shift = buffer(bones, wp.mat33), buffer(bones, wp.vec3)
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
                len(skin.mesh.vertices),
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
            self.compute_normals,
        )

    def pose(self, quaternions: Array, root_position_m: Array) -> None:
        """Fill `vertices`, `normals` and `joints` for (22, 4) xyzw quaternions and the pelvis' place (3,) [m]."""
        self._pose.wait()
        self._pose.host[: len(JOINTS)] = quaternions
        self._pose.host[-1, :3] = root_position_m
        self._pose.send()
        for stage in self._stages:
            stage()


class SkinnedAvatar(PosedAvatar):
    """What avatars with a skin have in common; see `Avatar`. A class of its own says how a pose moves the bones.

    Args:
        skin: see `SkinPoser`. bound: skeleton that it is bound to.
        skeleton: the person's.
        device: where it is posed; default: `select_device("cpu")`.
    """

    _poser: SkinPoser

    def __init__(self, skin: SkinnedMesh, bound: Skeleton, skeleton: Skeleton, device: wp.Device | None = None) -> None:
        super().__init__(skeleton, SkinPoser(skin, bound, select_device("cpu") if device is None else device))
        self._skin = skin

    @property
    def skin(self) -> SkinnedMesh:
        return self._skin

    @property
    def posing(self) -> Posing:
        return _SKINNING
