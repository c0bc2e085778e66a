"""The live graph of the pose sampler: latent predictor and flow in one, rearranged for one observation at a time.

It computes what `LatentPredictor` and `PoseFlow.to_pose` compute. A single pose is bound by reading weights, so the
condition's share of all first layers is one product, scale and translation network share theirs, and the hypotheses of
one observation are one batch.
"""
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodystream_training.pose.model import AffineCoupling, LatentPredictor, Normalisation, PoseFlow

__all__ = ["SamplerGraph"]


class _Coupling(nn.Module):
    """`AffineCoupling.inverse` on the two halves of a pose, with the condition's share given."""

    def __init__(self, block: AffineCoupling) -> None:
        super().__init__()
        kept = len(block.kept)
        s, t = block.scale, block.translation
        self.split = block.hidden
        self.first = nn.Linear(kept, 2 * self.split, bias=False)
        self.first.weight = nn.Parameter(torch.cat([s[0].weight[:, :kept], t[0].weight[:, :kept]]))
        self.s2, self.s3, self.t2, self.t3 = s[2], s[4], t[2], t[4]

    def forward(self, kept: Tensor, changed: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(kept) + share
        s = self.s3(torch.tanh(self.s2(torch.tanh(hidden[:, : self.split]))))
        t = self.t3(torch.relu(self.t2(torch.relu(hidden[:, self.split :]))))
        return (changed - t) * torch.exp(-s), s.sum(-1)


class SamplerGraph(nn.Module):
    """Observation to poses.

    Inputs: `observation` (1, 3, token), `beta` (1, 10), `noise` (K, D) standard normal draws, zeros for the centre of
    the latent region.
    Outputs: `pose` (K, D) rotation vectors [rad]; `log_likelihood` (K,) of each under the flow, in nats, of normalised
    poses; `spread` (D,) deviation of the latent region; `contacts` (2,) probabilities of left and right foot standing.
    """

    def __init__(self, flow: PoseFlow, predictor: LatentPredictor, normalise: Normalisation) -> None:
        super().__init__()
        self.predictor, self.normalise = predictor, normalise
        blocks = [block for block in flow.blocks if isinstance(block, AffineCoupling)]
        self.blocks = nn.ModuleList([_Coupling(block) for block in reversed(blocks)])
        self.keeps_even = [block.keeps_even for block in reversed(blocks)]
        kept = len(blocks[0].kept)
        weights, biases = [], []
        for block in reversed(blocks):
            for net in (block.scale, block.translation):
                weights.append(net[0].weight[:, kept:])
                biases.append(net[0].bias)
        self.share = nn.Linear(weights[0].shape[1], sum(len(b) for b in biases))
        self.share.weight = nn.Parameter(torch.cat(weights))
        self.share.bias = nn.Parameter(torch.cat(biases))
        self.width = 2 * len(biases[0])

    def forward(self, observation: Tensor, beta: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        condition = self.normalise.condition(torch.cat([observation.flatten(1), beta], dim=-1))
        prediction = self.predictor(condition, observation[:, :, 9])
        sigma = torch.exp(prediction.log_sigma)
        z = prediction.mu + sigma * noise
        even, odd = z[:, 0::2], z[:, 1::2]
        log_density = -0.5 * (z * z).sum(-1)
        shares = self.share(condition)
        for number, block in enumerate(self.blocks):
            share = shares[:, number * self.width : (number + 1) * self.width]
            if self.keeps_even[number]:
                odd, log_det = block(even, odd, share)
            else:
                even, log_det = block(odd, even, share)
            log_density = log_density + log_det
        pose = torch.stack([even, odd], dim=-1).flatten(-2)
        return (
            self.normalise.vectors(pose),
            log_density - 0.5 * 1.8378770664093453 * pose.shape[-1],
            sigma[0],
            torch.sigmoid(prediction.contacts[0]),
        )
