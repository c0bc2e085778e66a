"""How high the skin of the shipped body is above the floor in a pose: its lowest points, without posing its surface."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.geometry.skinning import influences
from bodystream.types import Array, SkinnedMesh

__all__ = ["SkinHeights", "rows_of"]

_FRAMES_AT_ONCE = 256


class SkinHeights:
    """Heights of the shipped body's skin in a person's proportions, by linear blend skinning.

    The height of a vertex is linear in the heights of the joints and the vertical rows of their orientations, so that
    one sparse product gives those of all vertices in many poses, exactly.

    Args:
        skeleton: the person's proportions; None for the body's own.
        rig: the body, or some of its vertices; default: the shipped one.

    Raises:
        InputError: a skeleton that no body has; see `fit_rig`.
        BundleError: the shipped body is missing or damaged.
    """

    def __init__(self, skeleton: Skeleton | None = None, rig: SkinnedMesh | None = None) -> None:
        skin = fit_rig(load_rig() if rig is None else rig, skeleton).skin
        bones, weights, _ = influences(skin)
        self.bones: Array = bones[np.arange(len(bones)), weights.argmax(axis=1)]
        """(V,) the bone that moves each vertex most."""
        vertices, count = skin.mesh.vertices.astype(np.float64), len(bones)
        terms = np.zeros((count, 4, 4))  # of each influence: three for the bone's vertical row, one for its height
        for influence in range(4):
            from_bind = skin.bone_from_bind[bones[:, influence]]
            local = np.einsum("vab,vb->va", from_bind[:, :3, :3], vertices) + from_bind[:, :3, 3]
            terms[:, influence, :3] = weights[:, influence, None] * local
            terms[:, influence, 3] = weights[:, influence]
        columns = 4 * bones[..., None] + np.arange(4)
        rows = np.broadcast_to(np.arange(count)[:, None, None], columns.shape)
        self.matrix = csr_array((terms.ravel(), (rows.ravel(), columns.ravel())), shape=(count, 4 * len(JOINTS)))
        """(V, 88) that gives heights of `rows_of`."""

    def lowest_m(self, positions_m: Array, world: Array) -> Array:
        """(T,) height of the lowest vertex in each pose [m].

        Args:
            positions_m: (T, 22, 3) joints in the world, the floor at y = 0 [m].
            world: (T, 22, 3, 3) their orientations in the world.
        """
        rows = rows_of(positions_m, world)
        parts = [rows[i : i + _FRAMES_AT_ONCE] for i in range(0, len(rows), _FRAMES_AT_ONCE)]
        return np.concatenate([np.zeros(0), *((self.matrix @ part.T).min(axis=0) for part in parts)])


def rows_of(positions_m: Array, world: Array) -> Array:
    """(..., 88) of each joint the vertical row of its orientation and its height, as `SkinHeights.matrix` takes them.

    Args:
        positions_m: (..., 22, 3) joints in the world [m].
        world: (..., 22, 3, 3) their orientations.
    """
    rows = np.concatenate([world[..., 1, :], positions_m[..., 1:2]], axis=-1)
    return rows.reshape(*rows.shape[:-2], 4 * len(JOINTS))
