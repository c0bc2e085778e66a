"""Losses on what the solver makes of a flow (NNRT eq. 15, 16), and supervised weights for comparison (appendix C.3).

Weights that are learned without being told are learned by `graph_loss` and `warp_loss` alone: their gradient reaches
the weights through the solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bodystream_training.flow.gauss_newton import Motion, warp
from bodystream_training.flow.graphs import GraphBatch
from bodystream_training.flow.matches import MatchTargets, back_project

__all__ = ["TrackingErrors", "graph_loss", "supervised_weight_loss", "tracking_errors", "warp_loss"]

# A match that ends nearer to the truth than the first is right, farther than the second wrong; between them, neither.
RIGHT_M, WRONG_M = 0.1, 0.3


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values in the mask over all samples; 0 where there are none, with a gradient of zeros."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp_min(1)


def graph_loss(graph: GraphBatch, motion: Motion) -> Tensor:
    """Mean squared error of the nodes' translations [m^2], over the nodes that were solved for and are known."""
    squared = (motion.translations - graph.node_motion_m).square().sum(dim=-1)
    return _masked_mean(squared, graph.node_known & motion.valid[:, None])


def warp_loss(graph: GraphBatch, motion: Motion) -> Tensor:
    """Mean squared error of the warped points [m^2], over the points of solved clusters whose motion is known."""
    squared = (warp(graph, motion) - graph.points - graph.motion_m).square().sum(dim=-1)
    return _masked_mean(squared, graph.known & motion.valid[:, None])


@dataclass(frozen=True)
class TrackingErrors:
    """Of each pair, for validation; nan where a pair was not solved or nothing is known.

    Attributes:
        epe3d_mm: (B,) mean distance of the warped points to the truth. graph_error_mm: (B,) of the nodes.
        no_motion_mm: (B,) what standing still would give, over the same points.
    """

    epe3d_mm: Tensor
    graph_error_mm: Tensor
    no_motion_mm: Tensor


@torch.no_grad()
def tracking_errors(graph: GraphBatch, motion: Motion) -> TrackingErrors:
    """The two figures of the paper's table 1: EPE 3D and graph error 3D."""

    def mean(distance: Tensor, mask: Tensor) -> Tensor:
        mask = mask & motion.valid[:, None]
        return 1e3 * torch.where(mask, distance, torch.zeros_like(distance)).sum(dim=1) / mask.sum(dim=1)

    points = (warp(graph, motion) - graph.points - graph.motion_m).norm(dim=-1)
    nodes = (motion.translations - graph.node_motion_m).norm(dim=-1)
    still = mean(graph.motion_m.norm(dim=-1), graph.known)
    return TrackingErrors(mean(points, graph.known), mean(nodes, graph.node_known), still)


def supervised_weight_loss(graph: GraphBatch, targets: MatchTargets) -> Tensor:
    """Binary cross entropy of the matches' weights against whether they are right (appendix C.3).

    A match is where the target's depth puts the pixel that it ends at, and right within 0.1 m of the true point, wrong
    beyond 0.3 m. Between them, and where the target has no depth or the truth is unknown, nothing is said. A point that
    is hidden in the target is thus wrong wherever what hides it lies far enough in front, however right its flow is.

    Args:
        targets: as `match_targets` gives them; a gradient flows to the weights alone.
    """
    with torch.no_grad():
        reached = back_project(targets.pixels, targets.depth_m, graph.intrinsics.to(targets.pixels.dtype))
        apart = (reached - graph.points - graph.motion_m).norm(dim=-1)
        told = graph.known & (targets.depth_m > 0) & ((apart <= RIGHT_M) | (apart >= WRONG_M))
        right = (apart <= RIGHT_M).to(targets.weight.dtype)
    weight = targets.weight.clamp(1e-6, 1 - 1e-6)
    with torch.autocast(weight.device.type, enabled=False):
        entropy = F.binary_cross_entropy(weight.float(), right.float(), reduction="none")
    return _masked_mean(entropy, told)
