"""Bodies of the SMPL family as far as public takes need them: their rest, their bones in a pose, skinning.

SMPL is defined in its own frame (y up, facing +z, the left at +x); its rest is a T-pose. A model is a plain `.npz`
with `v_template` (V, 3), `shapedirs` (V, 3, B), `J_regressor` (J, V), `weights` (V, J) and `f` (F, 3), of 24 joints
(SMPL) or 52 (SMPL-H, whose fingers go with the hands). Models are under licences of their own and never part of this
project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar.take.canonical import BONE_PARENTS, BONES, canonical_rotations
from bodystream.bundles.arrays import load_npz
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["SmplBody", "fitted_rigidly", "load_smpl_body"]

_MAX_BYTES = 1 << 30
_NAMES = ("v_template", "shapedirs", "J_regressor", "weights", "f")
_OURS_FROM_SMPL = np.diag([-1.0, 1.0, -1.0])  # a turn about y
_SMPLH_JOINTS, _FIRST_FINGERS, _KNUCKLES = 52, (22, 37), (0, 3, 6, 9, 12)


@dataclass(frozen=True, slots=True)
class SmplBody:
    """One person at rest, in SMPL's frame [m].

    Attributes:
        vertices: (V, 3), faces: (F, 3) int32, joints: (24, 3), weights: (V, 24), rows that sum to one.
    """

    vertices: Array
    faces: Array
    joints: Array
    weights: Array

    def posed_from_rest(self, rotations: Array) -> Array:
        """(24, 4, 4) of the bones, from (24, 3, 3) rotations in each parent's frame; the pelvis stays in its place."""
        world = np.tile(np.eye(4), (len(BONES), 1, 1))
        for bone, parent in enumerate(BONE_PARENTS):
            local = np.eye(4)
            local[:3, :3] = rotations[bone]
            local[:3, 3] = self.joints[bone] - (self.joints[parent] if parent >= 0 else 0.0)
            world[bone] = local if parent < 0 else world[parent] @ local
        at_rest = np.tile(np.eye(4), (len(BONES), 1, 1))
        at_rest[:, :3, 3] = -self.joints
        return world @ at_rest

    def canonical_from_rest(self) -> tuple[Array, Array]:
        """(24, 4, 4) from the rest to the canonical pose in this project's frame, and (24, 3) joints there."""
        star = np.tile(np.eye(3), (len(BONES), 1, 1))
        star[: len(JOINTS)] = _OURS_FROM_SMPL @ canonical_rotations() @ _OURS_FROM_SMPL.T
        frame = np.eye(4)
        frame[:3, :3] = _OURS_FROM_SMPL
        frame[:3, 3] = -_OURS_FROM_SMPL @ self.joints[0]
        transforms = frame @ self.posed_from_rest(star)
        return transforms, np.einsum("bij,bj->bi", transforms[:, :3, :3], self.joints) + transforms[:, :3, 3]

    def skinned(self, transforms: Array) -> Array:
        """(V, 3): the rest's vertices by (24, 4, 4) transforms of the bones."""
        blended = np.einsum("vb,bij->vij", self.weights, transforms[:, :3])
        return np.einsum("vij,vj->vi", blended[..., :3], self.vertices) + blended[..., 3]


def load_smpl_body(model: Path, betas: Array | None = None, rest: Array | None = None) -> SmplBody:
    """A person by a model and a shape, or by the rest surface itself.

    Args:
        betas: the shape; as many as the model has are used. rest: (V, 3) in its stead.

    Raises:
        InputError: the model's arrays are not there or do not fit each other, or `rest` has another number of vertices.
    """
    arrays = load_npz(model, _MAX_BYTES, _NAMES)
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise InputError(f"{model} lacks {', '.join(missing)}: it must be a model of the SMPL family as plain .npz")
    template, directions, regressor, weights = (np.asarray(arrays[name], np.float64) for name in _NAMES[:4])
    count, joints = len(template), len(regressor)
    shapes = ((count, 3), (count, 3, directions.shape[-1]), (joints, count), (count, joints))
    got = tuple(a.shape for a in (template, directions, regressor, weights))
    if got != shapes or joints not in (len(BONES), _SMPLH_JOINTS):
        raise InputError(
            f"{model}: {', '.join(_NAMES[:4])} are {got}, wanted (V, 3), (V, 3, B), (J, V) and (V, J) with 24 joints "
            "(SMPL) or 52 (SMPL-H)"
        )
    if rest is None:
        shape = np.zeros(0) if betas is None else np.asarray(betas, np.float64).reshape(-1)[: directions.shape[2]]
        rest = template + directions[:, :, : len(shape)] @ shape
    elif rest.shape != template.shape:
        raise InputError(f"the rest surface has shape {rest.shape}, the model {model} has {template.shape}")
    places = regressor @ rest
    if joints == _SMPLH_JOINTS:
        hands = [slice(first, first + 15) for first in _FIRST_FINGERS]
        palms = [places[hand][list(_KNUCKLES)].mean(axis=0) for hand in hands]
        places = np.concatenate([places[: len(JOINTS)], palms])
        fingers = np.stack([weights[:, hand].sum(axis=1) for hand in hands], axis=1)
        weights = np.concatenate([weights[:, : len(JOINTS)], fingers], axis=1)
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return SmplBody(rest, np.asarray(arrays["f"]).astype(np.int32), places, weights)


def fitted_rigidly(start: Array, end: Array) -> tuple[Array, float]:
    """The rigid (4, 4) that brings (N, 3) points nearest to others, and the mean distance that is left [m].

    By the polar factor of the correlation (Kabsch, 1976).
    """
    middle, to_middle = start.mean(axis=0), end.mean(axis=0)
    turn = Rotation.align_vectors(end - to_middle, start - middle)[0]
    out = np.eye(4)
    out[:3, :3] = turn.as_matrix()
    out[:3, 3] = to_middle - out[:3, :3] @ middle
    left = np.linalg.norm(start @ out[:3, :3].T + out[:3, 3] - end, axis=1).mean()
    return out, float(left)
