"""What a take's own scans say before any search: a canonical shape, and which bones a place there follows.

Ours, not the paper's, whose networks begin at random and are trained on some hundred times as many points. Skinning
that a fitted body gives the scans is undone in some frames, each by itself, so that no frame is told which vertex of
another is which; what training goes on from is an average scan with the body's weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor

from bodystream.avatar.take.frames import AvatarTake
from bodystream.types import Array
from bodystream_training.avatar.baselines import canonical_scans
from bodystream_training.avatar.data.surface import QuerySurface
from bodystream_training.avatar.model import Ins

__all__ = ["FirstShape", "first_shape", "shape_terms"]

_FRAMES = 12
_BESIDE_M = (0.005, 0.03, 0.15)  # how far from a surface points are drawn, a third of them each
_AROUND_M = 0.4  # as far as the canonical surface is looked for
_NEIGHBOURS = 12  # vertices of the scans whose weights a place has the mean of


@dataclass(frozen=True)
class FirstShape:
    """Places in the canonical space.

    Attributes:
        points: (N, 3) float32 [m].
        inside: (N,) float32, the share of the scans that a place is inside of.
        weights: (N, B) float32 of the bones, rows sum to one.
    """

    points: Array
    inside: Array
    weights: Array


def first_shape(take: AvatarTake, count: int, seed: int) -> FirstShape:
    """Of at most 12 frames to train on, evenly over them.

    Args:
        count: places; four fifths beside the scans, the others in a box around them.

    Raises:
        InputError: the take has no skinning weights, or its frames do not share their vertices.
    """
    scans, weights, faces = canonical_scans(take, _FRAMES)
    rng = np.random.default_rng(seed)
    cloud = np.concatenate(scans)
    beside = cloud[rng.integers(len(cloud), size=count * 4 // 5)]
    reach = rng.choice(_BESIDE_M, size=(len(beside), 1))
    low, high = cloud.min(0) - _AROUND_M, cloud.max(0) + _AROUND_M
    box = rng.uniform(low, high, (count - len(beside), 3))
    points = np.concatenate([beside + rng.normal(size=beside.shape) * reach, box]).astype(np.float32)
    inside = np.mean([QuerySurface(scan.astype(np.float32), faces).nearest(points).inside for scan in scans], 0)
    distance, found = KDTree(cloud).query(points, _NEIGHBOURS)
    nearest = np.asarray(found) % len(weights)
    share = 1.0 / (distance + 1e-4)
    share /= share.sum(1, keepdims=True)
    carried = np.zeros((len(points), weights.shape[1]))
    for column in range(_NEIGHBOURS):
        carried += share[:, column, None] * weights[nearest[:, column]]
    return FirstShape(points, inside.astype(np.float32), carried.astype(np.float32))


def shape_terms(model: Ins, points: Tensor, inside: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """How far occupancy and weights are from those of a first shape, as cross-entropies.

    Args:
        points: (M, 3). inside: (M,). weights: (M, B).
    """
    logits = model.occupied(points, points.new_zeros(len(points), model.config.embedding))
    terms = {"shape": F.binary_cross_entropy_with_logits(logits, inside)}
    if model.weights is not None:
        found = model.weights(points).clamp_min(1e-6)
        # Less the entropy of what is wanted, so that nothing is left where it is met.
        terms["follows"] = (weights * (weights.clamp_min(1e-6).log() - found.log())).sum(-1).mean()
    return terms
