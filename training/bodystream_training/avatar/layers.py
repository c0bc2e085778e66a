"""What the networks of the avatar are built of: plain layers, the encoder of bones, the embedding of space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BoneEncoder", "Mlp", "SpaceEmbedding", "bone_parameters", "mapped", "smooth"]

_SHARPNESS = 100.0  # of the softplus of implicit surfaces


def smooth(x: Tensor) -> Tensor:
    """A softplus so sharp that it is nearly a rectifier, with a derivative everywhere, as implicit surfaces use it."""
    return F.softplus(x, beta=_SHARPNESS)


class Mlp(nn.Sequential):
    """Linear layers of the given widths with rectifiers between them.

    Args:
        widths: of the input, of what lies between, of the output.
        zero: the last layer begins at zero, so that all outputs do (appendix C.1).
    """

    def __init__(self, widths: Sequence[int], *, zero: bool = False) -> None:
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-2], widths[1:-1], strict=True):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(widths[-2], widths[-1])
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


def mapped(maps: Sequence[Mlp], e_space: Tensor, e_pose: Tensor, *, multiply: bool = True) -> Tensor:
    """What maps of one hidden layer make of eq. 9's `[e_pose * e_space, e_pose]` where all points are of one pose.

    The product is made with the maps' weights instead of with every point, `W (e * s) = (W diag(e)) s`, and what the
    pose alone gives is added once.

    Args:
        e_space: (M, d). e_pose: (d,).
        multiply: False: `[e_space, e_pose]`.

    Returns:
        (M, O) the outputs of the maps beside each other.
    """
    size = e_pose.shape[0]
    pairs = [[layer for layer in chain.children() if isinstance(layer, nn.Linear)] for chain in maps]
    weight = torch.cat([first.weight for first, _ in pairs])
    bias = torch.cat([first.bias for first, _ in pairs]) + weight[:, size:] @ e_pose
    over_space = weight[:, :size] * e_pose if multiply else weight[:, :size]
    hidden = F.relu(F.linear(e_space, over_space, bias))
    parts = hidden.split([first.out_features for first, _ in pairs], -1)
    return torch.cat([last(part) for part, (_, last) in zip(parts, pairs, strict=True)], -1)


class SpaceEmbedding(nn.Module):
    """Phi: coordinates [m] -> embedding (eq. 8): two sine layers of SIREN, initialised as its paper says.

    Args:
        coordinates: 1 or 2.
        size: d of the embedding.
        siren: False: rectifiers in place of sines (table 3, "w/o SIREN").
        omega: SIREN's omega_0, by which both layers' outputs are multiplied inside of the sines [rad/m for the first].
    """

    def __init__(self, coordinates: int, size: int, *, siren: bool = True, omega: float = 30.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(coordinates, size), nn.Linear(size, size)
        self.siren, self.omega = siren, omega
        if siren:
            nn.init.uniform_(self.first.weight, -1.0 / coordinates, 1.0 / coordinates)
            bound = math.sqrt(6.0 / size) / omega
            nn.init.uniform_(self.second.weight, -bound, bound)

    def forward(self, coordinates: Tensor) -> Tensor:
        """(..., 1 or 2) -> (..., d)."""
        if self.siren:
            return torch.sin(self.omega * self.second(torch.sin(self.omega * self.first(coordinates))))
        return self.second(F.relu(self.first(coordinates)))


class BoneEncoder(nn.Module):
    """m_b: an MLP of each bone's own, its outputs side by side (eq. 7): the pose embedding e_theta.

    What bones at rest give is taken off, so that the embedding of the canonical pose is zero and nothing that is
    multiplied with it varies in space, as eq. 9 is meant to have it.

    Args:
        bones: their number.
        size: d of the embedding, a multiple of `bones`.
        hidden: width of the MLPs.
    """

    def __init__(self, bones: int, size: int, hidden: int) -> None:
        super().__init__()
        each = size // bones
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for before, after in ((6, hidden), (hidden, hidden), (hidden, each)):
            bound = 1.0 / math.sqrt(before)
            self.weights.append(nn.Parameter(torch.empty(bones, before, after).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(bones, 1, after).uniform_(-bound, bound)))

    def forward(self, bones: Tensor) -> Tensor:
        """(P, B, 6) places and angles -> (P, d)."""
        x = self.raw(torch.cat([bones, torch.zeros_like(bones[:1])]))
        return x[:-1] - x[-1:]

    def raw(self, bones: Tensor) -> Tensor:
        """The same before what bones at rest give is taken off."""
        x = bones.transpose(0, 1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < len(self.weights) - 1:
                x = F.relu(x)
        return x.transpose(0, 1).flatten(1)


def bone_parameters(posed_from_canonical: Tensor) -> Tensor:
    """The six numbers of each bone: translation [m] and Euler angles [rad] about x, y and z, in this order.

    Args:
        posed_from_canonical: (P, B, 4, 4) rigid.

    Returns:
        (P, B, 6); all zero for bones at rest.
    """
    rotation, translation = posed_from_canonical[..., :3, :3], posed_from_canonical[..., :3, 3]
    x = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    y = torch.asin((-rotation[..., 2, 0]).clamp(-1.0, 1.0))
    z = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return torch.cat([translation, torch.stack([x, y, z], -1)], -1)
