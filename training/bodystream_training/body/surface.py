"""Features to vertices with gradients: the sparse system of `AcapSpace` within PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from bodystream.body import AcapSpace

__all__ = ["AcapSurface", "SurfaceDerivative", "rotations_of"]


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
    """The mesh of features, on the processor.

    Args:
        dtype: of what is computed; the sparse system is solved in float64.
    """

    def __init__(self, space: AcapSpace, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self._space, self._dtype = space, dtype
        self._plane = torch.from_numpy(space.rings.plane).to(dtype)
        self._pull, self._lift = (_sparse(matrix).to(dtype) for matrix in (space.pull, space.lift))

    def forward(self, features: Tensor) -> Tensor:
        """(B, V, 9) unscaled features to (B, V, 3) vertices [m]; their mean is at the origin."""
        return _Solve.apply(self._wanted(_of_rings(features.to(self._dtype), self._plane)), self._space)

    def derivative(self, features: Tensor) -> SurfaceDerivative:
        """How vertices go with the (B, V, 9) features of some bodies when these change."""
        local = vmap(vmap(jacfwd(_of_rings)), in_dims=(0, None))(features.to(self._dtype), self._plane)
        return SurfaceDerivative(self, local)

    def _wanted(self, rings: Tensor) -> Tensor:
        """The right side (B, V, 3) of the sparse system, which is linear in (B, V, 12) of `_of_rings`."""
        transposed = rings[..., :9].unflatten(-1, (3, 3)).flatten(1, 2)
        return _product(self._pull, transposed) - _product(self._lift, rings[..., 9:])

    def _pulled(self, wanted: Tensor) -> Tensor:
        """(B, V, 12) of (B, V, 3): the transpose of `_wanted`."""
        transposed = _product(self._pull.t(), wanted).unflatten(1, (-1, 3)).flatten(-2)
        return torch.cat([transposed, -_product(self._lift.t(), wanted)], dim=-1)


class SurfaceDerivative:
    """What changes of features do to vertices, linear about some bodies; made by `AcapSurface.derivative`."""

    def __init__(self, surface: AcapSurface, local: Tensor) -> None:
        self._surface, self._local = surface, local  # (B, V, 12, 9)

    def along(self, changes: Tensor) -> Tensor:
        """(N, V, 3) changes of vertices [m] for (N, V, 9) ones of features: of a body each, or N of one body."""
        rings = torch.einsum("nvik,nvk->nvi", self._local.expand(len(changes), -1, -1, -1), changes.to(self._local))
        return _solved(self._surface._space, self._surface._wanted(rings))

    def back(self, pulls: Tensor) -> Tensor:
        """(B, V, 9) for (B, V, 3), the transpose of `along`: how features have to change to move vertices so."""
        rings = self._surface._pulled(_solved(self._surface._space, pulls.to(self._local)))
        return torch.einsum("nvik,nvi->nvk", self._local, rings)


def _of_rings(features: Tensor, plane: Tensor) -> Tensor:
    """(..., 12) of (..., 9) features: the transform, transposed, and the normal of the ring's plane that it carries.

    Args:
        plane: (..., 2, 3) two axes of that plane in the reference.
    """
    given = rotations_of(features[..., :3]) @ _symmetric(features[..., 3:])
    a, b = (torch.einsum("...ij,...j->...i", given, plane[..., side, :]) for side in range(2))
    normal = torch.linalg.cross(a, b)
    lifted = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-30).sqrt()
    return torch.cat([given.transpose(-1, -2).flatten(-2), lifted], dim=-1)


def _sparse(matrix: csr_matrix) -> Tensor:
    entries = matrix.tocoo()
    indices = torch.stack([torch.from_numpy(entries.row).long(), torch.from_numpy(entries.col).long()])
    return torch.sparse_coo_tensor(
        indices, torch.from_numpy(entries.data), entries.shape, check_invariants=True
    ).coalesce()


def _product(matrix: Tensor, rows: Tensor) -> Tensor:
    """(B, V, 3) for (B, N, 3)."""
    batch, count, _ = rows.shape
    return (matrix @ rows.movedim(0, 1).reshape(count, -1)).reshape(-1, batch, 3).movedim(1, 0)


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
