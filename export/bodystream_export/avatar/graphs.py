"""What the avatar's networks become: the whole inverse pass, and tables of what its layers do in a pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bodystream_training.avatar.layers import Mlp
from bodystream_training.avatar.model import CouplingLayer, Ins, Pin

__all__ = ["ReposeGraph", "TableGraph", "TablePlaces"]


class ReposeGraph(nn.Module):
    """Canonical points to posed ones (eq. 19), as the network has it.

    Inputs: (B, 6) places and angles of the bones, (B, 3, 4) the bones, (V, 3) points. Output: (V, 3).
    """

    def __init__(self, model: Ins) -> None:
        super().__init__()
        assert model.canonical is not None and model.deformed is not None and model.weights is not None
        self.encoder, self.canonical, self.deformed = model.encoder, model.canonical, model.deformed
        self.weights = model.weights

    def forward(self, parameters: Tensor, bones: Tensor, points: Tensor) -> tuple[Tensor]:
        e_pose = self.encoder(parameters[None])  # one for all points: its share is folded into the maps
        points = self.canonical.inverse(points, e_pose)
        blended = (self.weights(points) @ bones.reshape(bones.shape[0], 12)).reshape(-1, 3, 4)
        points = (blended[..., :3] * points[:, None]).sum(-1) + blended[..., 3]
        return (self.deformed.inverse(points, e_pose),)


@dataclass(frozen=True)
class TablePlaces:
    """Where tables have nodes.

    Attributes:
        lines: along each axis, (N,).
        planes: of the planes xy, yz and xz, (M, 2) each.
    """

    lines: tuple[Tensor, Tensor, Tensor]
    planes: tuple[Tensor, Tensor, Tensor]


class TableGraph(nn.Module):
    """What the layers of both PINs do at fixed places, which embed into space in the same way whatever the pose.

    Inputs: (B, 6) places and angles of the bones; (C,) numbers of the nodes of H_d's planes that are asked for, plane
    by plane, `listed` of each. Outputs: of H_c and of H_d (9, N, 4) shifts, sine and cosine along lines, and the shifts
    over planes, flat: plane by plane, of three rounds, of the nodes. Of H_c's planes all nodes are meant.
    """

    def __init__(self, model: Ins, canonical: TablePlaces, deformed: TablePlaces, listed: tuple[int, int, int]) -> None:
        super().__init__()
        assert model.canonical is not None and model.deformed is not None
        self.encoder = model.encoder
        self.register_buffer("rest", model.encoder.raw(torch.zeros(1, model.config.bones, 6)).detach())
        self.canonical_lines = _Lines(model.canonical, canonical.lines)
        self.canonical_planes = _Planes(model.canonical, canonical.planes, None)
        self.deformed_lines = _Lines(model.deformed, deformed.lines)
        self.deformed_planes = _Planes(model.deformed, deformed.planes, listed)

    def forward(self, parameters: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        e_pose = self.encoder.raw(parameters[None]) - self.get_buffer("rest")
        return (
            self.canonical_lines(e_pose),
            self.canonical_planes(e_pose, None),
            self.deformed_lines(e_pose),
            self.deformed_planes(e_pose, nodes),
        )


def _layers(pin: Pin, seen: int) -> list[CouplingLayer]:
    """Those that look at one coordinate (z, x, y in turns), or at two (the planes xy, yz, xz in turns)."""
    return [layer for layer in pin.layers if isinstance(layer, CouplingLayer) and len(layer.seen) == seen]


class _Lines(nn.Module):
    def __init__(self, pin: Pin, places: tuple[Tensor, ...]) -> None:
        super().__init__()
        layers = _layers(pin, 1)
        self.spaces = nn.ModuleList(layer.space for layer in layers)
        self.register_buffer("places", torch.stack([places[layer.seen[0]][:, None] for layer in layers]))
        self.maps = _Maps(
            [
                [layer.translation] if layer.rotation is None else [layer.translation, layer.rotation]
                for layer in layers
            ],
            layers[0].multiply,
        )

    def forward(self, e_pose: Tensor) -> Tensor:
        # An engine works out what depends on constants alone once, when it reads the graph.
        places = self.get_buffer("places")
        e_space = torch.stack([space(places[number]) for number, space in enumerate(self.spaces)])
        does = self.maps(e_space, e_pose)
        shift = does[..., :2]
        angle = does[..., 2:] if does.shape[-1] > 2 else torch.zeros_like(shift[..., :1])
        return torch.cat([shift, torch.sin(angle), torch.cos(angle)], -1)


class _Planes(nn.Module):
    """listed: how many nodes of each plane are chosen per pose; None: all are meant."""

    def __init__(self, pin: Pin, places: tuple[Tensor, ...], listed: tuple[int, int, int] | None) -> None:
        super().__init__()
        layers, self.listed = _layers(pin, 2), listed
        self.spaces = nn.ModuleList(layer.space for layer in layers)
        self.maps = nn.ModuleList()
        for plane in range(3):
            self.register_buffer(f"places_{plane}", places[plane])
            rounds = [[layer.translation] for layer in layers[plane::3]]
            self.maps.append(_Maps(rounds, layers[0].multiply))

    def forward(self, e_pose: Tensor, nodes: Tensor | None) -> Tensor:
        shifts, first = [], 0
        for plane, maps in enumerate(self.maps):
            places = self.get_buffer(f"places_{plane}")
            e_space = torch.stack([self.spaces[number](places) for number in (plane, plane + 3, plane + 6)])
            if self.listed is not None:
                assert nodes is not None
                chosen = nodes[first : first + self.listed[plane]].long()
                e_space = torch.index_select(e_space, 1, chosen)
                first += self.listed[plane]
            shifts.append(maps(e_space, e_pose).flatten())
        return torch.cat(shifts)


class _Maps(nn.Module):
    """Operation maps of equal layers in one product each, that with the pose's embedding made with their weights
    instead of with every node: `W (e * s) = (W diag(e)) s`.

    Weights lie as they are multiplied, and what the pose alone gives is a row times a matrix: engines take ten times as
    long for a matrix times a column.

    Args:
        layers: of each layer its maps, which lie side by side.
        multiply: whether the embeddings are multiplied; else that of space counts as it is.
    """

    def __init__(self, layers: list[list[Mlp]], multiply: bool) -> None:
        super().__init__()
        self.multiply = multiply
        weights, biases, lasts, ends = [], [], [], []
        for maps in layers:
            pairs = [[part for part in chain.children() if isinstance(part, nn.Linear)] for chain in maps]
            weights.append(torch.cat([first.weight for first, _ in pairs]))
            biases.append(torch.cat([first.bias for first, _ in pairs]))
            lasts.append(torch.block_diag(*(last.weight for _, last in pairs)).T)
            ends.append(torch.cat([last.bias for _, last in pairs]))
        of_space, of_pose = torch.stack(weights).detach().transpose(1, 2).chunk(2, 1)  # (L, d, H) each
        self.register_buffer("of_space", of_space.contiguous())
        self.register_buffer("of_pose", of_pose.transpose(0, 1).flatten(1).contiguous())  # (d, L H)
        self.register_buffer("bias", torch.cat(biases).detach()[None])  # (1, L H)
        self.register_buffer("last", torch.stack(lasts).detach())  # (L, H, 1 to 3)
        self.register_buffer("end", torch.stack(ends).detach()[:, None])  # (L, 1, 1 to 3)

    def forward(self, e_space: Tensor, e_pose: Tensor) -> Tensor:
        """(L, N, d), (1, d) -> (L, N, 1 to 3)."""
        weight = self.get_buffer("of_space")
        bias = (self.get_buffer("bias") + e_pose @ self.get_buffer("of_pose")).view(len(weight), 1, -1)
        weight = weight * e_pose[0, :, None] if self.multiply else weight
        return torch.relu(e_space @ weight + bias) @ self.get_buffer("last") + self.get_buffer("end")
