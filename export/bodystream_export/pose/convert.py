"""The pose sampler's networks as one graph: traced, and compared with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bodystream.pose.sampler import sampler_signature
from bodystream.types import Array
from bodystream_export.onnx_graph import to_onnx
from bodystream_export.parity import Difference, both_answers
from bodystream_export.pose.graph import SamplerGraph
from bodystream_training.pose.networks import load_networks

__all__ = ["WORST_CONTACTS", "WORST_MEAN_DEG", "compare", "load_sampler", "trace_sampler"]

WORST_MEAN_DEG = 0.5
"""Mean difference of rotations between PyTorch and the bundle beyond which an export is refused."""
WORST_CONTACTS = 0.05
"""The same of the probabilities that a foot stands."""


def load_sampler(folder: Path) -> tuple[SamplerGraph, tuple[float, ...], dict[str, object]]:
    """The live graph of a training run, the history it sees, and the facts of its training.

    Raises:
        InputError: the run has no trained networks, or they do not belong together.
    """
    flow, predictor, normalise, facts = load_networks(folder)
    graph = SamplerGraph(flow, predictor, normalise).eval().requires_grad_(False)
    return graph, tuple(facts["features"]["history_s"]), facts


def trace_sampler(graph: SamplerGraph, token_size: int, path: Path) -> None:
    """Write the graph in 32 bits; the number of hypotheses stays open."""
    observation = torch.randn(1, 3, token_size)
    observation[:, :, 9] = 1.0
    noise = torch.randn(2, graph.normalise.pose_mean.numel())
    to_onnx(
        graph,
        {"observation": observation, "beta": torch.randn(1, 10), "noise": noise},
        ("pose", "log_likelihood", "spread", "contacts"),
        path,
        open_axes={name: {0: "hypotheses"} for name in ("noise", "pose", "log_likelihood")},
    )


def compare(
    graph: SamplerGraph, path: Path, observations: Array, betas: Array, hypotheses: int = 4
) -> list[Difference]:
    """Every answer of a file beside PyTorch's, on average over real observations.

    Args:
        observations: (N, 3, token); betas: (N, 10).
        hypotheses: how many poses per observation; the first is of the region's centre, the others are drawn.
    """
    size = graph.normalise.pose_mean.numel()
    rng = np.random.default_rng(0)

    def feeds() -> Iterator[dict[str, Array]]:
        for observation, beta in zip(observations, betas, strict=True):
            noise = rng.standard_normal((hypotheses, size)).astype(np.float32)
            noise[0] = 0.0
            yield {"observation": observation[None], "beta": beta[None], "noise": noise}

    rows: list[tuple[float, ...]] = []
    signature = sampler_signature(observations.shape[-1])
    for wanted, got in both_answers(graph, path, feeds(), signature, {"hypotheses": hypotheses}):
        apart = (got["pose"] - wanted["pose"]).reshape(hypotheses, -1, 3)
        turned = np.degrees(np.linalg.norm(apart, axis=-1))
        rows.append(
            (
                turned[0].mean(),
                turned[0].max(),
                turned[1:].mean(),
                np.abs(got["log_likelihood"] - wanted["log_likelihood"]).mean(),
                np.abs(got["spread"] / wanted["spread"] - 1.0).mean(),
                np.abs(got["contacts"] - wanted["contacts"]).mean(),
            )
        )
    mean, worst = np.mean(rows, axis=0).tolist(), np.max(rows, axis=0).tolist()
    return [
        Difference("mean_deg", mean[0], "rotations of the region's centre, over joints", WORST_MEAN_DEG),
        Difference("worst_deg", worst[1], "the same of the worst joint of all"),
        Difference("drawn_deg", mean[2], "rotations of poses that were drawn from the region", WORST_MEAN_DEG),
        Difference("log_likelihood_nats", mean[3], "log likelihood of all these poses"),
        Difference("spread", mean[4], "deviations of the region, relative"),
        Difference("contacts", mean[5], "probabilities that a foot stands", WORST_CONTACTS),
    ]
