"""A small deforming surface for the tests of the sinks: a capsule-like tube that bends."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array, GraphSnapshot, Mesh


def tube(rows: int = 24, columns: int = 16, seed: int = 0) -> Mesh:
    """A closed-around tube 1 m long, two metres in front of the camera, with random colours."""
    y = np.linspace(-0.5, 0.5, rows)
    angle = np.arange(columns) / columns * 2 * np.pi
    radius = 0.15 + 0.03 * np.cos(5 * y)
    vertices = np.stack(
        [
            radius[:, None] * np.cos(angle),
            np.repeat(y[:, None], columns, 1),
            2.0 + radius[:, None] * np.sin(angle),
        ],
        -1,
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    faces = np.concatenate([np.stack([a, a + columns, b], -1), np.stack([b, a + columns, b + columns], -1)])
    outwards = vertices - np.array([0, 0, 2.0]) * [0, 1, 1] - vertices * [0, 1, 0]
    normals = outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
    colours = np.random.default_rng(seed).integers(0, 256, vertices.shape, dtype=np.uint8)
    return Mesh(vertices.astype(np.float32), faces.reshape(-1, 3).astype(np.int32), normals.astype(np.float32), colours)


def graph_of(mesh: Mesh, nodes: int, seed: int = 1) -> tuple[Array, Array, Array]:
    """Node positions (N, 3), anchors (V, 4) and weights (V, 4)."""
    rng = np.random.default_rng(seed)
    v = mesh.vertices[np.sort(rng.choice(len(mesh.vertices), nodes, replace=False))]
    distance, anchors = KDTree(v).query(mesh.vertices, 4)
    weights = np.exp(-(distance**2) / (2 * 0.1**2)) + 1e-9
    return v, np.asarray(anchors, np.int32), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def motion(v: Array, frames: int, seed: int = 2) -> tuple[Array, Array]:
    """Rotations (T, N, 3, 3), through more than a whole turn, and translations (T, N, 3)."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(len(v), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angle = np.linspace(0, 2.5 * np.pi, frames)
    rotations = matrix_from_rotation_vector(axes[None] * angle[:, None, None]).astype(np.float32)
    drift = rng.normal(scale=0.05, size=(len(v), 3))
    translations = (np.linspace(0, 1, frames)[:, None, None] * drift).astype(np.float32)
    return rotations, translations


def warp(points: Array, anchors: Array, weights: Array, v: Array, rotations: Array, translations: Array) -> Array:
    """The reference in float64: sum_i w_i (R_i (p - v_i) + v_i + t_i)."""
    p, w = points.astype(np.float64), weights.astype(np.float64)
    arm = p[:, None] - v[anchors]
    moved = np.einsum("vkij,vkj->vki", rotations.astype(np.float64)[anchors], arm) + v[anchors] + translations[anchors]
    return np.einsum("vk,vki->vi", w / w.sum(1, keepdims=True), moved)


def snapshot(t_ns: int, v: Array, rotations: Array, translations: Array) -> GraphSnapshot:
    n = len(v)
    edges = np.stack([(np.arange(n) + k) % n for k in range(1, 5)], 1).astype(np.int32)
    return GraphSnapshot(t_ns, v, rotations, translations, edges, np.zeros(n, np.int32), np.ones(n, bool))
