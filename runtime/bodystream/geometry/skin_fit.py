"""Skinning weights for a surface that is known in several poses: what of its motion its bones can carry."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from bodystream.types import Array

__all__ = ["blended", "fit_weights", "unskinned"]

_CHUNK = 512  # vertices at once
_EVEN = 1e-7
"""Of the mean square distance that bones leave: what keeps weights of bones that move alike from being anything."""

_FLAT = 0.15
"""Of the volume about a vertex, what its bones have to leave."""


def fit_weights(rest_m: Array, posed_from_rest: Array, posed_m: Array, influences: int = 4) -> tuple[Array, Array]:
    """The bones of each vertex and their weights, by non-negative least squares over all poses.

    James and Twigg, "Skinning Mesh Animations" (2005), sec. 4.2, with bones that are known: all weights of a vertex at
    once, then those of its `influences` heaviest bones alone. Where these are turned against each other so far
    that they would press the surface flat, the vertex gets the one bone that comes nearest: from there it can be moved.

    Args:
        rest_m: (V, 3) [m].
        posed_from_rest: (F, B, 4, 4) of the bones.
        posed_m: (F, V, 3) the same vertices in the poses [m].

    Returns:
        (V, influences) int32 bones, and (V, influences) float32 weights that sum to one.
    """
    count, bones = len(rest_m), posed_from_rest.shape[1]
    which = np.zeros((count, influences), np.int32)
    weights = np.zeros((count, influences), np.float32)
    linear, shift = posed_from_rest[:, :, :3, :3], posed_from_rest[:, :, :3, 3]
    for start in range(0, count, _CHUNK):
        rest = rest_m[start : start + _CHUNK].astype(np.float64)
        # Where each bone alone would carry each vertex, less where it is: (v, F, 3, B). Weights sum to one, so that
        # their sum over it is what is left.
        off = np.einsum("fbij,vj->vfib", linear, rest) + shift.transpose(0, 2, 1)[None]
        off -= posed_m[:, start : start + _CHUNK].transpose(1, 0, 2)[..., None]
        flat = off.reshape(len(rest), -1, bones)
        gram = flat.swapaxes(1, 2) @ flat
        alone = np.einsum("vbb->vb", gram).argmin(axis=1)  # the bone that comes nearest by itself
        scale = np.trace(gram, axis1=1, axis2=2)[:, None, None] / bones + 1e-12
        gram = gram / scale + _EVEN * np.eye(bones) + 1.0  # + 1: the sum's distance from one, softly
        for row, system in enumerate(gram):
            found = _solve(system)
            heaviest = np.argsort(-found)[:influences]
            heavy = _solve(system[np.ix_(heaviest, heaviest)])
            which[start + row], weights[start + row] = heaviest, heavy / heavy.sum()
        part = slice(start, start + len(rest))
        carried = np.einsum("vk,fvkij->fvij", weights[part].astype(np.float64), linear[:, which[part]])
        flat = start + np.flatnonzero(np.linalg.det(carried).min(axis=0) < _FLAT)
        which[flat, 0], weights[flat] = alone[flat - start], np.eye(influences)[0]
    return which, weights


def _solve(system: Array) -> Array:
    """Weights of least `w' system w - 2 sum(w)` that are not negative."""
    lower = np.linalg.cholesky(system)
    return nnls(lower.T, np.linalg.solve(lower, np.ones(len(system))))[0]


def blended(bones: Array, weights: Array, posed_from_rest: Array) -> Array:
    """(V, 3, 4) of each vertex what its bones carry it by: (V, K) bones and weights, (B, 4, 4) of the bones."""
    parts = posed_from_rest[:, :3].reshape(-1, 12)
    out = np.zeros((len(bones), 12))
    for k in range(bones.shape[1]):
        out += weights[:, k, None].astype(np.float64) * parts[bones[:, k]]
    return out.reshape(-1, 3, 4)


def unskinned(transforms: Array, posed_m: Array, rest_m: Array) -> Array:
    """(V, 3) where vertices have to be at rest for (V, 3, 4) transforms to carry them to (V, 3) posed places [m].

    Where bones are turned against each other so far that a transform is nearly flat, a small weight keeps the place
    close to (V, 3) `rest_m`.
    """
    linear, shift = transforms[:, :, :3], transforms[:, :, 3]
    back = linear.swapaxes(1, 2)
    system = back @ linear + 1e-4 * np.eye(3)
    left = posed_m - shift - np.einsum("vij,vj->vi", linear, rest_m)
    return rest_m + np.linalg.solve(system, back @ left[..., None])[..., 0]
