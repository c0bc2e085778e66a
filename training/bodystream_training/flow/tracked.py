"""Batches of pairs with their graphs, and the losses through the solver on them: what the later stages train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bodystream_training.flow.batches import Augmentation, FlowBatch, Guess, collate
from bodystream_training.flow.gauss_newton import GaussNewtonConfig, Motion, solve_motion
from bodystream_training.flow.graph_losses import graph_loss, supervised_weight_loss, warp_loss
from bodystream_training.flow.graphs import GraphBatch, GraphConfig, build_pair_graph, collate_graphs
from bodystream_training.flow.matches import match_targets
from bodystream_training.flow.sample import FlowSample

__all__ = ["TrackedBatch", "collate_tracked", "tracking_terms"]


@dataclass
class TrackedBatch:
    """Pairs and the graphs on their source frames, both mirrored or neither."""

    pairs: FlowBatch
    graph: GraphBatch

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device, **how: bool) -> TrackedBatch:
        """The same on another device."""
        return TrackedBatch(self.pairs.to(device, **how), self.graph.to(device, **how))


def collate_tracked(
    samples: Sequence[FlowSample],
    generator: torch.Generator,
    augmentation: Augmentation | None = None,
    guess: Guess | None = None,
    config: GraphConfig | None = None,
) -> TrackedBatch:
    """Samples of one size as a batch, as `batches.collate`, with their graphs.

    Raises:
        InputError: see `batches.collate`.
    """
    pairs = collate(samples, generator, augmentation, guess)
    graphs = [build_pair_graph(sample, config) for sample in samples]
    turned = zip(graphs, pairs.mirrored.tolist(), strict=True)
    graphs = [graph.mirrored() if graph is not None and mirrored else graph for graph, mirrored in turned]
    return TrackedBatch(pairs, collate_graphs(graphs, generator, config))


def tracking_terms(
    batch: TrackedBatch, flow_px: Tensor, weight: Tensor | None = None, config: GaussNewtonConfig | None = None
) -> tuple[dict[str, Tensor], Motion]:
    """What comes of a flow and its weights when it is tracked with.

    Args:
        flow_px: (B, 2, h, w) in pixels of the image. weight: (B, 1, h, w) in 0 to 1, or None.

    Returns:
        Scalars `graph` (eq. 15) and `warp` (eq. 16) [m^2], `supervised` (appendix C.3) where there are weights; and,
        without a gradient, `skipped`, the share of the pairs without a usable graph, and `unsolved`, that of the others
        whose motion could not be solved. And the motion.
    """
    graph = batch.graph
    targets = match_targets(graph, flow_px, batch.pairs.target_depth_m, weight)
    motion = solve_motion(graph, targets, config)
    usable = graph.usable
    terms = {
        "graph": graph_loss(graph, motion),
        "warp": warp_loss(graph, motion),
        "skipped": (~usable).float().mean(),
        "unsolved": (usable & ~motion.valid).float().mean(),
    }
    if weight is not None:
        terms["supervised"] = supervised_weight_loss(graph, targets)
    return terms, motion
