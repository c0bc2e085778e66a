"""The skeleton in a body: where the 22 joints are in a neutral mesh, and which vertices each of them carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["BodySkin", "skin_of_arrays"]

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class BodySkin:
    """Joints and skinning weights of one topology, the same for all people.

    Attributes:
        joint_weights: (22, V) float32: joints are these means of the vertices of a neutral mesh; rows sum to one.
        skin_weights: (V, 22) float32, not negative, how much of each vertex follows each joint; rows sum to one.

    Raises:
        InputError: arrays of other shapes, that are not finite, or whose rows do not sum to one.
    """

    joint_weights: Array
    skin_weights: Array

    def __post_init__(self) -> None:
        count = len(JOINTS)
        vertices = self.skin_weights.shape[0] if self.skin_weights.ndim else 0
        for name, wanted in (("joint_weights", (count, vertices)), ("skin_weights", (vertices, count))):
            array = getattr(self, name)
            if array.shape != wanted or array.dtype.kind != "f" or not vertices:
                raise InputError(f"{name} must be numbers of shape {wanted}, got {array.dtype} of {array.shape}")
            off = np.abs(array.sum(axis=1, dtype=np.float64) - 1.0)
            if not off.max() <= _TOLERANCE:  # nan fails, too
                row = int(np.nan_to_num(off, nan=np.inf).argmax())
                raise InputError(f"{name}: row {row} sums to {array[row].sum():.4g}, and must to 1")
        if self.skin_weights.min() < 0.0:
            raise InputError("skin_weights must not be negative")

    @property
    def vertices(self) -> int:
        """How many there are, V."""
        return len(self.skin_weights)

    def joints(self, neutral: Array) -> Array:
        """(22, 3) float64 joints of somebody's (V, 3) neutral mesh [m], which may stand and look anywhere.

        Raises:
            InputError: another number of vertices.
        """
        if neutral.shape != (self.vertices, 3):
            raise InputError(f"neutral vertices must have shape ({self.vertices}, 3), got {neutral.shape}")
        return self.joint_weights.astype(np.float64) @ np.asarray(neutral, np.float64)


def skin_of_arrays(arrays: Mapping[str, Array], vertices: int) -> BodySkin | None:
    """The skin that a file's arrays hold, or None where they hold none of it.

    Args:
        vertices: how many the mesh has.

    Raises:
        InputError: half of it, one of another mesh, or as `BodySkin`.
    """
    names = ("joint_weights", "skin_weights")
    found = [name for name in names if name in arrays]
    if not found:
        return None
    if len(found) == 1:
        raise InputError(f"there is {found[0]} without {next(n for n in names if n not in found)}")
    skin = BodySkin(*(arrays[name].astype(np.float32) if arrays[name].dtype.kind == "f" else arrays[name]
                      for name in names))  # fmt: skip
    if skin.vertices != vertices:
        raise InputError(f"skin_weights are of {skin.vertices} vertices, the mesh has {vertices}")
    return skin
