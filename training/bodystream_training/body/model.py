"""The embedding's network: sec. 5 and the appendix of DHNN (Jiang et al., 2020).

Symbols are the paper's: f features of the vertices (B, V, 9), g of the parts (B, P, 9), both scaled to [-0.95, 0.95]; b
base and d difference features; e_s (B, 50) shape code, e_p (B, 72) pose code; index s = neutral.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["BodyNetwork", "BodyNetworkConfig", "Codes", "Decoded", "LearnableSkinning", "MeshVae", "Scale"]


@dataclass(frozen=True)
class BodyNetworkConfig:
    """Sizes and switches.

    Attributes:
        vertices, parts: V and P.
        shape, pose: sizes of the codes.
        hidden, wide: of the layers between (table 8).
        rank: numbers between two halves of the layers that have as many ends as there are features, which are then the
            product of two; 0 leaves them whole, as the paper has them.
        seen: the same of the encoder's, where there is a rank.
        base_path: without, the network of the paper's "Baseline".
        disentangled: without, meshVAE: one code of the same size, and no neutral output.
    """

    vertices: int
    parts: int
    shape: int = 50
    pose: int = 72
    hidden: int = 400
    wide: int = 800
    rank: int = 0
    seen: int = 128
    base_path: bool = True
    disentangled: bool = True

    @property
    def code(self) -> int:
        """Numbers of both codes together."""
        return self.shape + self.pose


class Codes(NamedTuple):
    """Means and standard deviations, each (B, 50) or (B, 72)."""

    shape: Tensor
    shape_deviation: Tensor
    pose: Tensor
    pose_deviation: Tensor


class Decoded(NamedTuple):
    """f (B, V, 9) and g (B, P, 9); g is None without a base path."""

    f: Tensor
    g: Tensor | None


def _units(*sizes: int) -> nn.Sequential:
    """MLP of units: a fully connected layer and tanh each."""
    layers: list[nn.Module] = []
    for size, following in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(size, following), nn.Tanh()]
    return nn.Sequential(*layers)


def _trunk(config: BodyNetworkConfig) -> nn.Sequential:
    """T of the encoder: (B, 9V) to (B, hidden)."""
    ends = 9 * config.vertices
    if not config.rank:
        return _units(ends, config.wide, config.hidden)
    return nn.Sequential(nn.Linear(ends, config.seen), *_units(config.seen, config.wide, config.hidden))


def _last(config: BodyNetworkConfig, rows: int) -> nn.Linear | nn.Sequential:
    """(B, wide) to (B, 9 rows), linear."""
    if not config.rank or rows < config.vertices:
        return nn.Linear(config.wide, 9 * rows)
    return nn.Sequential(nn.Linear(config.wide, config.rank), nn.Linear(config.rank, 9 * rows))


class _Head(nn.Module):
    """T_s or T_p: the mean by a layer without activation, the deviation by one with 2 sigmoid."""

    def __init__(self, size: int, code: int) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Linear(size, code), nn.Linear(size, code)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(hidden), 2.0 * torch.sigmoid(self.deviation(hidden))


class Scale(nn.Module):
    """[-0.95, 0.95] to features and back; the numbers are `FeatureScale`'s."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.zeros(rows, 9))
        self.register_buffer("high", torch.ones(rows, 9))

    def scaled(self, features: Tensor) -> Tensor:
        return (features - self.low) * (1.9 / (self.high - self.low)) - 0.95

    def unscaled(self, scaled: Tensor) -> Tensor:
        return (scaled + 0.95) * ((self.high - self.low) / 1.9) + self.low


class LearnableSkinning(nn.Module):
    """W: each row of b is a convex combination of those rows of g whose parts are near (eq. 9)."""

    def __init__(self, vertices: int, parts: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vertices, parts))
        self.nearby: Tensor
        self.register_buffer("nearby", torch.ones(vertices, parts, dtype=torch.bool))

    def weights(self) -> Tensor:
        """(V, P), not negative, rows that sum to one, zero where a part is not near."""
        return torch.softmax(self.logits.masked_fill(~self.nearby, -torch.inf), dim=1)

    def forward(self, g: Tensor) -> Tensor:
        """(B, P, 9) to (B, V, 9)."""
        return torch.einsum("vp,bpc->bvc", self.weights(), g)


class _Path(nn.Module):
    """T(S(e_s) + P(e_p)), eq. 8. The last layer is linear: a difference may be larger than one."""

    def __init__(self, config: BodyNetworkConfig, rows: int) -> None:
        super().__init__()
        self.of_shape = _units(config.shape, config.hidden, config.wide)
        self.of_pose = _units(config.pose, config.hidden, config.wide)
        self.out = _last(config, rows)

    def forward(self, e_s: Tensor, e_p: Tensor) -> Tensor:
        return self.out(self.of_shape(e_s) + self.of_pose(e_p)).unflatten(-1, (-1, 9))


class BodyNetwork(nn.Module):
    """Encoder and decoder of fig. 3."""

    def __init__(self, config: BodyNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _trunk(config)  # T
        self.shape_head = _Head(config.hidden, config.shape)  # T_s
        self.pose_head = _Head(config.hidden, config.pose)  # T_p
        self.difference = _Path(config, config.vertices)  # D
        self.scale = Scale(config.vertices)
        self.coarse_scale = Scale(config.parts)
        self.base = _Path(config, config.parts) if config.base_path else None  # C
        self.skinning = LearnableSkinning(config.vertices, config.parts) if config.base_path else None

    def encode(self, f: Tensor) -> Codes:
        hidden = self.trunk(f.flatten(1))
        return Codes(*self.shape_head(hidden), *self.pose_head(hidden))

    def decode(self, e_s: Tensor, e_p: Tensor) -> Decoded:
        """f = W(C(e_s, e_p)) + D(e_s, e_p), eq. 7. Skinning blends what deformations are, so between scales."""
        d = self.difference(e_s, e_p)
        if self.base is None or self.skinning is None:
            return Decoded(d, None)
        g = self.base(e_s, e_p)
        b = self.scale.scaled(self.skinning(self.coarse_scale.unscaled(g)))
        return Decoded(b + d, g)

    def neutral(self, e_s: Tensor) -> Decoded:
        """The neutral body of the same person: e_p = 0."""
        return self.decode(e_s, e_s.new_zeros(len(e_s), self.config.pose))

    def decode_code(self, code: Tensor) -> Tensor:
        """f (B, V, 9) of both codes in one (B, 122)."""
        return self.decode(code[:, : self.config.shape], code[:, self.config.shape :]).f

    def mean_code(self, f: Tensor) -> Tensor:
        """(B, 122) of the encoder, without noise."""
        codes = self.encode(f)
        return torch.cat([codes.shape, codes.pose], dim=1)


class MeshVae(nn.Module):
    """One code for shape and pose together (Tan et al., "Variational autoencoders for deforming 3d mesh models", 2018),
    with layers as wide as those it is compared with."""

    def __init__(self, config: BodyNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _trunk(config)
        self.head = _Head(config.hidden, config.code)
        self.units = _units(config.code, config.hidden, config.wide)
        self.out = _last(config, config.vertices)
        self.scale = Scale(config.vertices)
        self.coarse_scale = Scale(config.parts)

    def encode(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, 122)."""
        return self.head(self.trunk(f.flatten(1)))

    def decode_code(self, code: Tensor) -> Tensor:
        return self.out(self.units(code)).unflatten(-1, (-1, 9))

    def mean_code(self, f: Tensor) -> Tensor:
        return self.encode(f)[0]
