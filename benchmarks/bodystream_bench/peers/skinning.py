"""Linear blend skinning as one writes it in numpy and in torch: blended 3x4 transforms, then one product per vertex."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.types import Array

__all__ = ["SkinningProblem", "numpy_skinning", "torch_skinning"]


@dataclass(frozen=True)
class SkinningProblem:
    """Vertices (V, 3), anchors (V, 4), weights (V, 4); nodes (N, 3), rotations (N, 3, 3), translations (N, 3)."""

    vertices: Array
    anchors: Array
    weights: Array
    nodes: Array
    rotations: Array
    translations: Array

    @property
    def transforms(self) -> Array:
        """(N, 12) float32: rotation, and the translation that belongs to vertices in canonical coordinates."""
        shift = self.nodes + self.translations - np.einsum("nij,nj->ni", self.rotations, self.nodes)
        return np.concatenate([self.rotations, shift[..., None]], axis=2).reshape(-1, 12).astype(np.float32)


def numpy_skinning(problem: SkinningProblem) -> Callable[[], Array]:
    """A step that returns the (V, 3) moved vertices."""
    transforms, vertices = problem.transforms, problem.vertices
    anchors, weights = problem.anchors, problem.weights

    def step() -> Array:
        blended = np.einsum("vk,vkc->vc", weights, transforms[anchors]).reshape(-1, 3, 4)
        return np.einsum("vij,vj->vi", blended[:, :, :3], vertices) + blended[:, :, 3]

    return step


def torch_skinning(problem: SkinningProblem) -> Callable[[], Array] | None:
    """The same in torch on the CPU with its own threads, or None where torch is not installed."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return None
    transforms = torch.from_numpy(problem.transforms)
    vertices = torch.from_numpy(problem.vertices)[..., None]
    anchors = torch.from_numpy(problem.anchors.astype(np.int64))
    weights = torch.from_numpy(problem.weights)[:, None]

    def step() -> Array:
        with torch.inference_mode():
            blended = torch.bmm(weights, transforms[anchors]).view(-1, 3, 4)
            return (torch.bmm(blended[:, :, :3], vertices)[..., 0] + blended[:, :, 3]).numpy()

    return step
