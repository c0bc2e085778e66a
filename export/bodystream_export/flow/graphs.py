"""The graphs of the flow networks: an encoder of one frame, and a decoder of two frames' features.

A frame is encoded once, as the target; its features serve again when it is the source or a keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_export.flow.aligned import aligned
from bodystream_training.flow.light import STRIDES, Features, LightDecoder, LightEncoder, LightFlow
from bodystream_training.flow.model import LEVELS, PwcNet, WeightNet
from bodystream_training.flow.networks import FullNet

__all__ = ["FlowGraph", "flow_graphs"]


@dataclass(frozen=True)
class FlowGraph:
    """One graph to export.

    Attributes:
        part: `encoder` or `decoder`.
        network: in evaluation mode, itself too: a tracer gives its mode back to all that it holds. It takes `inputs` in
            their order and gives a tuple of `outputs`.
        inputs, outputs: shapes by name.
    """

    part: str
    network: nn.Module
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


class _LightEncoderGraph(nn.Module):
    def __init__(self, encoder: LightEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for level in self.encoder(image) for part in level)


class _LightDecoderGraph(nn.Module):
    def __init__(self, decoder: LightDecoder, iterations: int) -> None:
        super().__init__()
        self.decoder, self.iterations = decoder, iterations

    def forward(
        self,
        source_matching_8: Tensor,
        source_context_8: Tensor,
        source_matching_4: Tensor,
        source_context_4: Tensor,
        target_matching_8: Tensor,
        target_matching_4: Tensor,
        initial_flow_px: Tensor,
    ) -> tuple[Tensor, Tensor]:
        source = [Features(source_matching_8, source_context_8), Features(source_matching_4, source_context_4)]
        last = self.decoder(source, [target_matching_8, target_matching_4], initial_flow_px, self.iterations)[-1]
        return last.flow_px, torch.sigmoid(last.weight_logit)


class _FullEncoderGraph(nn.Module):
    def __init__(self, flow: PwcNet) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.flow.encode(rgb))


class _FullDecoderGraph(nn.Module):
    def __init__(self, flow: PwcNet, weights: WeightNet) -> None:
        super().__init__()
        self.flow, self.weights = flow, weights

    def forward(self, source_rgbd: Tensor, target_rgbd: Tensor, *features: Tensor) -> tuple[Tensor, Tensor]:
        count = len(LEVELS)
        found = self.flow.decode(list(features[:count]), list(features[count:]))
        flow_px = found.flows_px[-1]
        weight = torch.sigmoid(self.weights(source_rgbd, target_rgbd, flow_px, found.features))
        return flow_px, F.avg_pool2d(weight, 4)


def flow_graphs(model: nn.Module, size: tuple[int, int], iterations: int = 1) -> list[FlowGraph]:
    """The graphs of a network for images of one size.

    Args:
        model: a `LightFlow` or a `FullNet`, in evaluation mode.
        size: (width, height) [px].
        iterations: passes of the light network at each level.
    """
    width, height = size

    def cells(channels: int, stride: int) -> tuple[int, ...]:
        return 1, channels, height // stride, width // stride

    answer = {"flow_px": cells(2, 4), "weight": cells(1, 4)}
    if isinstance(model, LightFlow):
        c = model.config
        features: dict[str, tuple[int, ...]] = {}
        for stride, matching, hidden in zip(STRIDES, c.matching, c.hidden, strict=True):
            features[f"matching_{stride}"] = cells(matching, stride)
            features[f"context_{stride}"] = cells(hidden, stride)
        seen = {f"source_{name}": shape for name, shape in features.items()}
        seen |= {f"target_{name}": shape for name, shape in features.items() if name.startswith("matching")}
        seen["initial_flow_px"] = cells(2, STRIDES[0])
        return [
            FlowGraph("encoder", _LightEncoderGraph(model.encoder).eval(), {"image": cells(5, 1)}, features),
            FlowGraph("decoder", _LightDecoderGraph(model.decoder, iterations).eval(), seen, answer),
        ]
    assert isinstance(model, FullNet)
    model = aligned(model).eval()
    with torch.no_grad():
        shapes = [tuple(x.shape) for x in model.flow.encode(torch.zeros(1, 3, height, width))]
    features = {f"features_{2**level}": shape for level, shape in zip(LEVELS, shapes, strict=True)}
    seen = {"source_rgbd": cells(6, 1), "target_rgbd": cells(6, 1)}
    seen |= {f"{frame}_{name}": shape for frame in ("source", "target") for name, shape in features.items()}
    return [
        FlowGraph("encoder", _FullEncoderGraph(model.flow).eval(), {"rgb": cells(3, 1)}, features),
        FlowGraph("decoder", _FullDecoderGraph(model.flow, model.weights).eval(), seen, answer),
    ]
