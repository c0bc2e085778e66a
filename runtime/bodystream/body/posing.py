"""The pose of a skeleton whose skin is seen: joints are turned until linear blend skinning brings points to places.

Steps are Gauss and Newton's. Unknown are a turn of each joint about itself in the world's axes, the pelvis' shift, and,
where it is sought, the size. A joint's turn moves what is below it, by the cross product with the way from the joint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix, skew
from bodystream.geometry.skeleton import JOINTS, PARENTS, forward_kinematics
from bodystream.types import Array

__all__ = ["BonePoints", "JointState", "Posing", "Pull"]

_MOST_RAD = 0.35
"""No joint turns farther in one step."""
_MOST_SIZE = 0.05


@dataclass(frozen=True, slots=True)
class JointState:
    """A pose.

    Attributes:
        rotations: (22, 3, 3) on the canonical skeleton, each joint's in its parent's frame, the pelvis' in the world.
        root: (3,) where the pelvis is [m].
        size: 1 for the skeleton as it is.
    """

    rotations: Array
    root: Array
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class BonePoints:
    """Points of a skin.

    Attributes:
        seen: (N, 22, 3) as each joint sees them in its canonical frame, at size 1 [m].
        weights: (N, 22) how much they follow it; rows sum to one.
    """

    seen: Array
    weights: Array

    def taken(self, chosen: Array) -> BonePoints:
        """Some of them."""
        return BonePoints(self.seen[chosen], self.weights[chosen])


@dataclass(frozen=True, slots=True)
class Pull:
    """Points and where they should be.

    Attributes:
        points: N of a skin. target: (N, 3) [m].
        normals: (N, 3) of the target's surface: only the distance along them counts; None = the whole distance.
        weight: (N,), default 1.
    """

    points: BonePoints
    target: Array
    normals: Array | None = None
    weight: Array | None = None


class Posing:
    """A skeleton that can be posed.

    Args:
        offsets_m: (22, 3) of `Skeleton`.
        huber_m: distances beyond it count by their length, not its square.
    """

    def __init__(self, offsets_m: Array, huber_m: float = 0.03) -> None:
        self.offsets_m, self._huber_m = np.asarray(offsets_m, np.float64), huber_m
        below = np.eye(len(JOINTS), dtype=bool)
        for joint in range(len(JOINTS) - 1, 0, -1):
            below[PARENTS[joint]] |= below[joint]
        self._below = below.astype(np.float64)  # (22, 22): whom each joint moves

    def kinematics(self, state: JointState) -> tuple[Array, Array]:
        """(22, 3, 3) orientations and (22, 3) positions of the joints in the world."""
        places, turns = forward_kinematics(self.offsets_m * state.size, state.rotations, state.root)
        return turns, places

    def moved(self, points: BonePoints, state: JointState) -> Array:
        """(N, 3) points in the world [m]."""
        turns, places = self.kinematics(state)
        linear = state.size * np.einsum("nb,bij,nbj->ni", points.weights, turns, points.seen, optimize=True)
        return linear + points.weights @ places

    def step(
        self, state: JointState, pulls: Sequence[Pull], drawn_to: Array, strength: float, sized: bool = False
    ) -> JointState:
        """The pose after one step.

        Args:
            drawn_to: (22, 3, 3) pose that joints are drawn to, all but the pelvis.
            strength: of it, in points that are a Huber's length off per radian, of all points that are pulled.
            sized: whether the size changes, too.
        """
        count = 3 * len(JOINTS)
        unknown = count + 3 + sized
        normal, right = np.zeros((unknown, unknown)), np.zeros(unknown)
        turns, places = self.kinematics(state)
        for pull in pulls:
            shares = pull.points.weights[..., None] * (
                state.size * np.einsum("bij,nbj->nbi", turns, pull.points.seen) + places
            )
            moved = shares.sum(axis=1)
            carried = np.einsum("jb,nbi->nji", self._below, shares, optimize=True)
            carried -= np.einsum("jb,nb->nj", self._below, pull.points.weights)[..., None] * places
            jacobian = np.zeros((len(moved), 3, unknown))
            jacobian[:, :, :count] = -skew(carried).transpose(0, 2, 1, 3).reshape(len(moved), 3, count)
            jacobian[:, :, count : count + 3] = np.eye(3)
            if sized:
                jacobian[:, :, -1] = (moved - state.root) / state.size
            off = pull.target - moved
            if pull.normals is not None:
                jacobian = np.einsum("ni,niu->nu", pull.normals, jacobian)[:, None]
                off = np.vecdot(pull.normals, off)[:, None]
            influence = 1.0 / np.sqrt(1.0 + (off**2).sum(axis=1) / self._huber_m**2)
            if pull.weight is not None:
                influence = influence * pull.weight
            flat = (jacobian * influence[:, None, None]).reshape(-1, unknown)
            normal += flat.T @ jacobian.reshape(-1, unknown)
            right += flat.T @ off.reshape(-1)
        stiff = strength * self._huber_m**2 * sum(len(pull.target) for pull in pulls) / len(JOINTS)
        above = np.stack([np.eye(3) if parent < 0 else turns[parent] for parent in PARENTS])
        away = rotation_vector_from_matrix(drawn_to @ np.swapaxes(state.rotations, 1, 2))
        drawn = np.einsum("jik,jk->ji", above, away)  # in the world's axes
        drawn[0] = 0.0
        diagonal = np.r_[np.zeros(3), np.full(count - 3, stiff), np.zeros(unknown - count)]
        right[:count] += diagonal[:count] * drawn.reshape(-1)
        normal += np.diag(diagonal + 1e-6 * np.diag(normal).mean())
        change = np.linalg.solve(normal, right)
        turn = change[:count].reshape(-1, 3)
        turn *= np.minimum(1.0, _MOST_RAD / np.maximum(np.linalg.norm(turn, axis=1), 1e-9))[:, None]
        local = np.einsum("jki,jk->ji", above, turn)
        rotations = matrix_from_rotation_vector(local) @ state.rotations
        size = state.size + (float(np.clip(change[-1], -_MOST_SIZE, _MOST_SIZE)) if sized else 0.0)
        return JointState(rotations, state.root + change[count : count + 3], size)
