"""Whom the synthetic camera shows: the shipped body in other proportions, other girth and other clothes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton
from bodystream.types import Array, SkinnedMesh

__all__ = ["Clothes", "Person", "build_person"]

_TORSO = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
_LIMBS = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
_LEGS = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
_FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")


@dataclass(frozen=True, slots=True)
class Clothes:
    """Mean colours, RGB in 0 to 255; what is painted on the body varies around them."""

    top: tuple[int, int, int]
    trousers: tuple[int, int, int]
    shoes: tuple[int, int, int]
    skin: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Person:
    """A build.

    Attributes:
        height_m: to the top of the head, 0.8 to 2.3 m.
        girth: of torso, arms and legs, as a factor of what belongs to the height, 0.7 to 1.5.
        clothes: None for those of the body.
    """

    height_m: float
    girth: float = 1.0
    clothes: Clothes | None = None

    def __post_init__(self) -> None:
        if not 0.8 <= self.height_m <= 2.3:
            raise ConfigurationError(f"a person's height must be 0.8 to 2.3 m, got {self.height_m}")
        if not 0.7 <= self.girth <= 1.5:
            raise ConfigurationError(f"a person's girth must be 0.7 to 1.5 of the usual one, got {self.girth}")


def build_person(rig: SkinnedMesh, skeleton: Skeleton, person: Person) -> FittedRig:
    """The rig with a skeleton's proportions, scaled to the person's height, and with the person's girth and clothes.

    Raises:
        InputError: the skeleton is no person's; see `fit_rig`.
    """
    heights = fit_rig(rig, skeleton).skin.mesh.vertices[:, 1]
    scale = person.height_m / float(heights.max() - heights.min())
    fitted = fit_rig(rig, Skeleton(skeleton.offsets_m * scale))
    mesh = replace(fitted.skin.mesh, vertices=_with_girth(fitted.skin, person.girth))
    if person.clothes is not None:
        mesh = replace(mesh, colours=_dressed(rig, person.clothes))
    return replace(fitted, skin=replace(fitted.skin, mesh=mesh))


def _with_girth(skin: SkinnedMesh, girth: float) -> Array:
    """(V, 3) float32: vertices moved away from their bones; head, hands and feet keep their size."""
    joints = skin.bind_positions_m.astype(np.float64)
    maps = np.tile(np.eye(4)[:3], (len(JOINTS), 1, 1))
    for index, name in enumerate(JOINTS):
        side, _, part = name.rpartition("_")
        if name in _TORSO:
            axis = np.array([0.0, 1.0, 0.0])
        elif part in _LIMBS:
            axis = joints[JOINT_INDEX[f"{side}_{_LIMBS[part]}"]] - joints[index]
            axis /= np.linalg.norm(axis)
        else:
            continue
        maps[index, :, :3] += (girth - 1.0) * (np.eye(3) - np.outer(axis, axis))
        maps[index, :, 3] = joints[index] - maps[index, :, :3] @ joints[index]
    blended = np.einsum("vk,vkab->vab", skin.weights.astype(np.float64), maps[skin.bones])
    vertices = skin.mesh.vertices.astype(np.float64)
    wide = (np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]).astype(np.float32)
    wide.flags.writeable = False
    return wide


def _dressed(rig: SkinnedMesh, clothes: Clothes) -> Array:
    """(V, 3) uint8. Skin is what is painted redder than blue above the shoes; the rest is told apart by its bones."""
    assert rig.mesh.colours is not None
    painted = rig.mesh.colours.astype(np.float64)
    most = rig.bones[np.arange(len(rig.bones)), rig.weights.argmax(axis=1)]
    foot = np.isin(most, [JOINT_INDEX[name] for name in _FEET]) & (rig.mesh.vertices[:, 1] < 0.12)
    skin = ~foot & (painted[:, 0] > painted[:, 2] + 20.0)
    legs = ~foot & ~skin & np.isin(most, [JOINT_INDEX[name] for name in _LEGS])
    out = np.empty_like(painted)
    regions = (
        (foot, clothes.shoes),
        (skin, clothes.skin),
        (legs, clothes.trousers),
        (~(foot | skin | legs), clothes.top),
    )
    for region, colour in regions:
        light = painted[region].mean(axis=1)
        out[region] = np.asarray(colour) * (light / max(light.mean(), 1.0))[:, None] if region.any() else 0.0
    dressed = np.clip(np.round(out), 0, 255).astype(np.uint8)
    dressed.flags.writeable = False
    return dressed
