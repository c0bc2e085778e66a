"""How weights of skinning change about a vertex, so that the runtime needs no network for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bodystream.types import Array
from bodystream_training.avatar.model import Ins

__all__ = ["plain_weights", "quadratic_logits"]

_LEAST_WEIGHT = 1e-4
"""Of a bone that moves a vertex by skinning alone."""
_STEP_M = 0.01
_DOUBT = 1e-3
"""Of the fit: how much a change by one over a hundredth of a metre counts, beside what a pose does."""
_CHUNK = 500


@torch.no_grad()
def plain_weights(model: Ins, base: Array) -> Array:
    """(V, B) float32 weights of the bones at `base` (V, 3), without the smallest."""
    assert model.weights is not None
    weights = model.weights(torch.from_numpy(base)).numpy()
    weights = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@torch.no_grad()
def quadratic_logits(model: Ins, base: Array, ends: Array, kept: int) -> tuple[Array, Array]:
    """The logits of the largest weights, less the largest one, as a quadratic of the way from a base.

    It is fitted to where vertices came by: a field of weights has bends, beside which its derivative says little.

    Args:
        base: (V, 3). ends: (poses, V, 3) where vertices came by.

    Returns:
        (V, K) bones, and (V, K, 10) of each logit what it is at the base, and how much of x, y, z [1/m] and of xx, yy,
        zz, xy, yz, xz [1/m^2] is added.
    """
    parts = [
        _fitted(model, torch.from_numpy(base[i : i + _CHUNK]), torch.from_numpy(ends[:, i : i + _CHUNK]), kept)
        for i in range(0, len(base), _CHUNK)
    ]
    return torch.cat([bones for bones, _ in parts]).int().numpy(), torch.cat([found for _, found in parts]).numpy()


def _fitted(model: Ins, base: Tensor, ends: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    assert model.weights is not None
    at_base, change = model.weights.logits_with_derivative(base)
    bones = at_base.topk(kept, -1).indices
    start = torch.cat([at_base[..., None], _STEP_M * change, change.new_zeros(*change.shape[:2], 6)], -1)
    start = start.gather(1, bones[..., None].expand(-1, -1, 10)).double()
    start = start - start[:, :1]
    terms = _terms((ends - base).transpose(0, 1).double() / _STEP_M)  # (V, T, 10)
    logits = torch.stack([model.weights.logits_with_derivative(end)[0] for end in ends], 1)
    logits = logits.gather(2, bones[:, None].expand(-1, len(ends), -1)).double()
    share = torch.softmax(logits, -1)
    rest = logits - logits[..., :1] - terms @ start.transpose(1, 2)  # (V, T, K)
    matters = share * (1.0 - share)
    outer = (terms[..., :, None] * terms[..., None, :]).flatten(2)  # (V, T, 100)
    system = (matters.transpose(1, 2) @ outer).unflatten(-1, (10, 10)) + _DOUBT * torch.eye(10).double()
    wanted = (matters * rest).transpose(1, 2) @ terms
    found = start + torch.linalg.solve(system, wanted)
    scale = torch.tensor([1.0, *[_STEP_M] * 3, *[_STEP_M**2] * 6]).double()
    return bones, (found / scale).float()


def _terms(way: Tensor) -> Tensor:
    x, y, z = way.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, x * z], -1)
