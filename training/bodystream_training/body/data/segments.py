"""Parts of a body of which nobody said where they are: vertices that are near each other and turn alike."""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from bodystream.types import Array

__all__ = ["segmented"]

_TURN_M = 0.25
"""Distance that counts as much as one radian between two vertices' rotations."""
_FEWEST = 8


def segmented(reference: Array, vectors: Array, parts: int, seed: int = 0) -> Array:
    """(V,) the part that each vertex is in, numbered from 0, at most `parts` of them.

    Args:
        reference: (V, 3) [m]. vectors: (N, V, 3) rotation vectors of the vertices in N poses [rad].
    """
    turns = np.moveaxis(vectors, 0, 1).reshape(len(reference), -1) / np.sqrt(len(vectors))
    traits = np.concatenate([reference, _TURN_M * turns], axis=1)
    parts = max(1, min(parts, len(reference) // _FEWEST))
    _, labels = kmeans2(traits, parts, iter=30, minit="++", rng=np.random.default_rng(seed))
    # A part of few vertices has no transform of its own: it goes to the nearest large one.
    sizes = np.bincount(labels, minlength=parts)
    large = np.flatnonzero(sizes >= _FEWEST)
    centres = np.stack([traits[labels == part].mean(axis=0) for part in large])
    for part in np.flatnonzero((sizes < _FEWEST) & (sizes > 0)):
        mine = labels == part
        away = np.linalg.norm(traits[mine].mean(axis=0) - centres, axis=1)
        labels[mine] = large[away.argmin()]
    return np.unique(labels, return_inverse=True)[1]
