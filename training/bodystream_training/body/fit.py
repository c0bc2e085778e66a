"""Codes of given meshes by the decoder alone (eq. 15), which is how the paper measures an embedding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import jacfwd

from bodystream_training.body.surface import AcapSurface

__all__ = ["fit_codes", "turned", "turns"]

_PER_SQUARE_METRE = 1e6
"""lambda of eq. 15, of squared distances in metres; of the codes it is one."""
_DAMPING, _CALMER, _BOLDER, _TRIES = 1e-3, 10.0, 0.1, 8
_AGAIN, _ENOUGH = 0.05, 3e-3
"""Share of the sum by which a step has to make it smaller for another one by the same derivatives, and by new ones."""


@torch.no_grad()
def fit_codes(
    decode: Callable[[Tensor], Tensor],
    surface: AcapSurface,
    wanted: Tensor,
    start: Tensor,
    iterations: int = 20,
) -> tuple[Tensor, Tensor]:
    """The code whose mesh is nearest to a given one, and that mesh; the rigid motion between them is free.

    Steps of Levenberg and Marquardt with the exact derivatives of all vertices, in place of 200 steps of Adam: those of
    first order come to rest long before they are there, some networks' sooner than others'.

    Args:
        decode: (B, C) float64 codes to (B, V, 9) unscaled features.
        wanted: (V, 3) float64 q [m].
        start: (C,) code to begin from.
        iterations: how often derivatives are taken, at most; it ends where they gain less than 0.3 %.

    Returns:
        (C,) float64 code and (V, 3) vertices, moved to lie on those wanted [m].
    """
    target = wanted - wanted.mean(dim=0)
    code, damping, eye = start.double(), _DAMPING, torch.eye(len(start), dtype=torch.float64)

    def at(code: Tensor) -> tuple[Tensor, float]:
        found = turned(surface(decode(code[None]))[0], target)
        return found, float(_PER_SQUARE_METRE * (found - target).square().sum() + code.square().sum())

    found, loss = at(code)
    for _ in range(iterations):
        features = decode(code[None])[0]
        tangents = jacfwd(lambda c: decode(c[None])[0])(code).movedim(-1, 0)  # (C, V, 9)
        moved = (
            surface.derivative(features[None]).along(tangents) @ turns(surface(features[None])[0], target)
        ).flatten(1)
        # The turn that lies best changes with the code: three more unknowns say how.
        axes = torch.linalg.cross(torch.eye(3, dtype=torch.float64)[:, None], found[None]).flatten(1)
        rows = torch.cat([moved, axes])
        normal = _PER_SQUARE_METRE * (rows @ rows.T)
        normal[: len(code), : len(code)] += eye
        before = loss
        # Derivatives take longer than all else, and serve for as many steps as gain by them.
        for tries in range(_TRIES):
            slope = _PER_SQUARE_METRE * (rows @ (found - target).flatten())
            slope[: len(code)] += code
            step = torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), -slope)[: len(code)]
            there, then = at(code + step)
            if then < loss:
                gained, code, found, loss = 1.0 - then / loss, code + step, there, then
                damping *= _BOLDER
                if gained < _AGAIN:
                    break
            elif tries and loss < before:
                break
            else:
                damping *= _CALMER
        if loss > (1.0 - _ENOUGH) * before:
            break
    return code, found + wanted.mean(dim=0)


def turned(points: Tensor, target: Tensor) -> Tensor:
    """(V, 3) points about the origin, turned to lie best on (V, 3) others about it."""
    return points @ turns(points.detach(), target)


def turns(points: Tensor, target: Tensor) -> Tensor:
    """(..., 3, 3) R for which `points @ R` lies best (Kabsch), of (..., V, 3) points about the origin."""
    left, _, right = np.linalg.svd((points.transpose(-1, -2) @ target).double().numpy())
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[..., None]
    return torch.from_numpy(left @ right).to(points)
