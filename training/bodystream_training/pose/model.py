"""FLAG: a conditional flow of poses, and a transformer that says where in its latent space a headset's pose lies.

After "FLAG: Flow-based 3D Avatar Generation from Sparse Observations" (Aliakbarian et al., CVPR 2022) and its
supplementary material, section 1. Symbols: x the pose, `C = [x_H, beta]` the condition, z the latent code,
`mu_H, Sigma_H` the latent region of a headset's observation. All quantities are normalised by `Normalisation`.
"""
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Flag", "FlagConfig", "LatentPredictor", "Normalisation", "PoseFlow", "Prediction", "gaussian_nll"]


@dataclass(frozen=True)
class FlagConfig:
    """Sizes of the networks; the defaults are the paper's.

    Attributes:
        pose_size: numbers of a pose x.
        token_size: numbers per observed joint.
        beta_size: numbers of the proportions.
        joints: of the skeleton.
        couplings: blocks of the flow.
        hidden: width of the scale and translation networks.
        supervised: blocks after which the likelihood is supervised too, counted from 1; weight is block / couplings.
        width, layers, heads, feed_forward: of the transformer.
        groups, categories: G and M of the categorical latent.
        dropout: of the transformer; the paper names none, but its data is a hundred times as much.
    """

    pose_size: int = 66
    token_size: int = 55
    beta_size: int = 10
    joints: int = 22
    couplings: int = 16
    hidden: int = 512
    supervised: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14)
    width: int = 256
    layers: int = 3
    heads: int = 8
    feed_forward: int = 512
    groups: int = 64
    categories: int = 128
    dropout: float = 0.1

    @property
    def condition_size(self) -> int:
        return 3 * self.token_size + self.beta_size


class Normalisation(nn.Module):
    """Mean and deviation of poses and conditions, part of the model: networks see numbers of order one."""

    pose_mean: Tensor
    pose_scale: Tensor
    condition_mean: Tensor
    condition_scale: Tensor

    def __init__(self, pose_size: int, condition_size: int) -> None:
        super().__init__()
        self.register_buffer("pose_mean", torch.zeros(pose_size))
        self.register_buffer("pose_scale", torch.ones(pose_size))
        self.register_buffer("condition_mean", torch.zeros(condition_size))
        self.register_buffer("condition_scale", torch.ones(condition_size))

    def fit(self, pose: Tensor, condition: Tensor) -> None:
        """Measure on the training examples; numbers that hardly vary are not blown up."""
        self.pose_mean.copy_(pose.mean(0))
        self.pose_scale.copy_(pose.std(0).clamp_min(0.04))
        self.condition_mean.copy_(condition.mean(0))
        self.condition_scale.copy_(condition.std(0).clamp_min(0.01))

    def pose(self, x: Tensor) -> Tensor:
        return (x - self.pose_mean) / self.pose_scale

    def vectors(self, x: Tensor) -> Tensor:
        """Undoes `pose`: rotation vectors [rad]."""
        return x * self.pose_scale + self.pose_mean

    def condition(self, c: Tensor) -> Tensor:
        return (c - self.condition_mean) / self.condition_scale


def gaussian_nll(value: Tensor, mean: Tensor | float = 0.0, log_sigma: Tensor | float = 0.0) -> Tensor:
    """(B,) negative log density of a diagonal Gaussian without its constant 0.5 ln(2 pi) per number."""
    log_sigma = torch.as_tensor(log_sigma, dtype=value.dtype, device=value.device)
    return (0.5 * ((value - mean) * torch.exp(-log_sigma)) ** 2 + log_sigma).sum(-1)


def _three_layers(inputs: int, hidden: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, hidden), activation(), nn.Linear(hidden, outputs)
    )
    nn.init.zeros_(net[-1].weight)  # the flow starts as the identity
    nn.init.zeros_(net[-1].bias)
    return net


class AffineCoupling(nn.Module):
    """Supplement eq. 1: `y_m = x_m`, the rest `y = x * exp(s(x_m, C)) + t(x_m, C)`.

    `s` has tanh and `t` ReLU inside, neither has a non-linearity at its end.
    """

    def __init__(self, config: FlagConfig, keeps_even: bool) -> None:
        super().__init__()
        even = torch.arange(0, config.pose_size, 2)
        odd = torch.arange(1, config.pose_size, 2)
        kept, changed = (even, odd) if keeps_even else (odd, even)
        self.keeps_even, self.hidden = keeps_even, config.hidden
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("changed", changed, persistent=False)
        inputs = len(kept) + config.condition_size
        self.scale = _three_layers(inputs, config.hidden, len(changed), nn.Tanh)
        self.translation = _three_layers(inputs, config.hidden, len(changed), nn.ReLU)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) towards the latent space, and the (B,) log determinant."""
        s, t = self._networks(x, condition)
        return self._put(x, x[:, self.changed] * torch.exp(s) + t), s.sum(-1)

    def inverse(self, y: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) towards the pose, and the (B,) log determinant of that direction."""
        s, t = self._networks(y, condition)
        return self._put(y, (y[:, self.changed] - t) * torch.exp(-s)), -s.sum(-1)

    def _networks(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([x[:, self.kept], condition], dim=-1)
        # in full precision again, where autocast rounds the products
        return self.scale(seen).to(x.dtype), self.translation(seen).to(x.dtype)

    def _put(self, x: Tensor, changed: Tensor) -> Tensor:
        # even and odd numbers interleaved again: a scatter that every runtime has
        kept = x[:, self.kept]
        pair = (kept, changed) if self.keeps_even else (changed, kept)
        return torch.stack(pair, dim=-1).flatten(-2)


class PoseFlow(nn.Module):
    """The conditional RealNVP f_theta: exact likelihood of a pose, and the pose of a latent code."""

    def __init__(self, config: FlagConfig) -> None:
        super().__init__()
        if config.pose_size % 2:
            raise ValueError(f"the couplings split a pose in halves: its size must be even, got {config.pose_size}")
        self.config = config
        # "After each block, we swap mask and unmask indices"
        self.blocks = nn.ModuleList([AffineCoupling(config, keeps_even=b % 2 == 0) for b in range(config.couplings)])

    def to_latent(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Pose (B, D) to latent code (B, D) and the (B,) log determinant of the map."""
        log_det = x.new_zeros(len(x))
        for block in self.blocks:
            x, change = block(x, condition)
            log_det = log_det + change
        return x, log_det

    def to_pose(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Latent code (B, D) to pose (B, D) and the (B,) log determinant of the map."""
        log_det = z.new_zeros(len(z))
        for block in reversed(self.blocks):
            z, change = block.inverse(z, condition)
            log_det = log_det + change
        return z, log_det

    def nll(self, x: Tensor, condition: Tensor, supervise: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) negative log likelihood, the same plus the weighted ones of the supervised blocks, and the (B, D) code.

        Intermediate supervision: after block b in IS the partial flow alone is asked to be a density of poses, with
        weight b / 16. It is used in training only.
        """
        log_det = x.new_zeros(len(x))
        total = x.new_zeros(len(x))
        for number, block in enumerate(self.blocks, start=1):
            x, change = block(x, condition)
            log_det = log_det + change
            if supervise and number in self.config.supervised and number < self.config.couplings:
                total = total + (gaussian_nll(x) - log_det) * (number / self.config.couplings)
        final = gaussian_nll(x) - log_det
        return final, total + final, x


@dataclass
class Prediction:
    """What the latent predictor says.

    Attributes:
        mu, log_sigma: (B, D) of the latent region N(mu_H, Sigma_H).
        joints: (B, J, 9) positions and orientations of all joints (masked joint prediction).
        pose: (B / 4, D) x of the first examples by the auxiliary reconstruction from a discrete sample, or None outside
            of training.
        contacts: (B, 2) logits of the left and right foot standing on the floor.
    """

    mu: Tensor
    log_sigma: Tensor
    joints: Tensor
    pose: Tensor | None
    contacts: Tensor


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, outputs))


class LatentPredictor(nn.Module):
    """The transformer of supplement section 1: from unmasked joints to the latent region.

    Masked joints are left out of the sequence instead of being replaced: attention over what is observed is the same
    function, and with head and hands only it has three tokens, which is what runs live. A hand that is not tracked is
    a learned token.
    """

    # Heads' deviations are bounded: a region narrower than e^-5 or wider than e^2 is noise of training.
    _LOG_SIGMA = (-5.0, 2.0)

    def __init__(self, config: FlagConfig, devices: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.devices = config, list(devices)
        w = config.width
        self.embedding = nn.Sequential(nn.Linear(config.token_size, w), nn.LeakyReLU())
        self.position = nn.Parameter(torch.randn(config.joints, w) * 0.02)
        self.lost = nn.Parameter(torch.randn(config.joints, w) * 0.02)
        layer = nn.TransformerEncoderLayer(w, config.heads, config.feed_forward, config.dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        pooled, latent, c = 3 * w, config.groups * config.categories, config.condition_size
        self.masked_joints = nn.Linear(pooled, config.joints * 9)
        self.to_latent = _two_layers(pooled + c, w, latent)
        self.pose_from_latent = _two_layers(latent, w, config.pose_size)
        self.mu = _two_layers(latent + c, w, config.pose_size)
        self.log_sigma = _two_layers(latent + c, w, config.pose_size)
        self.contacts = nn.Linear(pooled, 2)

    def forward(
        self,
        condition: Tensor,
        tracked: Tensor,
        body: Tensor | None = None,
        unmasked: tuple[int, ...] = (),
        temperature: float | None = None,
    ) -> Prediction:
        """
        Args:
            condition: (B, C), `[x_H, beta]`.
            tracked: (B, 3) 1 where head and hands are tracked, else 0.
            body: (B, J, 9) true states of all joints; needed where joints are unmasked (curriculum of training).
            unmasked: joints beside head and hands that are shown.
            temperature: of the Gumbel-softmax; None leaves the auxiliary pose reconstruction out.
        """
        batch, token = len(condition), self.config.token_size
        observed = condition[:, : 3 * token].reshape(batch, 3, token)
        seen = tracked[..., None]
        tokens = self.embedding(observed) * seen + self.lost[self.devices] * (1.0 - seen)
        tokens = tokens + self.position[self.devices]
        if unmasked:
            assert body is not None
            shown = F.pad(body[:, list(unmasked)], (0, token - 9))
            tokens = torch.cat([tokens, self.embedding(shown) + self.position[list(unmasked)]], dim=1)
        pooled = self.encoder(tokens)[:, :3].reshape(batch, -1)  # "pooled down to the representation of head and hands"
        logits = self.to_latent(torch.cat([pooled, condition], dim=-1))
        logits = logits.reshape(batch, self.config.groups, self.config.categories).float()
        pose = None
        if temperature is not None:
            # drawing costs as much as all the rest of the transformer, and is for an auxiliary task
            sample = F.gumbel_softmax(logits[: max(1, batch // 4)], tau=temperature, hard=True)
            pose = self.pose_from_latent(sample.flatten(1)).float()
        region = torch.cat([F.softmax(logits, dim=-1).reshape(batch, -1), condition], dim=-1)
        return Prediction(
            mu=self.mu(region).float(),
            log_sigma=self.log_sigma(region).float().clamp(*self._LOG_SIGMA),
            joints=self.masked_joints(pooled).reshape(batch, self.config.joints, 9).float(),
            pose=pose,
            contacts=self.contacts(pooled).float(),
        )


class Flag(nn.Module):
    """Flow and latent predictor as one, to be trained on together after each was trained by itself."""

    def __init__(self, config: FlagConfig, devices: tuple[int, int, int]) -> None:
        super().__init__()
        self.flow = PoseFlow(config)
        self.predictor = LatentPredictor(config, devices)
