"""How far what the PINs do is from what coarse tables would say: the smoother they are, the faster an avatar is posed.

Ours, not the paper's: a runtime evaluates each layer on nodes of a table per pose, and looks places up by the cubics
through four nodes along each axis (`bodystream.avatar.clothed.tables`). What a layer does between the nodes is lost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodystream_training.avatar.model import CouplingLayer, Pin

__all__ = ["LINE_M", "PLANE_M", "table_residual_cm2", "through_four"]

LINE_M, PLANE_M = 0.04, 0.1
"""Between the nodes of tables of one coordinate, and of two."""
_LEVER_M = 1.0  # from the axis of a turn to what is turned
_CM2_PER_M2 = 1e4


def through_four(t: Tensor) -> Tensor:
    """Weights of nodes at -1, 0, 1 and 2 for the cubic through them (Lagrange): (...) places -> (..., 4)."""
    a, b, c = t + 1.0, t - 1.0, t - 2.0
    return torch.stack([-t * b * c / 6.0, a * b * c / 2.0, -a * t * c / 2.0, a * t * b / 6.0], -1)


def table_residual_cm2(pin: Pin, points: Tensor, e_pose: Tensor, generator: torch.Generator) -> Tensor:
    """Squared distance of what layers do from the cubics through nodes around, summed over layers [cm^2].

    Args:
        points: (M, 3) where layers look, of one pose [m].
        e_pose: (1, d) its embedding.
        generator: of where nodes lie, anew for each point.

    Returns:
        () the mean over points; a turn counts as what it moves a metre from its axis.
    """
    total = points.new_zeros(())
    for layer in pin.layers:
        assert isinstance(layer, CouplingLayer)
        seen = points[:, list(layer.seen)]
        step_m = LINE_M if len(layer.seen) == 1 else PLANE_M
        between = torch.rand(seen.shape, generator=generator).to(seen)
        offsets = torch.arange(-1.0, 3.0).to(seen) - between[..., None]  # (M, 1 or 2, 4) nodes
        nodes, weights = (seen[..., None] + step_m * offsets).unbind(1), through_four(between).unbind(1)
        if len(nodes) == 1:
            places, share = nodes[0][..., None], weights[0]
        else:
            across = [axis.expand(-1, 4, 4) for axis in (nodes[0][:, :, None], nodes[1][:, None])]
            places = torch.stack(across, -1).flatten(1, 2)
            share = (weights[0][:, :, None] * weights[1][:, None]).flatten(1)
        looked_at = torch.cat([seen[:, None], places], 1)  # (M, 5 or 17, 1 or 2)
        shift, angle = layer.operation(looked_at.flatten(0, 1), e_pose)
        does = shift if angle is None else torch.cat([shift, _LEVER_M * angle[:, None]], -1)
        does = does.view(len(points), -1, does.shape[-1])
        off = does[:, 0] - (share[..., None] * does[:, 1:]).sum(1)
        total = total + off.square().sum(-1).mean()
    return _CM2_PER_M2 * total
