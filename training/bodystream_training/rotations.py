"""Rotations in PyTorch, differentiable also where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["composed", "rotation_matrices"]


def rotation_matrices(vectors: Tensor) -> Tensor:
    """Rodrigues: (..., 3) rotation vectors [rad] to (..., 3, 3)."""
    angle = torch.sqrt((vectors * vectors).sum(-1) + 1e-12)
    a = (torch.sin(angle) / angle)[..., None, None]
    b = ((1.0 - torch.cos(angle)) / (angle * angle))[..., None, None]
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vectors.shape, 3)
    return torch.eye(3, device=vectors.device) + a * k + b * (k @ k)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """(..., 3) rotation vector [rad], at most half a turn, of `R(first) @ R(second)`.

    By quaternions: the trace of a matrix loses the axis of rotations close to half a turn, as of people who lie.
    """
    (w1, v1), (w2, v2) = _quaternion(first), _quaternion(second)
    w = w1 * w2 - (v1 * v2).sum(-1, keepdim=True)
    v = w1 * v2 + w2 * v1 + torch.linalg.cross(v1, v2)
    w, v = w.abs(), torch.where(w < 0, -v, v)
    sine = torch.linalg.norm(v, dim=-1, keepdim=True)
    # the factor tends to 2 where there is no rotation
    return v * torch.where(sine < 1e-6, 2.0, 2.0 * torch.atan2(sine, w) / sine.clamp_min(1e-6))


def _quaternion(vectors: Tensor) -> tuple[Tensor, Tensor]:
    half = 0.5 * torch.linalg.norm(vectors, dim=-1, keepdim=True)
    # sin(half) / (2 half): sinc takes its argument in half turns
    return torch.cos(half), 0.5 * torch.sinc(half / torch.pi) * vectors
