"""Which place of a target belongs to which vertex, and what is refused because none can."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.checks import likely_unit
from bodystream.body.target import Target, with_normals
from bodystream.errors import InputError
from bodystream.geometry.normals import vertex_normals
from bodystream.types import Array

__all__ = ["Landmarks", "Matches", "check_placed", "match", "pair_weights"]

_FACING = 0.5
"""Cosine of the angle between two normals beyond which points do not belong together."""
_BESIDE = 2.5
"""How far a match may lie beside its vertex, in distances between the target's points; beyond it is the rim of a
hole."""
_SLOPE = 0.5
_FAR = 3.0
_BACK_SHARE = 0.5
"""What matches of the target's points weigh beside those of the vertices."""
_BACK_POINTS = 20_000
_NEAR_M = 0.15
_LANDMARK_M = 0.3
_INWARDS = 0.7
_AXES = "xyz"


@dataclass(frozen=True)
class Landmarks:
    """Vertices whose places on the target somebody knows.

    Attributes:
        vertices: (L,) int. points: (L, 3) [m].
    """

    vertices: Array
    points: Array


@dataclass(frozen=True)
class Matches:
    """Of each vertex the quadratic term that draws it to the target: `p' blocks p - 2 pulls . p`.

    Attributes:
        blocks: (V, 3, 3) [m^2]. pulls: (V, 3) [m^3].
        weight: (V,) of its own match, 0 where it has none.
    """

    blocks: Array
    pulls: Array
    weight: Array


def match(vertices: Array, normals: Array, areas: Array, target: Target, reach_m: float) -> Matches:
    """Point-to-plane terms of vertices and of the target's points, each with the nearest that faces the same way.

    Args:
        vertices, normals: (V, 3) of the body. areas: (V,) [m^2].
        target: oriented. reach_m: see `RegistrationStage`.
    """
    found = np.asarray(target.facing_tree.query(with_normals(vertices, normals))[1])
    weight = pair_weights(vertices, normals, target.points[found], target.normals[found], target.spacing_m, reach_m)
    n, v = target.normals[found], target.points[found]
    blocks = (weight * areas)[:, None, None] * (n[:, :, None] * n[:, None, :])
    pulls = np.einsum("vij,vj->vi", blocks, v)
    # The other way round: what of the target stands out, as toes and noses, is nobody's nearest.
    step = max(1, len(target.points) // _BACK_POINTS)
    v, n = target.points[::step], target.normals[::step]
    near = np.asarray(KDTree(with_normals(vertices, normals)).query(with_normals(v, n))[1])
    spacing = np.sqrt(areas[near])
    back = pair_weights(vertices[near], normals[near], v, n, spacing, reach_m)
    share = _BACK_SHARE * back * target.area_m2 * step
    for i in range(3):
        for j in range(3):
            blocks[:, i, j] += np.bincount(near, share * n[:, i] * n[:, j], len(vertices))
        pulls[:, i] += np.bincount(near, share * n[:, i] * np.vecdot(n, v), len(vertices))
    return Matches(blocks, pulls, weight)


def pair_weights(p: Array, p_normals: Array, v: Array, n: Array, spacing: Array | float, reach_m: float) -> Array:
    """(N,) weights of pairs of points, 0 of those that do not belong together (Geman and McClure's else).

    Args:
        p, p_normals: (N, 3) of a body. v, n: (N, 3) of a target, and normals.
        spacing: how far points are apart [m]. reach_m: see `RegistrationStage`.
    """
    away = v - p
    square = np.vecdot(away, away)
    across = np.abs(np.vecdot(away, n))
    beside = np.sqrt(np.maximum(square - across**2, 0.0))
    fits = (np.vecdot(p_normals, n) > _FACING) & (beside <= _BESIDE * spacing + _SLOPE * across)
    fits &= square < (_FAR * reach_m) ** 2
    return np.where(fits, 1.0 / (1.0 + square / reach_m**2) ** 2, 0.0)


def check_placed(vertices: Array, faces: Array, target: Target, landmarks: Landmarks | None) -> None:
    """Refuse a target on which a body does not lie at all, and landmarks that cannot be.

    Args:
        vertices: (V, 3) of the start [m]. faces: (F, 3).

    Raises:
        InputError: names the landmark, or says in what the target seems to differ: unit, axis that is up, place, side.
    """
    if landmarks is not None:
        _check_landmarks(landmarks, vertices, target)
    size, wanted = (float(np.ptp(points, axis=0).max()) for points in (target.points, vertices))
    if size > 3.0 * wanted or 30.0 * size < wanted:
        likely = likely_unit(size, 0.4 * wanted, 2.0 * wanted)
        seems = f", it seems to be in {likely}" if likely else ""
        raise InputError(f"the target is {size:.3g} wide or tall and the start {wanted:.3g}{seems}: give metres")
    off = _median_away(vertices, target)
    if off <= _NEAR_M:
        near = np.asarray(KDTree(vertices).query(target.points)[1])
        inwards = float((np.vecdot(vertex_normals(vertices, faces)[near], target.normals) < 0.0).mean())
        if inwards > _INWARDS:
            raise InputError(
                f"the target's faces look inwards where it lies on the start ({100 * inwards:.0f} % of them): it is "
                "mirrored, or its faces were written the other way round"
            )
        return
    middle = 0.5 * (target.points.min(axis=0) + target.points.max(axis=0))
    at = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    turns = {"x": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), "z": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])}
    for up, turn in turns.items():
        for sign in (1.0, -1.0):
            # The start as it would stand with that axis up, on the middle of the target.
            stood = (vertices - at) @ np.linalg.matrix_power(turn, 1 if sign > 0 else 3).T + middle
            if _median_away(stood, target) < 0.5 * _median_away(vertices - at + middle, target):
                raise InputError(
                    f"the target does not lie on the start: {up} seems to be up, and y must be: turn it first"
                )
    raise InputError(
        f"the target does not lie on the start, which is {100 * off:.0f} cm from it (median; at most "
        f"{100 * _NEAR_M:.0f} cm): fit a body to it first, or give landmarks to the fit"
    )


def _median_away(vertices: Array, target: Target) -> float:
    """[m] from points of the target to the nearest vertex: parts of a body that were not scanned do not count."""
    some = target.points[:: max(1, len(target.points) // 2000)]
    return float(np.median(KDTree(vertices).query(some)[0]))


def _check_landmarks(landmarks: Landmarks, vertices: Array, target: Target) -> None:
    chosen, points = np.asarray(landmarks.vertices), np.asarray(landmarks.points)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or points.shape != (len(chosen), 3):
        raise InputError(
            f"landmarks are whole numbers (L,) of vertices and (L, 3) points, got {chosen.dtype} of {chosen.shape} and "
            f"{points.shape}"
        )
    outside = (chosen < 0) | (chosen >= len(vertices))
    if outside.any():
        which = int(outside.argmax())
        raise InputError(
            f"landmark {which} is out of range: it is vertex {chosen[which]}, and the mesh has {len(vertices)}"
        )
    away = np.where(np.isfinite(points).all(axis=1), target.tree.query(np.nan_to_num(points))[0], np.inf)
    if len(away) and away.max() > _LANDMARK_M:
        which = int(away.argmax())
        raise InputError(
            f"landmark {which} is out of range: its place {points[which].tolist()} is not within "
            f"{100 * _LANDMARK_M:.0f} cm of the target: give places on it, in metres"
        )
