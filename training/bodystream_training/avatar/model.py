"""Invertible Neural Skinning: PIN, linear blend skinning, PIN, around a canonical shape that knows no pose.

After "Invertible Neural Skinning" (Kant et al., CVPR 2023). Symbols: p_d a point in the posed ("deformed") space, q_d
and q_c before and after the skinning is undone, p_c in the canonical space; theta the bones, as rigid transforms from
the canonical pose. Sizes are those of its table 4. Points are in metres, the canonical pose's pelvis at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bodystream_training.avatar.layers import BoneEncoder, Mlp, SpaceEmbedding, bone_parameters, mapped, smooth

__all__ = ["CouplingLayer", "Ins", "InsConfig", "OccupancyNetwork", "Pin", "WeightField", "skin"]

# Which coordinates a layer moves; it looks at the others. Two and one in turns, each coordinate as often.
_SPLITS = ((0, 1), (2,), (1, 2), (0,), (2, 0), (1,))


@dataclass(frozen=True)
class InsConfig:
    """Sizes and switches; the defaults are the paper's, each switch a row of its table 3.

    Attributes:
        bones: of the skeleton.
        embedding: d of the pose and of the space embedding.
        couplings: layers of each PIN.
        map_hidden, bone_hidden: widths of the operation maps and of the bone encoder.
        weight_hidden, weight_layers: of the field of skinning weights.
        occupancy_hidden, occupancy_layers: of the occupancy network.
        weight_sharpness: by which the weights' logits are multiplied before the softmax.
        multiply: the pose embedding is multiplied with that of space (row 2 without).
        siren: space is embedded by sines (row 3 without).
        omega: of these sines, 30 as SIREN has it; the lower, the smoother what the PINs do, and the coarser may be
            tables of it.
        rotate: 2D layers rotate (row 4 without).
        deformed_pin, canonical_pin: there is H_d (row 5 without), H_c (row 6 without).
        skinning: points are skinned between the PINs (row 7 without).
        posed_occupancy: the canonical shape depends on the pose, as SNARF's.
    """

    bones: int = 24
    embedding: int = 120
    couplings: int = 18
    map_hidden: int = 22
    bone_hidden: int = 132
    weight_hidden: int = 128
    weight_layers: int = 4
    occupancy_hidden: int = 256
    occupancy_layers: int = 8
    weight_sharpness: float = 20.0
    multiply: bool = True
    siren: bool = True
    omega: float = 30.0
    rotate: bool = True
    deformed_pin: bool = True
    canonical_pin: bool = True
    skinning: bool = True
    posed_occupancy: bool = False


_BALL_M, _LOGITS_PER_M = 0.5, 10.0


class CouplingLayer(nn.Module):
    """G: rotates and translates some coordinates by what the others and the pose say (eq. 5, 6, 10 to 12).

    Args:
        moved: one or two coordinates that change. One is only translated.
    """

    def __init__(self, moved: tuple[int, ...], config: InsConfig) -> None:
        super().__init__()
        self.moved, self.seen = moved, tuple(axis for axis in range(3) if axis not in moved)
        d = config.embedding
        self.multiply = config.multiply
        self.space = SpaceEmbedding(len(self.seen), d, siren=config.siren, omega=config.omega)
        self.translation = Mlp((2 * d, config.map_hidden, len(moved)), zero=True)
        self.rotation = Mlp((2 * d, config.map_hidden, 1), zero=True) if len(moved) == 2 and config.rotate else None

    def operation(self, seen: Tensor, e_pose: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is done where the coordinates that stay have the values `seen`.

        Args:
            seen: (M, 1 or 2) [m].
            e_pose: (M, d), or (1, d) where all are of one pose.

        Returns:
            (M, 1 or 2) translation [m] and (M,) angle [rad], None where nothing is rotated.
        """
        e_space = self.space(seen)
        if len(e_pose) == 1:
            maps = [self.translation] if self.rotation is None else [self.translation, self.rotation]
            does = mapped(maps, e_space, e_pose[0], multiply=self.multiply)
            moves = len(self.moved)
            return does[..., :moves], None if self.rotation is None else does[..., moves]
        e_sp = torch.cat([e_pose * e_space if self.multiply else e_space, e_pose], -1)  # eq. 9
        angle = None if self.rotation is None else self.rotation(e_sp)[..., 0]
        return self.translation(e_sp), angle

    def forward(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """(M, 3), (M or 1, d) -> (M, 3), eq. 5 and 12."""
        coordinates = list(points.unbind(-1))
        shift, angle = self.operation(points[..., list(self.seen)], e_pose)
        if angle is not None:
            a, b = self.moved
            cos, sin = angle.cos(), angle.sin()
            coordinates[a], coordinates[b] = (
                cos * coordinates[a] - sin * coordinates[b],
                sin * coordinates[a] + cos * coordinates[b],
            )
        for axis, move in zip(self.moved, shift.unbind(-1), strict=True):
            coordinates[axis] = coordinates[axis] + move
        return torch.stack(coordinates, -1)

    def inverse(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """(M, 3), (M or 1, d) -> (M, 3), eq. 6."""
        coordinates = list(points.unbind(-1))
        shift, angle = self.operation(points[..., list(self.seen)], e_pose)
        for axis, move in zip(self.moved, shift.unbind(-1), strict=True):
            coordinates[axis] = coordinates[axis] - move
        if angle is not None:
            a, b = self.moved
            cos, sin = angle.cos(), angle.sin()
            coordinates[a], coordinates[b] = (
                cos * coordinates[a] + sin * coordinates[b],
                cos * coordinates[b] - sin * coordinates[a],
            )
        return torch.stack(coordinates, -1)


class Pin(nn.Module):
    """H: coupling layers one after the other (eq. 13), and back (eq. 14). The identity before it is trained."""

    def __init__(self, config: InsConfig) -> None:
        super().__init__()
        splits = [_SPLITS[index % len(_SPLITS)] for index in range(config.couplings)]
        self.layers = nn.ModuleList(CouplingLayer(split, config) for split in splits)

    def forward(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """(M, 3) points [m] of poses with the embeddings (M, d), or of one pose (1, d) -> (M, 3)."""
        for layer in self.layers:
            points = layer(points, e_pose)
        return points

    def inverse(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """The points that `forward` takes to these."""
        for layer in reversed(self.layers):
            assert isinstance(layer, CouplingLayer)
            points = layer.inverse(points, e_pose)
        return points


class WeightField(nn.Module):
    """w_lbs: canonical points -> convex weights of the bones (eq. 2)."""

    def __init__(self, config: InsConfig) -> None:
        super().__init__()
        widths = [3, *[config.weight_hidden] * config.weight_layers, config.bones]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.sharpness = config.weight_sharpness

    def forward(self, points: Tensor) -> Tensor:
        """(M, 3) -> (M, B)."""
        x = points
        for layer in self.layers[:-1]:
            x = smooth(layer(x))
        return torch.softmax(self.sharpness * self.layers[-1](x), -1)

    def with_derivative(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(M, 3) -> (M, B) weights and (M, B, 3) what they change by along x, y and z [1/m]."""
        logits, change = self.logits_with_derivative(points)
        weights = torch.softmax(logits, -1)
        return weights, weights[..., None] * (change - (weights[..., None] * change).sum(1, keepdim=True))

    def logits_with_derivative(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(M, 3) -> (M, B) logits of the weights and (M, B, 3) what they change by along x, y and z [1/m]."""
        x, tangents = points, torch.eye(3, dtype=points.dtype, device=points.device).expand(len(points), 3, 3)
        *hidden, last = _linear(self.layers)
        for layer in hidden:
            before = layer(x)
            x = smooth(before)
            tangents = (tangents @ layer.weight.T) * torch.sigmoid(100.0 * before)[:, None]
        return self.sharpness * last(x), self.sharpness * (tangents @ last.weight.T).transpose(1, 2)


class OccupancyNetwork(nn.Module):
    """O: canonical points -> logit of lying inside (eq. 1); sigma = 0.5 is the logit 0."""

    def __init__(self, config: InsConfig) -> None:
        super().__init__()
        hidden, extra = config.occupancy_hidden, config.embedding if config.posed_occupancy else 0
        self.again = config.occupancy_layers // 2  # the layer that sees the point a second time
        self.layers = nn.ModuleList()
        size = 3 + extra
        for index in range(config.occupancy_layers):
            after = hidden - 3 if index + 1 == self.again else hidden
            self.layers.append(nn.Linear(size, after))
            size = after + 3 if index + 1 == self.again else after
        self.last = nn.Linear(hidden, 1)
        _begin_as_ball(self.layers, self.last)

    def forward(self, points: Tensor, e_pose: Tensor | None = None) -> Tensor:
        """(M, 3), and (M, d) where the shape depends on the pose -> (M,)."""
        x = points if e_pose is None else torch.cat([points, e_pose], -1)
        for index, layer in enumerate(self.layers):
            if index == self.again:
                x = torch.cat([x, points], -1) * 0.5**0.5
            x = smooth(layer(x))
        return self.last(x)[..., 0]


def _linear(layers: nn.ModuleList) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _begin_as_ball(layers: nn.ModuleList, last: nn.Linear) -> None:
    """The geometric start of implicit surfaces (SAL, Atzmon and Lipman): inside a ball, outside around it."""
    for layer in _linear(layers):
        nn.init.normal_(layer.weight, 0.0, (2.0 / layer.out_features) ** 0.5)
        nn.init.zeros_(layer.bias)
    nn.init.normal_(last.weight, -((torch.pi / last.in_features) ** 0.5) * _LOGITS_PER_M, 1e-3)
    nn.init.constant_(last.bias, _BALL_M * _LOGITS_PER_M)


def skin(weights: Tensor, points: Tensor, posed_from_canonical: Tensor) -> Tensor:
    """Linear blend skinning (eq. 3): (M, B) weights, (M, 3) points, (B, 4, 4) bones of one pose -> (M, 3)."""
    blended = (weights @ posed_from_canonical[:, :3].reshape(len(posed_from_canonical), 12)).view(-1, 3, 4)
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


class Ins(nn.Module):
    """The whole of it: encoder of bones, H_d, weights, H_c, occupancy."""

    def __init__(self, config: InsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or InsConfig()
        self.encoder = BoneEncoder(config.bones, config.embedding, config.bone_hidden)
        self.deformed = Pin(config) if config.deformed_pin else None
        self.canonical = Pin(config) if config.canonical_pin else None
        self.weights = WeightField(config) if config.skinning else None
        self.occupancy = OccupancyNetwork(config)

    def embed(self, posed_from_canonical: Tensor) -> Tensor:
        """(P, B, 4, 4) bones -> (P, d) e_theta."""
        return self.encoder(bone_parameters(posed_from_canonical))

    def occupied(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """(M, 3) canonical points of poses (M, d) -> (M,) logits."""
        return self.occupancy(points, e_pose if self.config.posed_occupancy else None)

    def to_skinned(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """p_d -> q_d."""
        return points if self.deformed is None else self.deformed(points, e_pose)

    def to_canonical(self, points: Tensor, e_pose: Tensor) -> Tensor:
        """q_c -> p_c."""
        return points if self.canonical is None else self.canonical(points, e_pose)

    def repose(self, points: Tensor, posed_from_canonical: Tensor) -> Tensor:
        """p_c -> p_d (eq. 19): (M, 3) canonical points in one pose (B, 4, 4) -> (M, 3)."""
        e_pose = self.embed(posed_from_canonical[None])
        if self.canonical is not None:
            points = self.canonical.inverse(points, e_pose)
        if self.weights is not None:
            points = skin(self.weights(points), points, posed_from_canonical)
        return points if self.deformed is None else self.deformed.inverse(points, e_pose)
