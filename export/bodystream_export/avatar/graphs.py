"""What the avatar's networks become: the whole inverse pass, and tables of what its layers do in a pose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodystream_training.avatar.layers import Mlp
from bodystream_training.avatar.model import CouplingLayer, Ins, Pin

__all__ = ["ReposeGraph", "TableGraph", "line_layers", "plane_layers"]


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
        e_pose = self.encoder(parameters[None]).expand(points.shape[0], -1)
        points = self.canonical.inverse(points, e_pose)
        blended = (self.weights(points) @ bones.reshape(bones.shape[0], 12)).reshape(-1, 3, 4)
        points = (blended[..., :3] * points[:, None]).sum(-1) + blended[..., 3]
        return (self.deformed.inverse(points, e_pose),)


def line_layers(pin: Pin) -> list[CouplingLayer]:
    """Those that look at one coordinate."""
    return [layer for layer in pin.layers if isinstance(layer, CouplingLayer) and len(layer.seen) == 1]


def plane_layers(pin: Pin) -> list[CouplingLayer]:
    """Those that look at two, of the planes xy, yz, xz in turns."""
    return [layer for layer in pin.layers if isinstance(layer, CouplingLayer) and len(layer.seen) == 2]


class TableGraph(nn.Module):
    """What a PIN's layers do at fixed places, which embed into space in the same way whatever the pose.

    Inputs: (B, 6) places and angles of the bones; where `places` are to be chosen per pose also (3, C) numbers of nodes
    of each plane. Outputs: (L, N, 4) shifts, sine and cosine along lines, (L, C) shifts over planes.

    Args:
        lines: of each layer along a line, the coordinates of its nodes (N,).
        planes: of each plane, (K, 2) its nodes; chosen: the input says which of them, else all are meant.
    """

    def __init__(self, model: Ins, pin: Pin, lines: list[Tensor], planes: list[Tensor], chosen: bool) -> None:
        super().__init__()
        self.encoder, self.chosen = model.encoder, chosen
        along, over = line_layers(pin), plane_layers(pin)
        self.line_spaces = nn.ModuleList(layer.space for layer in along)
        self.plane_spaces = nn.ModuleList(layer.space for layer in over)
        self.line_maps = nn.ModuleList(
            _Maps([layer.translation] if layer.rotation is None else [layer.translation, layer.rotation])
            for layer in along
        )
        self.plane_maps = nn.ModuleList(_Maps([layer.translation]) for layer in over)
        for number, places in enumerate(lines):
            self.register_buffer(f"line_{number}", places[:, None])
        for number, places in enumerate(planes):
            self.register_buffer(f"plane_{number}", places)

    def forward(self, parameters: Tensor, nodes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        e_pose = self.encoder(parameters[None])[0]
        lines = []
        for number, (space, maps) in enumerate(zip(self.line_spaces, self.line_maps, strict=True)):
            # An engine works out what depends on constants alone once, when it reads the graph.
            does = maps(space(self.get_buffer(f"line_{number}")), e_pose)
            shift, angle = does[:, :2], does[:, 2:] if does.shape[1] > 2 else torch.zeros_like(does[:, :1])
            lines.append(torch.cat([shift, torch.sin(angle), torch.cos(angle)], -1))
        planes = []
        for number, (space, maps) in enumerate(zip(self.plane_spaces, self.plane_maps, strict=True)):
            e_space = space(self.get_buffer(f"plane_{number % 3}"))
            if self.chosen:
                assert nodes is not None
                e_space = torch.index_select(e_space, 0, nodes[number % 3].long())
            planes.append(maps(e_space, e_pose)[:, 0])
        return torch.stack(lines), torch.stack(planes)


class _Maps(nn.Module):
    """Operation maps side by side, the product with the pose's embedding made with their weights instead of with every
    node: `W (e * s) = (W diag(e)) s`."""

    def __init__(self, maps: list[Mlp]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)

    def forward(self, e_space: Tensor, e_pose: Tensor) -> Tensor:
        size = e_pose.shape[0]
        pairs = [[layer for layer in chain.children() if isinstance(layer, nn.Linear)] for chain in self.maps]
        weight = torch.cat([first.weight for first, _ in pairs])
        bias = torch.cat([first.bias for first, _ in pairs]) + weight[:, size:] @ e_pose
        hidden = torch.relu(e_space @ (weight[:, :size] * e_pose).T + bias)
        parts = hidden.split([first.out_features for first, _ in pairs], -1)
        return torch.cat([part @ last.weight.T + last.bias for part, (_, last) in zip(parts, pairs, strict=True)], -1)
