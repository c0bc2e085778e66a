"""Joints as means of vertices: what is inside a body, told by its surface."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from bodystream.types import Array

__all__ = ["fit_joint_weights"]

_CANDIDATES, _SPREAD = 160, 300
_SUM_WEIGHT = 10.0
_ALONG = 0.9
"""Cosine of the angle to a direction within which a vertex lies along it."""


def fit_joint_weights(meshes: Array, joints: Array) -> Array:
    """(J, V) float32 weights, not negative, rows summing to one, whose means of vertices are nearest to the joints.

    As joint regressors of body models are made (Loper et al., "SMPL", 2015, sec. 3), by non-negative least squares
    over vertices about each joint and some all over the body, by which joints may go with its proportions.

    Args:
        meshes: (N, V, 3) of several people in one pose [m]. joints: (N, J, 3) theirs [m].
    """
    count = meshes.shape[1]
    weights = np.zeros((joints.shape[1], count), np.float32)
    for joint in range(joints.shape[1]):
        away = meshes - joints[:, joint, None]  # (N, V, 3)
        chosen = np.union1d(_around(away[0]), np.arange(0, count, max(1, count // _SPREAD)))
        system = away[:, chosen].swapaxes(1, 2).reshape(-1, len(chosen))
        scale = _SUM_WEIGHT * np.sqrt(len(meshes))
        found, _ = nnls(np.vstack([system, np.full(len(chosen), scale)]), np.r_[np.zeros(len(system)), scale])
        weights[joint, chosen] = found / found.sum()
    return weights


def _around(away: Array) -> Array:
    """Vertices on all sides: of each of some directions, evenly spread, the nearest one that lies there."""
    number = np.arange(_CANDIDATES) + 0.5
    height, turn = 1.0 - 2.0 * number / _CANDIDATES, np.pi * (1.0 + np.sqrt(5.0)) * number
    ring = np.sqrt(1.0 - height**2)
    directions = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1)
    lengths = np.linalg.norm(away, axis=1)
    along = (away / lengths[:, None]) @ directions.T
    # Where the body ends before a direction, the vertex that lies best along it.
    cost = np.where(along > _ALONG, lengths[:, None], 10.0 - along)
    return np.unique(cost.argmin(axis=0))
