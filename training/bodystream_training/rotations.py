"""Rotations in PyTorch, differentiable also where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotation_matrices"]


def rotation_matrices(vectors: Tensor) -> Tensor:
    """Rodrigues: (..., 3) rotation vectors [rad] to (..., 3, 3)."""
    angle = torch.sqrt((vectors * vectors).sum(-1) + 1e-12)
    a = (torch.sin(angle) / angle)[..., None, None]
    b = ((1.0 - torch.cos(angle)) / (angle * angle))[..., None, None]
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vectors.shape, 3)
    return torch.eye(3, device=vectors.device) + a * k + b * (k @ k)
