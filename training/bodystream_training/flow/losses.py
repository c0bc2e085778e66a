"""Losses of flow and of weights where the true flow is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["correspondence_loss", "in_cells", "robust", "weight_loss", "weight_target"]

_KNOWN_SHARE = 0.25  # of a cell's pixels that are needed to say what its flow is


def in_cells(values: Tensor, known: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Truth at a coarser resolution (NNRT, appendix C.1): the mean over the known pixels of each cell.

    Args:
        values: (B, C, H, W).
        known: (B, 1, H, W), from 0 to 1: how much a pixel counts.
        stride: pixels per cell.

    Returns:
        (B, C, H/s, W/s), and (B, 1, H/s, W/s) how much the cells count: 0 where too little is known.
    """
    share = F.avg_pool2d(known, stride)
    mean = F.avg_pool2d(values * known, stride) / share.clamp_min(1e-6)
    enough = F.avg_pool2d((known > 0).float(), stride) >= _KNOWN_SHARE
    return mean, share * enough


def robust(error: Tensor, q: float, epsilon: float) -> Tensor:
    """`(|e| + epsilon)^q` of eq. 14, with |.| the l1 norm over the channels: (B, C, H, W) to (B, 1, H, W)."""
    return (error.abs().sum(1, keepdim=True) + epsilon) ** q


def correspondence_loss(
    flows: Sequence[Tensor],
    truth: Tensor,
    known: Tensor,
    level_weights: Sequence[float],
    *,
    q: float = 0.4,
    epsilon: float = 0.01,
) -> Tensor:
    """The robust coarse-to-fine loss of flows (NNRT eq. 14 and 21): per level the mean over what is known.

    Args:
        flows: (B, 2, H/s, W/s) each, in the unit of `truth`.
        truth: (B, 2, H, W).
        known: (B, 1, H, W), from 0 to 1.
        level_weights: one for each of `flows`.
        q, epsilon: of the robust norm; epsilon in the unit of `truth`.
    """
    total = truth.new_zeros(())
    for flow, weight in zip(flows, level_weights, strict=True):
        wanted, counts = in_cells(truth, known, truth.shape[-1] // flow.shape[-1])
        loss = robust(flow - wanted, q, epsilon) * counts
        total = total + weight * loss.sum() / counts.sum().clamp_min(1.0)
    return total


def weight_target(flow_px: Tensor, truth_px: Tensor, visible: Tensor, sigma_px: float) -> Tensor:
    """How far a match should be believed: `exp(-|e|^2 / 2 sigma^2)` of the flow's error e, 0 for hidden points.

    Args:
        flow_px, truth_px: (B, 2, h, w).
        visible: (B, 1, h, w), the share of a cell that is seen in the target.
    """
    squared = (flow_px - truth_px).square().sum(1, keepdim=True)
    return visible * torch.exp(-squared / (2 * sigma_px**2))


def weight_loss(logit: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Mean binary cross entropy of weights (their logits) where they count; all are (B, 1, h, w)."""
    loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none") * counts
    return loss.sum() / counts.sum().clamp_min(1.0)
