"""The plain skinned body: linear blend skinning of the shipped body in a person's proportions."""

from __future__ import annotations

import warp as wp

from bodystream.avatar.base import pose_quaternions
from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.retarget import Retarget
from bodystream.avatar.rig import load_rig
from bodystream.avatar.skin_poser import SkinnedAvatar
from bodystream.geometry.skeleton import Skeleton
from bodystream.types import Array, SkinnedMesh

__all__ = ["LbsAvatar"]


class LbsAvatar(SkinnedAvatar):
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

    retarget: Retarget | None = None

    def __init__(
        self, skeleton: Skeleton | None = None, device: wp.Device | None = None, *, rig: SkinnedMesh | None = None
    ) -> None:
        fitted = fit_rig(load_rig() if rig is None else rig, skeleton)
        super().__init__(fitted.skin, fitted.skeleton, fitted.skeleton, device)

    @property
    def joints(self) -> wp.array:
        """(22,) vec3 on `device`: the joints in the last pose [m]."""
        return self._poser.joints

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices`, `normals` and `joints`; see `Avatar.pose_on_device`."""
        self._poser.pose(*pose_quaternions(rotations, root_position_m))
