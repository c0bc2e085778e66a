"""Hollows of a body that nobody looks into: a mouth behind closed lips."""

from __future__ import annotations

import numpy as np
import trimesh

from bodystream.types import Array
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["hollow_faces"]

_WAYS = 128
_SEEN = 0.03  # of the ways out in front of a face, as many lead outside where it is seen
_OFF_M = 1e-4
_GOLDEN = np.pi * (1.0 + 5.0**0.5)


def hollow_faces(vertices: Array, faces: Array, among: Array) -> Array:
    """(F,) whether a face is of the largest hollow: faces beside each other from which hardly a way leads outside.

    What is learned from a surface takes a mouth for outside, as its winding number does, and cannot tell lips from a
    hole where they are thinner than it sees.

    Args:
        vertices: (V, 3) [m]. faces: (F, 3).
        among: (F,) faces that may be of it, as those of the head.
    """
    chosen = np.flatnonzero(among)
    corners = vertices[faces[chosen]].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    starts = corners.mean(1) + _OFF_M * normals
    surface = QuerySurface(vertices, faces)
    ways, out = np.zeros(len(chosen)), np.zeros(len(chosen))
    for way in _directions(_WAYS):
        ahead = normals @ way > 0.05
        met, _ = surface.hit(starts[ahead], way)
        ways[ahead] += 1
        out[ahead] += met < 0
    hidden = chosen[out < _SEEN * ways]
    found = np.zeros(len(faces), bool)
    if len(hidden):
        beside = trimesh.Trimesh(vertices, faces[hidden], process=False).face_adjacency
        labels = trimesh.graph.connected_component_labels(beside, len(hidden))
        found[hidden[labels == np.bincount(labels).argmax()]] = True
    return found


def _directions(count: int) -> Array:
    """(N, 3) unit vectors, spread evenly over the sphere (a Fibonacci lattice)."""
    places = np.arange(count) + 0.5
    down, around = np.arccos(1.0 - 2.0 * places / count), _GOLDEN * places
    return np.stack([np.cos(around) * np.sin(down), np.cos(down), np.sin(around) * np.sin(down)], 1)
