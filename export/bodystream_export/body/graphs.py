"""The embedding's networks between codes and features as they are: what scales features is folded into last layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodystream_training.body.model import BodyNetwork, Scale

__all__ = ["DecoderGraph", "EncoderGraph", "narrowed"]

_DRAWN = 4096
_NEUTRAL = 4
"""Of the bodies that are drawn, one in so many is neutral."""


class DecoderGraph(nn.Module):
    """Codes to features (eq. 7 and 8): skinned parts and a difference, both unscaled.

    Inputs: `shape` (B, S), `pose` (B, P), 0 for the neutral body. Output: `features` (B, V, 9).
    """

    def __init__(self, model: BodyNetwork) -> None:
        super().__init__()
        self.vertices, self.count = model.config.vertices, model.config.parts
        self.of_shape, self.of_pose = model.difference.of_shape, model.difference.of_pose
        # Where there are parts, they bring the middle of the scale.
        self.out = nn.Sequential(_unscaled(model.difference.out, model.scale, middle=model.base is None))
        if model.base is None or model.skinning is None:
            self.parts = None
            return
        self.parts_of_shape, self.parts_of_pose = model.base.of_shape, model.base.of_pose
        self.parts = _unscaled(model.base.out, model.coarse_scale, middle=True)
        self.register_buffer("skinning", model.skinning.weights().detach())

    def hidden(self, shape: Tensor, pose: Tensor) -> Tensor:
        """(B, wide) what the last layer of the difference sees."""
        return self.of_shape(shape) + self.of_pose(pose)

    def forward(self, shape: Tensor, pose: Tensor) -> tuple[Tensor]:
        features = self.out(self.hidden(shape, pose)).reshape(-1, self.vertices, 9)
        if self.parts is None:
            return (features,)
        g = self.parts(self.parts_of_shape(shape) + self.parts_of_pose(pose)).reshape(-1, self.count, 9)
        return (features + self.get_buffer("skinning") @ g,)


class EncoderGraph(nn.Module):
    """Features to the means of the codes.

    Input: `features` (B, V, 9). Outputs: `shape` (B, S), `pose` (B, P).
    """

    def __init__(self, model: BodyNetwork) -> None:
        super().__init__()
        self.size = 9 * model.config.vertices
        self.scale, self.trunk = model.scale, model.trunk
        self.shape, self.pose = model.shape_head.mean, model.pose_head.mean

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(self.scale.scaled(features).reshape(-1, self.size))
        return self.shape(hidden), self.pose(hidden)


def _unscaled(layer: nn.Linear, scale: Scale, middle: bool) -> nn.Linear:
    """The layer followed by `Scale.unscaled`, or where `middle` is false by its linear part alone."""
    gain = ((scale.high - scale.low) / 1.9).flatten()
    out = nn.Linear(layer.in_features, layer.out_features)
    out.weight.data = gain[:, None] * layer.weight.data
    out.bias.data = gain * layer.bias.data + (0.95 * gain + scale.low.flatten() if middle else 0.0)
    return out


@torch.no_grad()
def narrowed(graph: DecoderGraph, shape: int, pose: int, rank: int, seed: int = 0) -> None:
    """Put the last layer of the difference as two with `rank` numbers between, those that say most of features.

    What its inputs do is looked at over bodies that are drawn as the codes are distributed: principal components of the
    outputs, found in the space of the inputs.

    Args:
        shape, pose: numbers of the codes.
        rank: at most what goes into the layer.
        seed: of the bodies.
    """
    drawn = torch.Generator().manual_seed(seed)
    poses = torch.randn(_DRAWN, pose, generator=drawn)
    poses[::_NEUTRAL] = 0.0
    inputs = graph.hidden(torch.randn(_DRAWN, shape, generator=drawn), poses).double()
    mean = inputs.mean(dim=0)
    values, axes = torch.linalg.eigh((inputs - mean).T @ (inputs - mean) / _DRAWN)
    values = values.clamp_min(1e-9 * float(values.max()))
    root, back = (axes * values.sqrt()) @ axes.T, (axes / values.sqrt()) @ axes.T
    (layer,) = graph.out
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.double()
    _, components = torch.linalg.eigh(root @ (weight.T @ weight) @ root)
    kept = components[:, -rank:]
    first, last = nn.Linear(len(mean), rank), nn.Linear(rank, layer.out_features)
    first.weight.data = (kept.T @ back).float()
    first.bias.data = -(kept.T @ back @ mean).float()
    last.weight.data = (weight @ root @ kept).float()
    last.bias.data = (layer.bias.double() + weight @ mean).float()
    graph.out = nn.Sequential(first, last)
