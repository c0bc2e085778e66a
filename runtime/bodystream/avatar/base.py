"""What every avatar offers: a pose of the 22-joint skeleton in, a posed surface out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import warp as wp

from bodystream.avatar.retarget import Retarget
from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["FAR_FLAG", "Avatar", "FarPose", "Posing", "pose_quaternions"]

FAR_FLAG = "far_from_training"
"""Flag of a pose that is far from all that its avatar was learned from."""


@dataclass(frozen=True, slots=True)
class FarPose:
    """That a pose is far from all poses that an avatar was learned from, so that its surface is a guess there.

    Attributes:
        joint: the one that is farthest beyond what was learned.
        angle_deg: between its rotation and the nearest one that was learned.
        known_deg: up to which it would count as learned.
        joints: all that are beyond, by name.
    """

    joint: str
    angle_deg: float
    known_deg: float
    joints: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"the {self.joint.replace('_', ' ')} is turned by {self.angle_deg:.0f} degrees from all poses that the "
            f"avatar was learned from, where {self.known_deg:.0f} are known: its surface is a guess there"
        )


@dataclass(frozen=True, slots=True)
class Posing:
    """How the surface of a pose came about.

    Attributes:
        method: in a word: `skinning`, `tables`, `network`.
        reason: why so, for a person.
        far: where the pose is far from all that the avatar was learned from; None = it is not, or nothing was learned.
    """

    method: str
    reason: str
    far: FarPose | None = None


@runtime_checkable
class Avatar(Protocol):
    """A body with a fixed topology that a pose drives.

    A pose is `rotations`, (22, 4) xyzw quaternions or (22, 3, 3) matrices, each joint in its parent's frame and the
    pelvis in the world, with `root_position_m` (3,), the pelvis in the world [m]; see `geometry.skeleton`.
    """

    @property
    def device(self) -> wp.Device:
        """Where `vertices` and `normals` live."""
        ...

    @property
    def skeleton(self) -> Skeleton:
        """The proportions of the person whose poses it takes."""
        ...

    @property
    def retarget(self) -> Retarget | None:
        """Where the body has proportions of its own: what takes the person's poses to its skeleton. None = the body
        has the person's."""
        ...

    @property
    def skin(self) -> SkinnedMesh | None:
        """The surface at bind on its bones, of which the first are the 22 joints of the body's skeleton in their
        canonical frames, and others stand on one of these: where it is posed by linear blend skinning, viewers and
        files do that themselves. None = only posed vertices exist."""
        ...

    @property
    def faces(self) -> Array:
        """(F, 3) int32, counter-clockwise seen from outside; the same for every pose."""
        ...

    @property
    def colours(self) -> Array | None:
        """(V, 3) uint8 RGB, or None."""
        ...

    @property
    def vertices(self) -> wp.array:
        """(V,) vec3 on `device`: the surface in the last pose [m], overwritten by the next."""
        ...

    @property
    def normals(self) -> wp.array:
        """(V,) vec3 on `device`: unit normals in the last pose."""
        ...

    @property
    def posing(self) -> Posing:
        """How the surface of the last pose came about."""
        ...

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices` and `normals`; on CUDA the work is queued on the current stream and may still run.

        Raises:
            InputError: a pose of the wrong shape, values that are not finite, or a quaternion of no length.
        """
        ...

    def pose_into(self, rotations: Array, root_position_m: Array, vertices_out: Array, normals_out: Array) -> None:
        """Pose and write to the host: `vertices_out` and `normals_out` are (V, 3) float32.

        Raises:
            InputError: as `pose_on_device`, or buffers of the wrong shape or type.
        """
        ...

    def pose(self, rotations: Array, root_position_m: Array) -> Mesh:
        """The posed surface in new host arrays.

        Raises:
            InputError: as `pose_on_device`.
        """
        ...


def pose_quaternions(rotations: Array, root_position_m: Array) -> tuple[Array, Array]:
    """A pose as (22, 4) xyzw quaternions, not necessarily of unit length, and the (3,) root position [m].

    Raises:
        InputError: a wrong shape, values that are not finite, or a quaternion of no length.
    """
    rotations, root = np.asarray(rotations), np.asarray(root_position_m)
    count = len(JOINTS)
    if rotations.shape not in ((count, 4), (count, 3, 3)) or root.shape != (3,):
        raise InputError(
            f"a pose takes rotations of shape ({count}, 4) (xyzw quaternions) or ({count}, 3, 3) and a root position "
            f"of shape (3,), got {rotations.shape} and {root.shape}"
        )
    if not (np.isfinite(rotations).all() and np.isfinite(root).all()):
        bad = [name for name, rotation in zip(JOINTS, rotations, strict=True) if not np.isfinite(rotation).all()]
        where = ", ".join(bad) if bad else "the root position"
        raise InputError(f"the pose is not finite at {where}: drop this frame and keep the last")
    if rotations.ndim == 3:
        return quaternion_from_matrix(rotations), root
    if np.einsum("ij,ij->i", rotations, rotations).min() < 1e-12:
        lost = [name for name, q in zip(JOINTS, rotations, strict=True) if not np.linalg.norm(q) > 1e-6]
        raise InputError(f"the pose has quaternions without length at {', '.join(lost)}: identity is (0, 0, 0, 1)")
    return rotations, root
