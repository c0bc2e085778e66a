"""Avatars without a network: canonical meshes by the skinning weights of a fitted body (AVG-LBS and FIRST-LBS)."""

from __future__ import annotations

import numpy as np

from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["SkinnedScan", "average_scan", "canonical_scans", "first_scan"]


class SkinnedScan:
    """A canonical mesh that is carried to each pose by linear blend skinning.

    Args:
        vertices: (V, 3) in the canonical pose [m].
        weights: (V, B), rows sum to one.
        faces: (F, 3).
    """

    def __init__(self, vertices: Array, weights: Array, faces: Array) -> None:
        self.vertices, self.weights, self.faces = vertices, weights, faces

    def posed(self, posed_from_canonical: Array) -> Array:
        """(V, 3) in a pose (B, 4, 4)."""
        blended = _blend(self.weights, posed_from_canonical)
        return np.einsum("vij,vj->vi", blended[:, :3, :3], self.vertices) + blended[:, :3, 3]


def first_scan(take: AvatarTake) -> SkinnedScan:
    """FIRST-LBS: the first frame that is trained on.

    Raises:
        InputError: the take has no skinning weights, or its frames do not share their vertices.
    """
    weights, faces = _shared(take)
    return SkinnedScan(_canonical(take.split("train")[0], weights), weights, faces)


def average_scan(take: AvatarTake) -> SkinnedScan:
    """AVG-LBS: the average of all frames that are trained on.

    Raises:
        InputError: as of `first_scan`.
    """
    weights, faces = _shared(take)
    return SkinnedScan(np.mean([_canonical(frame, weights) for frame in take.split("train")], 0), weights, faces)


def canonical_scans(take: AvatarTake, most: int) -> tuple[list[Array], Array, Array]:
    """At most so many frames that are trained on, evenly over them, each with its skinning undone.

    Returns:
        (V, 3) float64 [m] of each, (V, B) weights and (F, 3) faces of all.

    Raises:
        InputError: as of `first_scan`.
    """
    weights, faces = _shared(take)
    frames = take.split("train")
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return [_canonical(frames[number], weights) for number in chosen], weights, faces


def _shared(take: AvatarTake) -> tuple[Array, Array]:
    if take.skin_weights is None or take.faces is None:
        raise InputError(
            "AVG-LBS and FIRST-LBS carry a take's own vertices by skinning weights, and this take has none, or frames "
            "that do not share their vertices"
        )
    return take.skin_weights.astype(np.float64), take.faces


def _canonical(frame: PosedFrame, weights: Array) -> Array:
    back = np.linalg.inv(_blend(weights, frame.posed_from_canonical))
    return np.einsum("vij,vj->vi", back[:, :3, :3], frame.vertices.astype(np.float64)) + back[:, :3, 3]


def _blend(weights: Array, bones: Array) -> Array:
    return np.einsum("vb,bij->vij", weights, bones.astype(np.float64))
