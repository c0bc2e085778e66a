"""A person's poses as those of a body of other proportions: a short one, a tall one, one with long legs.

Bones keep the orientations that they have in the world. Places scale by how high the hips stand: the pelvis, its way
over the floor, and the ankles, so that steps are as long for the legs as they were. Legs are then bent so that each
ankle comes to where its foot is as high above the floor as the person's, in that scale, and stands where it stands:
two-bone inverse kinematics, as the person's own feet are held in place. How high a foot is says its lowest point, since
feet are of other shapes than the person's, and a heel that is lifted leaves the toes on the floor.

Poses of somebody with the body's own proportions, as its own recordings have, are left as they are but for a height:
that of its soles, which a skeleton does not tell.

All of it is a function of the pose alone: the same pose gives the same pose, whatever was before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodystream.avatar.own_bones import OwnBones
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, forward_kinematics, local_rotations
from bodystream.types import Array, BodyPose

__all__ = ["Build", "Foot", "Retarget", "hips_height_m"]

_LEGS = tuple(
    tuple(JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")) for side in ("left", "right")
)
_SPINE = tuple(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3"))
_SOLE_PARTS = 0.013
"""Of the stature, what is between the lowest joint of a person who stands and the floor: 0.018 of the shipped body,
which people are measured by, and a little less in recordings of motion."""
_AFLOAT_PARTS = 0.003
"""Of how high the hips stand, how far a foot may stay above the floor before hips are lowered for it."""
_STANDS_PARTS, _FLIES_PARTS, _LIFTED_PARTS = 0.038, 0.15, 0.12
"""Of the stature: how high the lowest point of a foot that stands may be seen, since guessed feet float by centimetres
and those of an avatar are to be on the floor; from where on hips are not lowered for it; and how far above that most of
the difference is made up for, as softly as feet are lifted and set down."""
_LOWERED_PARTS = 0.1
"""Of how high its hips stand, the most that they are lowered for its feet to reach the floor."""
_TIPTOE_SHARE = 0.5
"""How much of what hips stand higher than at rest, on tiptoe, is kept: short feet lift long legs by less."""
_SOFT_PARTS = 0.02
"""Of a leg's length, what it is stretched by ever more slowly: knees would snap where it becomes straight."""
_SAME_M = 0.001
"""Offsets that differ by less, which files round, are the same."""
_FORWARD_KNEE = 0.03
"""How much the forward axis counts for where a knee bends to: what a straight leg cannot say."""
_CHUNK = 2048  # poses at once


@dataclass(frozen=True, slots=True)
class Foot:
    """Points of a foot that may touch the floor.

    Attributes:
        from_ankle_m: (N, 3) of those that turn with the ankle, in its canonical frame [m].
        from_toes_m: (M, 3) of those that turn with the toes, in the toes' canonical frame, from the toes' joint [m].
    """

    from_ankle_m: Array
    from_toes_m: Array


@dataclass(frozen=True, slots=True)
class Build:
    """A body of its own proportions.

    Attributes:
        skeleton: of the body.
        bones: its own. Joints that it has no bone for are in the skeleton, and never bend.
        feet: left and right.
        hips_m: height of the pelvis above the soles in the T-pose [m].
    """

    skeleton: Skeleton
    bones: OwnBones
    feet: tuple[Foot, Foot]
    hips_m: float


def hips_height_m(skeleton: Skeleton, feet: tuple[Foot, Foot]) -> float:
    """How high the pelvis of a body is above its soles in the T-pose [m]; `feet`: left and right."""
    rest = skeleton.rest_positions_m
    soles = []
    for foot, (_, _, ankle, toes) in zip(feet, _LEGS, strict=True):
        points = np.concatenate([foot.from_ankle_m, foot.from_toes_m + skeleton.offsets_m[toes]])
        soles.append(rest[ankle, 1] + float(points[:, 1].min()))
    return float(-np.mean(soles))


class Retarget:
    """Takes poses of a person to those of a body of other proportions.

    Args:
        person: whose poses come.
        build: of the body.

    Attributes:
        skeleton: of the body.
        bones: its own, as its file has them.
        scale: by which places in the person's world are to be taken to be beside the body.
    """

    def __init__(self, person: Skeleton, build: Build) -> None:
        self.skeleton, self.bones, self._build, self._person = build.skeleton, build.bones, build, person
        stature = person.stature_m
        hips_m = person.pelvis_height_m + _SOLE_PARTS * stature
        off_m = float(np.abs(person.offsets_m - build.skeleton.offsets_m).max())
        self._lift_m = build.hips_m - hips_m if build.bones.has.all() and off_m < _SAME_M else None
        self.scale = build.hips_m / hips_m if self._lift_m is None else 1.0
        self._stands, self._flies = _STANDS_PARTS * stature, _FLIES_PARTS * stature
        self._lifted = _LIFTED_PARTS * stature
        self._mine, self._theirs = build.skeleton.rest_positions_m, person.rest_positions_m
        self._rest_heights = self._theirs[:, 1] + person.pelvis_height_m
        # A body without a chest bends at the spine as the person's chest does, since that carries arms and head.
        self._takes = np.arange(len(JOINTS))
        for joint in range(len(JOINTS)):
            if not build.bones.has[joint]:
                above = PARENTS[joint]
                while not build.bones.has[above]:
                    above = PARENTS[above]
                if joint in _SPINE and above in _SPINE:
                    self._takes[above] = joint
        self._follows = [(joint, PARENTS[joint]) for joint in range(len(JOINTS)) if not build.bones.has[joint]]

    def of(self, person: Skeleton) -> Retarget:
        """The same body for the poses of somebody else, or of the same person, known better."""
        return self if person is self._person else Retarget(person, self._build)

    def pose(self, pose: BodyPose) -> BodyPose:
        """One pose; what else it says is kept."""
        rotations, roots = self.poses(pose.rotations_xyzw[None], pose.root_position_m[None])
        return replace(pose, rotations_xyzw=rotations[0], root_position_m=roots[0])

    def poses(self, rotations_xyzw: Array, root_positions_m: Array) -> tuple[Array, Array]:
        """(T, 22, 4) float32 quaternions and (T, 3) float32 places of the pelvis of the body.

        Args:
            rotations_xyzw: (T, 22, 4) of the person, each joint in its parent's frame.
            root_positions_m: (T, 3) of the person's pelvis in the world, the floor at y = 0 [m].
        """
        if self._lift_m is not None:
            return rotations_xyzw.astype(np.float32), (root_positions_m + (0.0, self._lift_m, 0.0)).astype(np.float32)
        count = len(rotations_xyzw)
        turned, placed = np.empty((count, len(JOINTS), 4), np.float32), np.empty((count, 3), np.float32)
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            turned[part], placed[part] = self._some(
                matrix_from_quaternion(rotations_xyzw[part]), np.asarray(root_positions_m[part], np.float64)
            )
        return turned, placed

    def _some(self, local: Array, roots: Array) -> tuple[Array, Array]:
        joints, seen = forward_kinematics(self._person.offsets_m, local, roots)
        world = seen[:, self._takes]
        for joint, above in self._follows:
            world[:, joint] = world[:, above]
        pelvis = self.scale * roots
        goals, stand = self._goals(joints, seen, world)
        above = np.maximum(pelvis[:, 1] - self._build.hips_m, 0.0)
        pelvis[:, 1] -= (1.0 - _TIPTOE_SHARE) * above * stand.max(axis=1)
        pelvis[:, 1] -= self._too_high(pelvis, world, goals, stand)
        for side in (0, 1):
            self._bend(side, world, pelvis, goals[:, side])
        return quaternion_from_matrix(local_rotations(world)).astype(np.float32), pelvis.astype(np.float32)

    def _goals(self, joints: Array, seen: Array, world: Array) -> tuple[Array, Array]:
        """(T, 2, 3) where the ankles are to be [m], and (T, 2) 0 to 1, how much a foot stands."""
        goals, stand = np.empty((len(joints), 2, 3)), np.empty((len(joints), 2))
        mine, theirs = self._mine, self._theirs
        for side, (hip, _, ankle, toes) in enumerate(_LEGS):
            heel = joints[:, ankle, 1] - self._rest_heights[ankle] * seen[:, ankle, 1, 1]
            height = np.minimum(heel, joints[:, toes, 1] - self._rest_heights[toes])
            part = np.clip((height - self._stands) / (self._flies - self._stands), 0.0, 1.0)
            part = part * part * (3.0 - 2.0 * part)
            stand[:, side] = 1.0 - part
            # Feet are as far beside and ahead of the hips as in the body's own T-pose; by the foot's own axes, so that
            # one that stands does not slide while the body turns above it.
            shift = (mine[hip] - self.scale * theirs[hip]) * (1.0, 0.0, 1.0)
            goals[:, side] = self.scale * joints[:, ankle] + world[:, ankle] @ shift
            over = np.maximum(height - self._stands, 0.0)
            lift = over + self._stands * -np.expm1(-over / self._lifted)
            goals[:, side, 1] = self.scale * lift - self._lowest(side, world[:, ankle], world[:, toes])
        return goals, stand

    def _lowest(self, side: int, ankle: Array, toes: Array) -> Array:
        """(T,) the lowest point of a foot, seen from its ankle [m]."""
        foot, offset = self._build.feet[side], self._build.skeleton.offsets_m[_LEGS[side][3]]
        out = np.full(len(ankle), np.inf)
        if len(foot.from_ankle_m):
            out = (ankle[:, 1] @ foot.from_ankle_m.T).min(axis=1)
        if len(foot.from_toes_m):
            out = np.minimum(out, (toes[:, 1] @ foot.from_toes_m.T).min(axis=1) + ankle[:, 1] @ offset)
        return out

    def _too_high(self, pelvis: Array, world: Array, goals: Array, stand: Array) -> Array:
        """(T,) by how much the hips are too high for the feet that stand to be reached [m]."""
        out = np.zeros(len(pelvis))
        for side, (hip, knee, ankle, _) in enumerate(_LEGS):
            offsets = self._build.skeleton.offsets_m
            at = pelvis + world[:, 0] @ offsets[hip]
            reach = (np.linalg.norm(offsets[knee]) + np.linalg.norm(offsets[ankle])) * (1.0 - 0.5 * _SOFT_PARTS)
            away = goals[:, side] - at
            flat = np.minimum(away[:, 0] ** 2 + away[:, 2] ** 2, reach**2)
            short = -away[:, 1] - np.sqrt(reach**2 - flat) - _AFLOAT_PARTS * self._build.hips_m
            out = np.maximum(out, stand[:, side] * short)
        return np.minimum(out, _LOWERED_PARTS * self._build.hips_m)

    def _bend(self, side: int, world: Array, pelvis: Array, goal: Array) -> None:
        """Bend a leg of (T, 22, 3, 3) orientations so that its ankle is at (T, 3) `goal`; the foot's is kept."""
        hip, knee, ankle, _ = _LEGS[side]
        offsets = self._build.skeleton.offsets_m
        upper, lower = np.linalg.norm(offsets[knee]), np.linalg.norm(offsets[ankle])
        thigh, shin = world[:, hip] @ offsets[knee], world[:, knee] @ offsets[ankle]
        away = goal - (pelvis + world[:, 0] @ offsets[hip])
        distance = np.linalg.norm(away, axis=1)
        whole, soft = upper + lower, _SOFT_PARTS * (upper + lower)
        over = np.maximum(distance - (whole - soft), 0.0)
        distance = np.minimum(distance, whole - soft) - soft * np.expm1(-over / soft)
        distance = np.clip(distance, abs(upper - lower) + 0.02 * lower, whole * (1.0 - 1e-6))
        axis = _cross(thigh, shin) / (upper * lower) - _FORWARD_KNEE * world[:, hip, :, 0]
        axis -= thigh * (np.sum(axis * thigh, axis=1, keepdims=True) / upper**2)
        axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
        wanted = np.arccos(np.clip((distance**2 - upper**2 - lower**2) / (2.0 * upper * lower), -1.0, 1.0))
        along, across = thigh / upper, _cross(axis, thigh / upper)
        bent = lower * (along * np.cos(wanted)[:, None] + across * np.sin(wanted)[:, None])
        straightened = _between(shin, bent)
        reach = thigh + bent
        turn = _between(reach, away)
        world[:, hip] = turn @ world[:, hip]
        world[:, knee] = turn @ straightened @ world[:, knee]


def _cross(a: Array, b: Array) -> Array:
    """(T, 3) products of (T, 3) vectors; numpy's own takes several times as long for a few."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]


def _between(start: Array, end: Array) -> Array:
    """(T, 3, 3) the smallest rotations that take the directions (T, 3) `start` to `end`; none where one has no length.

    A half turn is about any axis across.
    """
    a = start / np.maximum(np.linalg.norm(start, axis=1, keepdims=True), 1e-12)
    b = end / np.maximum(np.linalg.norm(end, axis=1, keepdims=True), 1e-12)
    cosine = np.sum(a * b, axis=1)
    quaternion = np.concatenate([_cross(a, b), 1.0 + cosine[:, None]], axis=1)
    opposite = cosine < -1.0 + 1e-9
    if opposite.any():
        other = np.eye(3)[np.abs(a[opposite]).argmin(axis=1)]
        quaternion[opposite, :3] = _cross(a[opposite], other)
        quaternion[opposite, 3] = 0.0
    none = np.linalg.norm(quaternion, axis=1) < 1e-9
    quaternion[none] = (0.0, 0.0, 0.0, 1.0)
    return matrix_from_quaternion(quaternion)
