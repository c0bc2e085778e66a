"""Who wears the clothes: the shipped body in other builds, in any pose, and the measures that clothes are cut to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import ConvexHull

from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.avatar.rig import load_rig, skin
from bodystream.avatar.take.canonical import BONES, bone_places, canonical_rotations, rest_joints
from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, MIRROR, Skeleton
from bodystream.sources.synthetic.people import Clothes, Person, build_person
from bodystream.types import Array
from bodystream_training.avatar.data.garments.hollows import hollow_faces

__all__ = ["SUBJECTS", "Measures", "Wearer"]

SUBJECTS = {1: (1.78, 1.0), 2: (1.64, 0.94), 3: (1.72, 1.14)}
"""Of each subject, height [m] and girth."""

_ARMS = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")]
_LEGS = [
    JOINT_INDEX[name]
    for part in ("hip", "knee", "ankle", "foot")
    for name in (f"left_{part}", f"right_{part}", "pelvis")
]
_HEAD = [JOINT_INDEX["head"], JOINT_INDEX["neck"]]


@dataclass(frozen=True, slots=True)
class Measures:
    """Of the body in the canonical pose, its pelvis at the origin [m]; x to its right, y up.

    Attributes:
        scale: lengths of clothes as a factor of those for a person of 1.75 m.
        joints: (24, 3).
        thigh: half the girth of a thigh.
        surface: (V, 3), and arms: (V,) whether on an arm or hand.
    """

    scale: float
    joints: Array
    thigh: float
    surface: Array
    arms: Array

    def joint(self, name: str) -> Array:
        """(3,) of one of the 24 bones."""
        return self.joints[BONES.index(name)]

    def half_girth(self, y: float) -> float:
        """Half the girth of trunk and legs together at a height."""
        near = ~self.arms & (np.abs(self.surface[:, 1] - y) < 0.012 * self.scale)
        hull = ConvexHull(self.surface[near][:, [0, 2]])
        return float(hull.area) / 2  # of a flat hull, `area` is its outline

    def top(self, x: float) -> float:
        """Height of shoulder or arm at a distance to the side."""
        near = (np.abs(self.surface[:, 0] - x) < 0.012 * self.scale) & (self.surface[:, 1] < self.joint("head")[1])
        return float(self.surface[near, 1].max())


class Wearer:
    """One subject's body.

    Args:
        subject: of `SUBJECTS`.
        seed: of its proportions.
        clothes: colours that are painted on the body.

    Raises:
        ConfigurationError: there is no such subject.
    """

    def __init__(self, subject: int, seed: int, clothes: Clothes) -> None:
        if subject not in SUBJECTS:
            raise ConfigurationError(f"there is no subject {subject}: give one of {', '.join(map(str, SUBJECTS))}")
        height_m, girth = SUBJECTS[subject]
        rig = load_rig()
        rng = np.random.default_rng((seed, subject))
        factor = rng.uniform(0.96, 1.04, (len(JOINTS), 1))
        offsets = fit_rig(rig).skeleton.offsets_m * 0.5 * (factor + factor[list(MIRROR)])
        self.height_m = height_m
        self.body: FittedRig = build_person(rig, Skeleton(offsets), Person(height_m, girth))
        self._clothes = clothes

    @property
    def skeleton(self) -> Skeleton:
        """Its proportions."""
        return self.body.skeleton

    @cached_property
    def faces(self) -> Array:
        """(F, 3) int32 of the body's surface, without the mouth behind its lips."""
        every = self.body.skin.mesh.faces
        head = np.asarray(np.isin(self.main_bones, _HEAD)[every].all(axis=1))
        return every[~hollow_faces(self.canonical_surface, every, head)]

    @cached_property
    def colours(self) -> Array:
        """(V, 3) uint8: the shipped body's head; of the rest, what its bones say is top, trousers, shoes or skin."""
        assert self.body.skin.mesh.colours is not None
        out = self.body.skin.mesh.colours.copy()
        rest = self.body.skin.mesh.vertices  # an A-pose
        ankle_m = self.body.skin.bind_positions_m[JOINT_INDEX["left_ankle"], 1]
        legs, arms = np.isin(self.main_bones, _LEGS), np.isin(self.main_bones, _ARMS)
        shoes = legs & (rest[:, 1] < ankle_m + 0.03)
        head = np.isin(self.main_bones, _HEAD)
        for region, colour in (
            (legs & ~shoes, self._clothes.trousers),
            (shoes, self._clothes.shoes),
            (arms | (self.main_bones == JOINT_INDEX["neck"]), self._clothes.skin),
            (~(legs | arms | head), self._clothes.top),
        ):
            out[region] = colour
        return out

    @cached_property
    def skin_weights(self) -> Array:
        """(V, 24) float32 weights of the bones; the hands' own are zero, since they move as the wrists do."""
        skin_of = self.body.skin
        out = np.zeros((len(skin_of.bones), len(BONES)), np.float32)
        rows = np.arange(len(out))
        for influence in range(skin_of.bones.shape[1]):
            np.add.at(out, (rows, skin_of.bones[:, influence]), skin_of.weights[:, influence])
        return out

    @cached_property
    def main_bones(self) -> Array:
        """(V,) the bone with the largest weight."""
        return self.skin_weights.argmax(axis=1)

    def surface(self, rotations: Array, root_position_m: Array) -> Array:
        """(V, 3) float64 of the body in a pose: (22, 3, 3) rotations and the pelvis's position [m]."""
        places = bone_places(self.skeleton, rotations, root_position_m)[: len(JOINTS)]
        return skin(self.body.skin, places @ self.body.skin.bone_from_bind.astype(np.float64))

    @cached_property
    def canonical_surface(self) -> Array:
        """(V, 3) of the body in the canonical pose, its pelvis at the origin [m]."""
        return self.surface(canonical_rotations(), np.zeros(3))

    @cached_property
    def measures(self) -> Measures:
        """What clothes are cut to."""
        surface, joints = self.canonical_surface, rest_joints(self.skeleton)
        hip, knee = joints[BONES.index("right_hip")], joints[BONES.index("right_knee")]
        along = (knee - hip) / np.linalg.norm(knee - hip)
        thigh = self.main_bones == JOINT_INDEX["right_hip"]
        at = (surface - hip) @ along
        ring = surface[thigh & (np.abs(at - 0.45 * np.linalg.norm(knee - hip)) < 0.02)]
        across = np.cross(along, (0.0, 0.0, 1.0))
        hull = ConvexHull(np.column_stack([ring @ across, ring[:, 2]]))
        arms = np.isin(self.main_bones, _ARMS)
        return Measures(self.height_m / 1.75, joints, float(hull.area) / 2, surface, arms)
