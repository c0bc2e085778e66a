"""The embedding's networks between codes and features as they are: what scales features is folded into last layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodystream_training.body.model import BodyNetwork, Scale

__all__ = ["DecoderGraph", "EncoderGraph", "GradientGraph", "narrowed"]

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
        *before, last = _layers(model.difference.out)
        self.out = nn.Sequential(*before, _unscaled(last, model.scale, middle=model.base is None))
        if model.base is None or model.skinning is None:
            self.parts = None
            return
        self.parts_of_shape, self.parts_of_pose = model.base.of_shape, model.base.of_pose
        (parts,) = _layers(model.base.out)
        self.parts = _unscaled(parts, model.coarse_scale, middle=True)
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


class GradientGraph(nn.Module):
    """What a change of each code does to a quantity that depends on the features: the vector-Jacobian product of a
    `DecoderGraph`, by hand, since a graph that runs knows no automatic differentiation.

    Inputs: `shape` (B, S), `pose` (B, P), `features_bar` (B, V, 9) derivatives by the features. Outputs: `shape_bar`
    (B, S), `pose_bar` (B, P).
    """

    def __init__(self, graph: DecoderGraph) -> None:
        super().__init__()
        self.of_shape, self.of_pose = _Back(graph.of_shape), _Back(graph.of_pose)
        # Rows of the last layer differ in size as the ranges of features do. One scale of 8 bits fits all of them once
        # what they are multiplied by has taken their sizes over.
        first, *rest = (_turned(layer) for layer in reversed(list(graph.out)))
        self.register_buffer("sizes", first.weight.abs().amax(dim=0).clamp_min(1e-12))
        first.weight.data = first.weight / self.get_buffer("sizes")
        self.out = nn.Sequential(first, *rest)
        self.parts, self.count = None, graph.count
        if graph.parts is not None:
            self.parts = _turned(graph.parts)
            self.parts_of_shape, self.parts_of_pose = _Back(graph.parts_of_shape), _Back(graph.parts_of_pose)
            self.register_buffer("blend", graph.get_buffer("skinning").T.contiguous())

    def forward(self, shape: Tensor, pose: Tensor, features_bar: Tensor) -> tuple[Tensor, Tensor]:
        sizes = self.get_buffer("sizes")
        hidden_bar = self.out(features_bar.reshape(-1, len(sizes)) * sizes)
        shape_bar, pose_bar = self.of_shape(shape, hidden_bar), self.of_pose(pose, hidden_bar)
        if self.parts is not None:
            parts_bar = self.parts((self.get_buffer("blend") @ features_bar).reshape(-1, 9 * self.count))
            shape_bar = shape_bar + self.parts_of_shape(shape, parts_bar)
            pose_bar = pose_bar + self.parts_of_pose(pose, parts_bar)
        return shape_bar, pose_bar


class _Back(nn.Module):
    """Derivatives by the code that units of a linear layer and tanh each made an output of."""

    def __init__(self, units: nn.Module) -> None:
        super().__init__()
        assert isinstance(units, nn.Sequential)
        layers = list(units)
        self.layers, self.activations = nn.ModuleList(layers[::2]), nn.ModuleList(layers[1::2])
        # Of their own, not products with the units' weights: quantisation transposes weights where they lie.
        self.back = nn.ModuleList(_turned(layer) for layer in layers[::2])

    def forward(self, code: Tensor, out_bar: Tensor) -> Tensor:
        answers = []
        for layer, activation in zip(self.layers, self.activations, strict=True):
            code = activation(layer(code))
            answers.append(code)
        for layer, answer in zip(reversed(list(self.back)), reversed(answers), strict=True):
            out_bar = layer(out_bar * (1.0 - answer * answer))
        return out_bar


def _turned(layer: nn.Module) -> nn.Linear:
    """The transposed layer, without a constant."""
    assert isinstance(layer, nn.Linear)
    out = nn.Linear(layer.out_features, layer.in_features, bias=False)
    out.weight.data = layer.weight.data.T.contiguous()
    return out


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


def _layers(out: nn.Module) -> list[nn.Linear]:
    return [layer for layer in out.modules() if isinstance(layer, nn.Linear)]


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
    *before, layer = _layers(graph.out)
    inputs = graph.hidden(torch.randn(_DRAWN, shape, generator=drawn), poses)
    for earlier in before:
        inputs = earlier(inputs)
    inputs = inputs.double()
    mean = inputs.mean(dim=0)
    values, axes = torch.linalg.eigh((inputs - mean).T @ (inputs - mean) / _DRAWN)
    values = values.clamp_min(1e-9 * float(values.max()))
    root, back = (axes * values.sqrt()) @ axes.T, (axes / values.sqrt()) @ axes.T
    weight = layer.weight.double()
    _, components = torch.linalg.eigh(root @ (weight.T @ weight) @ root)
    kept = components[:, -rank:]
    first, last = nn.Linear(len(mean), rank), nn.Linear(rank, layer.out_features)
    first.weight.data = (kept.T @ back).float()
    first.bias.data = -(kept.T @ back @ mean).float()
    last.weight.data = (weight @ root @ kept).float()
    last.bias.data = (layer.bias.double() + weight @ mean).float()
    graph.out = nn.Sequential(*before, first, last)
