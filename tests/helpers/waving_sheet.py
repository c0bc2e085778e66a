"""A surface on a graph for tests of the stream: a sheet of squares whose nodes moved at random."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skinning import unturned_bones
from bodystream.types import GraphSnapshot, Mesh, SkinnedMesh

__all__ = ["sheet", "waving_sheet"]

S = 1_000_000_000


def sheet(side: int, spacing_m: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    vertices = np.concatenate([grid * spacing_m + 0.003, np.ones((len(grid), 1))], axis=1).astype(np.float32)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1, 1)
    return vertices, np.concatenate([corner + [0, side, 1], corner + [1, side, side + 1]]).astype(np.int32)


def waving_sheet(side: int = 60, nodes: int = 64, seed: int = 0) -> tuple[SkinnedMesh, GraphSnapshot]:
    """A waving sheet on a graph."""
    rng = np.random.default_rng(seed)
    vertices, faces = sheet(side)
    of = rng.choice(len(vertices), nodes, replace=False)
    positions = vertices[of]
    far = np.linalg.norm(vertices[:, None] - positions[None], axis=2)
    bones = np.argsort(far, axis=1)[:, :4].astype(np.int32)
    weights = np.exp(-(np.take_along_axis(far, bones, 1) ** 2) / 0.02)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    colours = rng.integers(0, 255, (len(vertices), 3)).astype(np.uint8)
    mesh = Mesh(vertices, faces, vertex_normals(vertices, faces), colours)
    turns = rng.normal(0, 0.1, (nodes, 4))
    turns[:, 3] = 1
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    edges = np.sort(np.argsort(np.linalg.norm(positions[:, None] - positions[None], axis=2), axis=1)[:, 1:5], axis=1)
    graph = GraphSnapshot(
        5 * S,
        positions,
        matrix_from_quaternion(turns).astype(np.float32),
        rng.normal(0, 0.02, (nodes, 3)).astype(np.float32),
        edges.astype(np.int32),
        np.zeros(nodes, np.int32),
        np.ones(nodes, bool),
    )
    return SkinnedMesh(mesh, bones, weights, unturned_bones(positions)), graph
