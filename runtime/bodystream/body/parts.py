"""The sixteen parts of a body and their own deformation, the coarse feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from bodystream.body.axis_angle import nearest_turns
from bodystream.body.polar import polar, vectors_from_symmetric
from bodystream.errors import InputError
from bodystream.geometry.rotations import rotation_vector_from_matrix
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["PARTS", "BodyParts", "parts_of_joints"]

PARTS = (
    "hips", "abdomen", "chest", "head",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shin", "left_foot", "right_thigh", "right_shin", "right_foot",
)  # fmt: skip
"""As SCAPE divides a body (fig. 1)."""

_OF_JOINT = {
    "pelvis": "hips", "spine1": "abdomen", "spine2": "abdomen", "spine3": "chest", "left_collar": "chest",
    "right_collar": "chest", "neck": "head", "head": "head",
} | {
    f"{side}_{joint}": f"{side}_{part}"
    for side in ("left", "right")
    for joint, part in (
        ("shoulder", "upper_arm"), ("elbow", "forearm"), ("wrist", "hand"), ("hip", "thigh"), ("knee", "shin"),
        ("ankle", "foot"), ("foot", "foot"),
    )
}  # fmt: skip
_REACH_M = 0.12
_FEWEST = 4


def parts_of_joints() -> Array:
    """(22,) int: the part to which what follows each joint of `geometry.skeleton.JOINTS` belongs."""
    return np.array([PARTS.index(_OF_JOINT[joint]) for joint in JOINTS])


@dataclass(frozen=True)
class BodyParts:
    """The part that each vertex is in.

    Attributes:
        reference: (V, 3) float64 q [m].
        labels: (V,) int in 0 to `count` - 1.
        count: of parts; the paper's 16, fewer for small meshes.

    Raises:
        InputError: labels that do not fit, or a part of fewer than four vertices, whose transform is not determined.
    """

    reference: Array
    labels: Array
    count: int = len(PARTS)

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.reference),) or self.labels.dtype.kind not in "iu":
            raise InputError(
                f"a part is wanted of each of {len(self.reference)} vertices as a whole number, got "
                f"{self.labels.dtype} of shape {self.labels.shape}"
            )
        least, most = int(self.labels.min()), int(self.labels.max())
        if least < 0 or most >= self.count:
            raise InputError(f"parts must be numbered 0 to {self.count - 1}, got {least} to {most}")
        sizes = np.bincount(self.labels, minlength=self.count)
        if sizes.min() < _FEWEST:
            part = int(sizes.argmin())
            raise InputError(
                f"part {part} has {sizes[part]} vertices, at least {_FEWEST} are needed to say how it moves"
            )

    def features(self, vertices: Array, features: Array) -> Array:
        """(count, 9) coarse feature g (eq. 2-4): the affine transform of each part, its rotation vector the one that
        is nearest to the mean of its vertices'.

        Args:
            vertices: (V, 3) p [m]. features: (V, 9) their ACAP features.
        """
        total = self._sums()
        sizes = np.bincount(self.labels, minlength=self.count)[:, None].astype(np.float64)
        q = self.reference - ((total @ self.reference) / sizes)[self.labels]
        p = np.asarray(vertices, np.float64)
        p = p - ((total @ p) / sizes)[self.labels]
        both = (total @ (p[:, :, None] * q[:, None, :]).reshape(-1, 9)).reshape(-1, 3, 3)
        own = (total @ (q[:, :, None] * q[:, None, :]).reshape(-1, 9)).reshape(-1, 3, 3)
        rotations, symmetric = polar(both @ np.linalg.inv(own))
        vectors = rotation_vector_from_matrix(rotations)
        angles = np.linalg.norm(vectors, axis=1)
        axes = vectors / np.maximum(angles, 1e-12)[:, None]
        mean = (total @ features[:, :3]) / sizes
        vectors = axes * (angles + 2.0 * np.pi * nearest_turns(axes, angles, mean))[:, None]
        return np.concatenate([vectors, vectors_from_symmetric(symmetric)], axis=1)

    def nearby(self, start: Array, end: Array, reach_m: float = _REACH_M) -> Array:
        """(V, count) bool: parts that a vertex may follow, its own and those whose border is near along the surface.

        Args:
            start, end: (E,) directed edges of the mesh, both directions of each.
        """
        count = len(self.reference)
        lengths = np.linalg.norm(self.reference[start] - self.reference[end], axis=1)
        graph = csr_matrix((lengths, (start, end)), shape=(count, count))
        near = np.zeros((count, self.count), bool)
        for part in range(self.count):
            inside = np.flatnonzero(self.labels == part)
            near[:, part] = np.isfinite(dijkstra(graph, indices=inside, min_only=True, limit=reach_m))
        return near

    def _sums(self) -> csr_matrix:
        count = len(self.labels)
        return csr_matrix((np.ones(count), (self.labels, np.arange(count))), shape=(self.count, count))
