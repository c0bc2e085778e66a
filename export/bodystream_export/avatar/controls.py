"""Which vertices are posed by tables, and how the others follow them.

What the networks do beyond skinning by bones varies slowly over the surface and, from pose to pose, in few ways. So it
is computed at some vertices, the controls, and each other vertex has a weighted sum of what its nearest ones have, with
weights that fit many poses. Weights are scalars: they do not care how a part of the body is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from bodystream.geometry.rotations import matrix_from_quaternion, matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array

__all__ = ["Following", "chosen_controls", "mixed_poses"]

_ROUNDS = 5
_APART_M = 0.3
"""How far vertices count as apart whose bones have nothing in common: sleeves do not follow the trunk."""
_TRUST_M = 3e-5
"""An error of the fit that is as bad as weights that are off by one from those of distances alone."""
_TURN_RAD = 0.08
_LIMBS = (
    ("left_hip", "left_knee", "left_ankle", "left_foot"),
    ("right_hip", "right_knee", "right_ankle", "right_foot"),
    ("left_collar", "left_shoulder", "left_elbow", "left_wrist"),
    ("right_collar", "right_shoulder", "right_elbow", "right_wrist"),
    ("neck", "head"),
)


@dataclass(frozen=True)
class Following:
    """How vertices follow controls.

    Attributes:
        controls: (P,) int32 vertices, in their order.
        near, shares: (V, N) int32 numbers of controls and float32.
        off_m: (V,) the most that a vertex is off by in the poses of the fit [m].
    """

    controls: Array
    near: Array
    shares: Array
    off_m: Array


def mixed_poses(rotations_xyzw: Array, count: int, seed: int = 0) -> Array:
    """(count, 22, 4) poses: trunk and each limb of some other of the (F, 22, 4) given ones, and all turned a little."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(len(rotations_xyzw), size=(count, len(_LIMBS) + 1))
    out = rotations_xyzw[frames[:, -1]].astype(np.float64)
    for limb, names in enumerate(_LIMBS):
        joints = [JOINT_INDEX[name] for name in names]
        out[:, joints] = rotations_xyzw[frames[:, limb]][:, joints]
    turns = matrix_from_rotation_vector(rng.normal(0.0, _TURN_RAD, (count, len(JOINTS), 3)))
    return quaternion_from_matrix(turns @ matrix_from_quaternion(out))


def chosen_controls(canonical: Array, weights: Array, beyond_m: Sequence[Array], count: int, near: int) -> Following:
    """Spread half of the controls evenly, and put the others where vertices follow worst.

    Args:
        canonical: (V, 3) vertices [m]. weights: (V, B) of the bones.
        beyond_m: of each pose (V, 3) what the networks do beyond skinning [m].
        count: of controls; near: of those that a vertex follows.
    """
    count = min(count, len(canonical))
    places = np.concatenate([canonical, _APART_M * 0.5**0.5 * weights], 1)
    moves = np.ascontiguousarray(np.stack(beyond_m, 1), np.float32).reshape(len(canonical), -1)  # (V, 3 T)
    controls = _spread(canonical, (count + 1) // 2)
    for left in range(_ROUNDS, 0, -1):
        following = _follow(places, moves, controls, near)
        if len(controls) >= count:
            break
        more = _worst(canonical, following.off_m, -(-(count - len(controls)) // left))
        controls = np.union1d(controls, more)[:count] if left > 1 else np.union1d(controls, more)
    return _follow(places, moves, controls, near)


def _spread(points: Array, count: int) -> Array:
    """About `count` of the points, evenly: the one nearest to the middle of each cell of a lattice."""
    low, high = 1e-3, float(np.ptp(points, 0).max())
    chosen = np.arange(len(points))
    for _ in range(30):
        cell = (low * high) ** 0.5
        keys = np.floor(points / cell).astype(np.int64)
        away = np.linalg.norm(points / cell - keys - 0.5, axis=1)
        order = np.lexsort((away, *keys.T))
        first = np.r_[True, (np.diff(keys[order], axis=0) != 0).any(1)]
        chosen = np.sort(order[first])
        if abs(len(chosen) - count) <= 0.01 * count:
            break
        low, high = (cell, high) if len(chosen) > count else (low, cell)
    return chosen


def _worst(points: Array, off_m: Array, count: int) -> Array:
    """The vertices that are off most, no two of them side by side."""
    order = np.argsort(-off_m)
    tree, free, out = KDTree(points), np.ones(len(points), bool), []
    for vertex in order:
        if len(out) == count:
            break
        if free[vertex]:
            out.append(vertex)
            free[tree.query_ball_point(points[vertex], 0.015)] = False
    return np.array(out, np.int64)


def _follow(places: Array, moves: Array, controls: Array, near: int) -> Following:
    near = min(near, len(controls))
    found: Any = KDTree(places[controls]).query(places, k=near)
    away, numbers = (np.reshape(part, (len(places), near)) for part in found)
    nearness = 1.0 / (away**2 + (0.3 * away[:, -1:]) ** 2 + 1e-12)
    by_distance = nearness / nearness.sum(1, keepdims=True)
    shares, off = np.zeros(numbers.shape, np.float32), np.zeros(len(places))
    doubt = moves.shape[1] * _TRUST_M**2 * np.eye(near)
    for begin in range(0, len(places), 2000):
        part = slice(begin, begin + 2000)
        theirs, own = moves[controls[numbers[part]]].astype(np.float64), moves[part].astype(np.float64)  # (v, N, 3 T)
        system = theirs @ theirs.transpose(0, 2, 1) + doubt
        wanted = theirs @ own[..., None] + (doubt @ by_distance[part, :, None])
        shares[part] = np.linalg.solve(system, wanted)[..., 0]
        rest = own - (shares[part, None].astype(np.float64) @ theirs)[:, 0]
        off[part] = np.linalg.norm(rest.reshape(len(rest), -1, 3), axis=-1).max(1)
    own = np.zeros((len(controls), near), np.float32)
    own[:, 0] = 1.0
    shares[controls], numbers[controls, 0] = own, np.arange(len(controls))
    off[controls] = 0.0
    return Following(controls.astype(np.int32), numbers.astype(np.int32), shares, off)
