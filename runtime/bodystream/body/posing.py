"""The pose of a skeleton whose skin is seen: joints are turned until linear blend skinning brings points to places.

Steps are Gauss and Newton's. Unknown are a turn of each joint about itself in the world's axes, the pelvis' shift, and,
where it is sought, the size. A joint's turn moves what is below it, by the cross product with the way from the joint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class BonePoints:
    """Points of a skin.

    Attributes:
        seen: (N, 22, 3) as each joint sees them in its canonical frame, at size 1 [m].
        weights: (N, 22) how much they follow it; rows sum to one.
    """

    seen: Array
    weights: Array

    @cached_property
    def features(self) -> Array:
        """(N, 88) what a point is in the world is linear in: places as the joints see them times weights, and these."""
        weighted = self.weights[:, :, None] * self.seen
        return np.concatenate([weighted.reshape(len(weighted), -1), self.weights], axis=1)

    def taken(self, chosen: Array) -> BonePoints:
        """Some of them."""
        out = BonePoints(self.seen[chosen], self.weights[chosen])
        if "features" in self.__dict__:  # what was made is not made again
            out.__dict__["features"] = self.features[chosen]
        return out


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
        bones = state.size * turns.transpose(0, 2, 1)
        return points.features @ np.concatenate([bones.reshape(-1, 3), places])

    def _carry(self, turns: Array, places: Array) -> Array:
        """(88, 66) by which `BonePoints.features` become ways from each joint of what it carries [m].

        Args:
            turns: (22, 3, 3) times the size. places: (22, 3) [m].
        """
        bones = len(JOINTS)
        turned = np.einsum("jb,bik->bkji", self._below, turns).reshape(3 * bones, 3 * bones)
        away = self._below.T[:, :, None] * (places[:, None] - places[None])
        return np.concatenate([turned, away.reshape(bones, 3 * bones)])

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
        carry = self._carry(state.size * turns, places)
        for pull in pulls:
            # Of each point the way from each joint of what that joint carries, by which a turn of it moves the point.
            carried = pull.points.features @ carry  # (N, 66)
            moved = carried[:, :3] + places[0]  # the pelvis carries all
            off = pull.target - moved
            along = off if pull.normals is None else np.vecdot(pull.normals, off)[:, None]
            weight = 1.0 / np.sqrt(1.0 + np.vecdot(along, along) / self._huber_m**2)
            if pull.weight is not None:
                weight *= pull.weight
            grown = (moved - state.root) / state.size
            if pull.normals is None:
                pulled, wanted = _whole(carried, grown if sized else None, off, weight)
            else:
                pulled, wanted = _planes(carried, grown if sized else None, along[:, 0], pull.normals, weight)
            normal += pulled
            right += wanted
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


def _whole(carried: Array, grown: Array | None, off: Array, weight: Array) -> tuple[Array, Array]:
    """(U, U) normal matrix and (U,) right side of whole distances, weighted: of turns, the shift, and the size.

    The derivative by a joint's turn is -skew(c), c being what it carries. Of two joints skew(a)^T skew(b) is
    (a.b) I - b a^T, so that all blocks are in one product of the c, and no derivatives are written out.

    Args:
        carried: (N, 66). grown: (N, 3) derivatives by the size, None where that stays. off: (N, 3). weight: (N,).
    """
    count, ones = carried.shape[1], np.eye(3)
    rest = [off] if grown is None else [off, grown]
    found = np.concatenate([carried, *rest], axis=1)
    heavy = weight[:, None] * found
    product = heavy.T @ found  # (66 + 3 or 6,) squared
    blocks = product[:count, :count].reshape(count // 3, 3, count // 3, 3)
    dots = np.einsum("jaka->jk", blocks)
    size = count + 3 + len(rest) - 1
    normal, right = np.zeros((size, size)), np.zeros(size)
    turns = dots[:, None, :, None] * ones[None, :, None, :] - blocks.transpose(0, 3, 2, 1)
    normal[:count, :count] = turns.reshape(count, count)
    total = heavy.sum(axis=0)
    normal[:count, count : count + 3] = skew(total[:count].reshape(-1, 3)).reshape(count, 3)
    normal[count : count + 3, :count] = normal[:count, count : count + 3].T
    normal[count : count + 3, count : count + 3] = weight.sum() * ones
    right[:count] = _crossed(product[:count, count : count + 3])
    right[count : count + 3] = total[count : count + 3]
    if grown is not None:
        normal[:count, -1] = _crossed(product[:count, -3:])
        normal[count : count + 3, -1] = total[-3:]
        normal[-1, :-1] = normal[:-1, -1]
        normal[-1, -1] = np.trace(product[-3:, -3:])
        right[-1] = np.trace(product[-3:, count : count + 3])
    return normal, right


def _crossed(product: Array) -> Array:
    """(66,) sums of c x d out of those of c d^T, (66, 3)."""
    p = product.reshape(-1, 3, 3)
    return np.stack([p[:, 1, 2] - p[:, 2, 1], p[:, 2, 0] - p[:, 0, 2], p[:, 0, 1] - p[:, 1, 0]], axis=1).reshape(-1)


def _planes(
    carried: Array, grown: Array | None, along: Array, normals: Array, weight: Array
) -> tuple[Array, Array]:  # fmt: skip
    """The same of distances along normals: (N,) they are, and (N, 3) normals."""
    turns = np.cross(carried.reshape(len(carried), -1, 3), normals[:, None]).reshape(carried.shape)
    columns = [turns, normals] if grown is None else [turns, normals, np.vecdot(normals, grown)[:, None]]
    rates = np.concatenate(columns, axis=1)
    heavy = weight[:, None] * rates
    return heavy.T @ rates, heavy.T @ along
