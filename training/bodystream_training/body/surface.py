"""Features to vertices with gradients: the sparse system of `AcapSpace` within PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bodystream.body import AcapSpace
from bodystream.body.acap import AFFINE_WEIGHT

__all__ = ["AcapSurface", "rotations_of"]


class _Solve(torch.autograd.Function):
    """`AcapSpace.solve`, which is linear and its own transpose."""

    @staticmethod
    def forward(ctx: Any, wanted: Tensor, space: AcapSpace) -> Tensor:
        ctx.space = space
        return _solved(space, wanted)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return _solved(ctx.space, grad[0]), None


def _solved(space: AcapSpace, wanted: Tensor) -> Tensor:
    """(B, V, 3) for (B, V, 3): all columns at once."""
    batch, count, _ = wanted.shape
    columns = wanted.movedim(0, 1).reshape(count, -1).double().numpy()
    return torch.from_numpy(space.solve(columns)).to(wanted).reshape(count, batch, 3).movedim(1, 0)


class AcapSurface(nn.Module):
    """The mesh of features, on the processor, float64."""

    def __init__(self, space: AcapSpace) -> None:
        super().__init__()
        self._space, rings = space, space.rings
        self._moments = torch.from_numpy(rings.moments)
        self._plane, self._normals = torch.from_numpy(rings.plane), torch.from_numpy(rings.normals)
        self._normal_weights = torch.from_numpy(rings.normal_weights)
        self._start, self._end = torch.from_numpy(rings.start), torch.from_numpy(rings.end)
        self._edges = torch.from_numpy(rings.weights[:, None] * rings.edges_m)
        right = space.right.tocoo()
        indices = torch.stack([torch.from_numpy(right.row).long(), torch.from_numpy(right.col).long()])
        self._right = torch.sparse_coo_tensor(
            indices, torch.from_numpy(right.data), right.shape, check_invariants=True
        ).coalesce()

    def forward(self, features: Tensor) -> Tensor:
        """(B, V, 9) unscaled features to (B, V, 3) vertices [m]; their mean is at the origin."""
        features = features.double()
        given = rotations_of(features[..., :3]) @ _symmetric(features[..., 3:])
        a, b = torch.einsum("zvij,vkj->kzvi", given, self._plane)
        normal = torch.linalg.cross(a, b)
        lifted = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-30).sqrt()
        part = (self._normal_weights[:, None] * lifted)[..., None] * self._normals[:, None, :]
        spread = (given @ self._moments - part).transpose(-1, -2).flatten(1, 2)  # (B, 3V, 3)
        batch, rows, _ = spread.shape
        wanted = (self._right @ spread.movedim(0, 1).reshape(rows, -1)).reshape(-1, batch, 3).movedim(1, 0)
        pulled = ((given[:, self._start] + given[:, self._end]) @ self._edges[..., None])[..., 0]
        wanted = wanted.index_add(1, self._start, AFFINE_WEIGHT * pulled)
        return _Solve.apply(wanted, self._space)


def rotations_of(vectors: Tensor) -> Tensor:
    """(..., 3) rotation vectors to matrices, with finite gradients at zero."""
    square = vectors.square().sum(-1, keepdim=True)[..., None]
    small = square < 1e-8
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    sine = torch.where(small, 1.0 - square / 6.0, angle.sin() / angle)
    versine = torch.where(small, 0.5 - square / 24.0, (1.0 - angle.cos()) / safe)
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=vectors.dtype) + sine * k + versine * (k @ k)


def _symmetric(numbers: Tensor) -> Tensor:
    return numbers[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
