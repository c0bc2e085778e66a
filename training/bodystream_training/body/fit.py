"""Codes of given meshes by the decoder alone (eq. 15), which is how the paper measures an embedding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bodystream_training.body.surface import AcapSurface

__all__ = ["fit_codes", "turned"]

_PER_SQUARE_METRE = 1e6
"""lambda of eq. 15, of squared distances in metres; of the codes it is one."""


def fit_codes(
    decode: Callable[[Tensor], Tensor],
    surface: AcapSurface,
    wanted: Tensor,
    start: Tensor,
    iterations: int = 60,
) -> tuple[Tensor, Tensor]:
    """The code whose mesh is nearest to a given one, and that mesh; the rigid motion between them is free.

    L-BFGS with a line search in place of 200 steps of Adam. The rotation is the best one of each step (Kabsch), so that
    its gradient is none.

    Args:
        decode: (1, C) code to (1, V, 9) unscaled features.
        wanted: (V, 3) float64 q [m].
        start: (C,) code to begin from.

    Returns:
        (C,) code and (V, 3) vertices, moved to lie on those wanted [m].
    """
    target = wanted - wanted.mean(dim=0)
    code = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([code], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def vertices() -> Tensor:
        return turned(surface(decode(code[None]))[0], target)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = _PER_SQUARE_METRE * (vertices() - target).square().sum() + code.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return code.detach(), vertices() + wanted.mean(dim=0)


def turned(points: Tensor, target: Tensor) -> Tensor:
    """(V, 3) points about the origin, turned to lie best on (V, 3) others about it."""
    with torch.no_grad():
        left, _, right = np.linalg.svd((points.T @ target).numpy())
        left[:, 2] *= np.sign(np.linalg.det(left @ right))
        turn = torch.from_numpy(left @ right)
    return points @ turn
