"""Somebody's skeleton in their skin: posed to meshes and scans, and the pose that registered meshes are in."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.matching import pair_weights
from bodystream.body.posing import BonePoints, JointState, Posing, Pull
from bodystream.body.skin import BodySkin
from bodystream.body.target import Target, with_normals
from bodystream.errors import InputError
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skeleton import Skeleton, align_rest, local_rotations
from bodystream.geometry.skin_fit import unskinned
from bodystream.types import Array

__all__ = ["POSING_STAGES", "FittedPose", "Person", "PosingStage"]

_FEW = 3000
"""Vertices, and points of a target, that a fit of the pose looks at."""
_ROUNDS = 8
_HUBER_M = 0.03
_DRAWN = 1e-3


@dataclass(frozen=True, slots=True)
class PosingStage:
    """Rounds of matching a posed skin to a target.

    Attributes:
        reach_m: as of `RegistrationStage`. rounds: at most.
        strength: how much joints are drawn to the pose they began from; see `Posing.step`.
        planes: distances count along the target's normals only.
    """

    reach_m: float
    rounds: int
    strength: float
    planes: bool = True


POSING_STAGES = (PosingStage(0.15, 6, 0.3, False), PosingStage(0.06, 6, 0.03), PosingStage(0.03, 5, 0.01))
"""From the pose of a moment ago."""


@dataclass(frozen=True, slots=True)
class FittedPose:
    """A pose of a person that was found.

    Attributes:
        state: of the joints.
        distance_m: mean distance of vertices from where skinning puts them, or of a target's points from the skin.
    """

    state: JointState
    distance_m: float


class Person(Posing):
    """A person who can be posed by joints.

    Args:
        skin: of the topology.
        neutral: (V, 3) theirs in the neutral pose, upright, y up, -z where they look [m].
        faces: (F, 3).

    Attributes:
        skeleton: its canonical T-pose.
        neutral_state: the pose of the neutral mesh.

    Raises:
        InputError: another number of vertices, or a limb has no length.
    """

    def __init__(self, skin: BodySkin, neutral: Array, faces: Array) -> None:
        joints = skin.joints(neutral)
        self.skeleton, neutral_from_bone = align_rest(joints)
        super().__init__(self.skeleton.offsets_m, _HUBER_M)
        away = np.asarray(neutral, np.float64)[:, None] - joints
        seen = np.einsum("bji,vbj->vbi", neutral_from_bone, away)
        self.points = BonePoints(seen, skin.skin_weights.astype(np.float64))
        self.faces, self._neutral, self._joints = faces, np.asarray(neutral, np.float64), joints
        self._neutral_from_bone = neutral_from_bone
        self.neutral_state = JointState(local_rotations(neutral_from_bone), joints[0])
        self._few = np.random.default_rng(0).permutation(len(seen))[:_FEW]

    def wearing(self, surface: Array) -> Person:
        """The same joints and weights with another (V, 3) surface in the neutral pose, such as clothes or hair [m]."""
        other = copy(self)
        away = np.asarray(surface, np.float64)[:, None] - self._joints
        other.points = BonePoints(np.einsum("bji,vbj->vbi", self._neutral_from_bone, away), self.points.weights)
        other._neutral = np.asarray(surface, np.float64)
        return other

    @property
    def neutral(self) -> Array:
        """(V, 3) float64 surface in the neutral pose [m]."""
        return self._neutral

    def undone(self, state: JointState, posed: Array) -> Array:
        """(V, 3) where a (V, 3) surface in a pose is in the neutral one: skinning undone, vertex by vertex [m]."""
        turns, places = self.kinematics(state)
        linear = turns @ np.swapaxes(self._neutral_from_bone, 1, 2)
        shift = places - np.einsum("bij,bj->bi", linear, self._joints)
        whole = np.concatenate([linear, shift[:, :, None]], axis=2).reshape(len(shift), 12)
        return unskinned((self.points.weights @ whole).reshape(-1, 3, 4), posed, self._neutral)

    def vertices(self, state: JointState) -> Array:
        """(V, 3) by linear blend skinning [m]."""
        return self.moved(self.points, state)

    def pose_of(self, registered: Array) -> FittedPose:
        """The joints of a registered mesh: each begins as what lies its own vertices best on theirs (weighted
        Procrustes, by the square of the weights), then all together so that skinning comes nearest.

        Args:
            registered: (V, 3) of this person [m].

        Raises:
            InputError: another number of vertices, or some that are not finite.
        """
        registered = np.asarray(registered, np.float64)
        if registered.shape != self._neutral.shape or not np.isfinite(registered).all():
            raise InputError(
                f"registered vertices must be finite and of shape {self._neutral.shape}, got {registered.shape}"
            )
        state = self._by_parts(registered)
        few, drawn_to = self.points.taken(self._few), state.rotations
        pull = Pull(few, registered[self._few])
        for _ in range(_ROUNDS):
            state = self.step(state, [pull], drawn_to, _DRAWN)
        off = np.linalg.norm(self.vertices(state) - registered, axis=1)
        return FittedPose(state, float(off.mean()))

    def _by_parts(self, registered: Array) -> JointState:
        shares = self.points.weights**2
        shares = shares / np.maximum(shares.sum(axis=0), 1e-12)
        before, after = shares.T @ self._neutral, shares.T @ registered  # (22, 3)
        spread = np.einsum("vb,vi,vj->bij", shares, registered, self._neutral, optimize=True)
        spread -= after[:, :, None] * before[:, None, :]
        left, _, right = np.linalg.svd(spread)
        left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
        turns = left @ right  # of each joint's vertices, neutral to registered
        root = after[0] + turns[0] @ (self._joints[0] - before[0])
        return JointState(local_rotations(turns @ self._neutral_from_bone), root)

    def posed_to(
        self, target: Target, state: JointState, stages: Sequence[PosingStage] = POSING_STAGES, *, sized: bool = False
    ) -> FittedPose:
        """The pose in which the skin lies on a target, from one that is near it.

        Args:
            target: oriented; parts of the person may be missing in it.
            sized: whether the person's size is sought, too.
        """
        step = max(1, len(target.points) // _FEW)
        places, facing = target.points[::step], target.normals[::step]
        few = self.points.taken(self._few)
        areas = np.sqrt(np.ptp(self._neutral, axis=0).max() / len(self._neutral))
        begun = state.rotations
        for stage in stages:
            for _ in range(stage.rounds):
                at = self.vertices(state)
                normals = vertex_normals(at, self.faces).astype(np.float64)
                v, n = at[self._few], normals[self._few]
                found = np.asarray(target.facing_tree.query(with_normals(v, n))[1])
                to, to_normal = target.points[found], target.normals[found]
                weight = pair_weights(v, n, to, to_normal, 2.0 * target.spacing_m, stage.reach_m)
                near = np.asarray(KDTree(with_normals(at, normals)).query(with_normals(places, facing))[1])
                back = pair_weights(at[near], normals[near], places, facing, areas, stage.reach_m)
                if not (weight.any() or back.any()):
                    break  # nothing of the target is near: the distance tells
                pulls = [
                    Pull(few, to, to_normal if stage.planes else None, weight),
                    Pull(self.points.taken(near), places, facing if stage.planes else None, back),
                ]
                state = self.step(state, pulls, begun, stage.strength, sized)
        at = self.vertices(state)
        away = KDTree(at).query(places)[0]
        return FittedPose(state, float(np.mean(away)))

    def sized(self, state: JointState) -> Skeleton:
        """The skeleton of a state with a size of its own."""
        return self.skeleton.scaled(state.size)
