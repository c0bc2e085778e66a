"""What a body is registered to: the surface of a mesh, or points on one, with normals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.checks import inward_volume
from bodystream.body.nearest import BodySurface
from bodystream.errors import InputError
from bodystream.geometry.normals import unit_normals, vertex_normals
from bodystream.types import Array, Mesh

__all__ = ["Target", "target_of_mesh", "target_of_points", "with_normals"]

_SAMPLES = 40_000
_NORMAL_M = 0.08
"""Of two points whose normals differ by one, the distance that this adds when the nearest is sought."""
_FEWEST = 50
"""Points of which something can be said about a body."""
_RING = 12
"""Neighbours of which the normal of a point without one is taken."""
_R2 = (0.7548776662466927, 0.5698402909980532)
"""Steps of a sequence that fills the unit square evenly (M. Roberts, "The Unreasonable Effectiveness of Quasirandom
Sequences", 2018)."""


@dataclass(frozen=True)
class Target:
    """Points of a surface.

    Attributes:
        points: (N, 3) float64 [m]. normals: (N, 3) float64 unit vectors.
        oriented: whether normals point outwards; else their sign says nothing.
        area_m2: of the surface that each point stands for.
        mesh: the mesh that points are from, None for clouds.
        flat: faces of the mesh that have no area, and count for nothing.
    """

    points: Array
    normals: Array
    oriented: bool
    area_m2: float
    mesh: Mesh | None = None
    flat: int = 0

    @cached_property
    def tree(self) -> KDTree:
        """Of the points."""
        return KDTree(self.points)

    @cached_property
    def facing_tree(self) -> KDTree:
        """Of the points and their normals, by `with_normals`."""
        return KDTree(with_normals(self.points, self.normals))

    @cached_property
    def spacing_m(self) -> float:
        """How far points are apart: the side of the square that each stands for."""
        return float(np.sqrt(self.area_m2))

    def facing(self, vertices: Array, normals: Array) -> Target:
        """The same with normals that are oriented as those of a surface nearby.

        Args:
            vertices: (V, 3) of a body that lies roughly on it. normals: (V, 3) outwards.
        """
        if self.oriented:
            return self
        near = np.asarray(KDTree(vertices).query(self.points)[1])
        side = np.where(np.vecdot(self.normals, normals[near]) < 0.0, -1.0, 1.0)
        return replace(self, normals=side[:, None] * self.normals, oriented=True)

    def distances(self, points: Array) -> Array:
        """(M,) distances [m] of (M, 3) points to the mesh; of a cloud to the plane of the nearest point, and what is
        farther along it than points are apart."""
        if self.mesh is None:
            away = np.asarray(points, np.float64)
            nearest = np.asarray(self.tree.query(away)[1])
            away = away - self.points[nearest]
            across = np.abs(np.vecdot(away, self.normals[nearest]))
            along = np.sqrt(np.maximum(np.vecdot(away, away) - across**2, 0.0))
            return np.hypot(across, np.maximum(along - self.spacing_m, 0.0))
        return self._surface.distances(np.asarray(points, np.float64))

    @cached_property
    def _surface(self) -> BodySurface:
        assert self.mesh is not None
        return BodySurface(self.mesh.vertices, self.mesh.faces)


def target_of_mesh(mesh: Mesh, where: str = "the target", samples: int = _SAMPLES) -> Target:
    """The surface of a mesh of any topology, with holes or not, evenly sampled.

    Raises:
        InputError: no faces, faces that lead out of the mesh or hold a vertex twice, vertices that are not finite, or
            faces that look inwards.
    """
    vertices, faces = _finite(mesh.vertices, where), np.asarray(mesh.faces)
    if faces.ndim != 2 or faces.shape[1:] != (3,) or not len(faces):
        raise InputError(f"{where} has no triangles: give a mesh, or points as such")
    outside = ((faces < 0) | (faces >= len(vertices))).any(axis=1)
    if outside.any():
        face = int(outside.argmax())
        raise InputError(f"{where}: face {face} is {faces[face].tolist()}, and the mesh has {len(vertices)} vertices")
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = 0.5 * np.linalg.norm(cross, axis=1)
    total = float(areas.sum())
    if not total > 0.0:
        raise InputError(f"{where}: none of its {len(faces)} faces has an area")
    # Of an open surface, as one side of a person, nothing is said; `register` sees how it faces.
    if (volume := inward_volume(vertices, faces)) is not None:
        raise InputError(
            f"{where} is mirrored, its faces look inwards (volume {volume:.3g}): change the sign of one axis, or turn "
            "all faces where they were written the other way round"
        )
    edges = np.concatenate([[0.0], np.cumsum(areas)])
    at = (np.arange(samples) + 0.5) * total / samples
    chosen = np.minimum(np.searchsorted(edges, at, side="right") - 1, len(faces) - 1)
    u, v = (np.mod(step * np.arange(1, samples + 1), 1.0) for step in _R2)
    over = u + v > 1.0
    u, v = np.where(over, 1.0 - u, u), np.where(over, 1.0 - v, v)
    weights = np.stack([1.0 - u - v, u, v], axis=1)
    points = np.einsum("nk,nki->ni", weights, corners[chosen])
    smooth = vertex_normals(vertices, faces).astype(np.float64)[faces[chosen]]
    normals = unit_normals(np.einsum("nk,nki->ni", weights, smooth)).astype(np.float64)
    whole = Mesh(vertices, faces.astype(np.int32))
    return Target(points, normals, True, total / samples, whole, int((areas <= 0.0).sum()))


def target_of_points(points: Array, normals: Array | None = None, where: str = "the target") -> Target:
    """A cloud of (N, 3) points [m], with (N, 3) outward normals or without.

    Raises:
        InputError: there are hardly any points, numbers that are not finite, or normals of another shape or length.
    """
    points = _finite(points, where)
    if len(points) < _FEWEST:
        raise InputError(f"{where} has {len(points)} points, at least {_FEWEST} are needed to lay a body on them")
    tree = KDTree(points)
    if normals is None:
        near = np.asarray(tree.query(points, k=min(_RING, len(points)))[1])
        away = points[near] - points[near].mean(axis=1, keepdims=True)
        found = np.linalg.eigh(away.swapaxes(1, 2) @ away)[1][:, :, 0]
    else:
        found = np.asarray(normals, np.float64)
        if found.shape != points.shape or not np.isfinite(found).all():
            raise InputError(f"{where}: normals must be finite and of shape {points.shape}, got {found.shape}")
        lengths = np.linalg.norm(found, axis=1)
        if lengths.min() < 1e-6:
            raise InputError(f"{where}: the normal of point {int(lengths.argmin())} has no length")
        found = found / lengths[:, None]
    # In the plane the third neighbour is about as far as the side of the square that a point has to itself, on a grid
    # and by chance alike.
    step = np.median(np.asarray(tree.query(points[:: max(1, len(points) // 2000)], k=4)[0])[:, 3])
    return Target(points, found, normals is not None, float(step**2))


def with_normals(points: Array, normals: Array) -> Array:
    """(N, 6): what is near in it is near and faces the same way."""
    return np.concatenate([points, _NORMAL_M * normals], axis=1)


def _finite(points: Array, where: str) -> Array:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or not len(points):
        raise InputError(f"{where} is empty or not of shape (N, 3), got {points.shape}: give points in metres")
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise InputError(f"{where}: point {int(bad.argmax())} is not finite ({int(bad.sum())} such): leave them out")
    return points
