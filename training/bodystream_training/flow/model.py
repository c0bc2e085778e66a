"""The networks of Neural Non-Rigid Tracking (Bozic et al. 2020): flow by PWC-Net, and the weights of its matches.

PWC-Net is Sun et al. 2018: a pyramid of features, at each level the target warped by the flow so far, a cost volume, a
densely connected decoder, and at the end a context network of dilated convolutions. Everything is named as there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_training.flow.layers import cost_volume, warp

__all__ = ["FLOW_SCALE_PX", "LEVELS", "FullFlow", "PwcNet", "WeightNet", "rgbd_input"]

FLOW_SCALE_PX = 20.0
"""Pixels of the image per unit of what the decoders say."""
LEVELS = (6, 5, 4, 3, 2)
"""Of the pyramid, in the order of the decoders; level l has 2^l pixels per cell."""

_PYRAMID = (16, 32, 64, 96, 128, 196)
_DENSE = (128, 128, 96, 64, 32)
_CONTEXT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
_RADIUS = 4
_COSTS = (2 * _RADIUS + 1) ** 2


class FullFlow(NamedTuple):
    """What PWC-Net says.

    Attributes:
        flows_px: (B, 2, H / 2^l, W / 2^l) of each of LEVELS, in pixels of the whole image; the last one, at a quarter
            of it, is the answer.
        features: (B, 565, H / 4, W / 4) of the last decoder, for the weights.
    """

    flows_px: list[Tensor]
    features: Tensor


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation), nn.LeakyReLU(0.1))


class _Decoder(nn.Module):
    """Costs, source features, and the last level's flow and features to a flow; each layer sees all before it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for outputs in _DENSE:
            self.layers.append(_convolution(inputs, outputs))
            inputs += outputs
        self.flow = nn.Conv2d(inputs, 2, 3, padding=1)
        self.channels = inputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            x = torch.cat([layer(x), x], dim=1)
        return self.flow(x), x


class _Up(nn.Module):
    """Flow and features of one level to the next, finer one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.flow = nn.ConvTranspose2d(2, 2, 4, 2, 1)
        self.features = nn.ConvTranspose2d(channels, 2, 4, 2, 1)

    def forward(self, flow: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(flow), self.features(hidden)


class PwcNet(nn.Module):
    """The dense correspondence predictor Phi: 9.374 million parameters.

    Args of `forward`: source and target (B, 3, H, W) in [0, 1]; H and W are multiples of 64.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = nn.ModuleList()
        inputs = 3
        for outputs in _PYRAMID:
            self.pyramid.append(
                nn.Sequential(
                    _convolution(inputs, outputs, stride=2),
                    _convolution(outputs, outputs),
                    _convolution(outputs, outputs),
                )
            )
            inputs = outputs
        # the coarsest one has nothing but costs; the others also source features, two channels of flow, two of features
        decoders = [_Decoder(_COSTS), *[_Decoder(_COSTS + _PYRAMID[level - 1] + 4) for level in LEVELS[1:]]]
        self.decoders = nn.ModuleList(decoders)
        self.ups = nn.ModuleList([_Up(decoder.channels) for decoder in decoders[:-1]])
        context: list[nn.Module] = []
        inputs = decoders[-1].channels
        for outputs, dilation in _CONTEXT:
            context.append(_convolution(inputs, outputs, dilation=dilation))
            inputs = outputs
        self.context = nn.Sequential(*context, nn.Conv2d(inputs, 2, 3, padding=1))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of LEVELS, from (B, 3, H, W); a frame is encoded once, whatever it serves as."""
        features = []
        for stage in self.pyramid:
            image = stage(image)
            features.append(image)
        return [features[level - 1] for level in LEVELS]

    def decode(self, source: list[Tensor], target: list[Tensor]) -> FullFlow:
        """The flow between two frames, of what `encode` gave for each."""
        flow, hidden = self.decoders[0](_costs(source[0], target[0]))
        flows = [flow]
        for number, level in enumerate(LEVELS[1:], start=1):
            flow, features = self.ups[number - 1](flow, hidden)
            costs = _costs(source[number], warp(target[number], flow * (FLOW_SCALE_PX / 2**level)))
            flow, hidden = self.decoders[number](torch.cat([costs, source[number], flow, features], dim=1))
            flows.append(flow)
        flows[-1] = flow + self.context(hidden)
        return FullFlow([FLOW_SCALE_PX * f for f in flows], hidden)

    def forward(self, source: Tensor, target: Tensor) -> FullFlow:
        count = len(source)
        both = self.encode(torch.cat([source, target]))
        return self.decode([x[:count] for x in both], [x[count:] for x in both])


def _costs(source: Tensor, target: Tensor) -> Tensor:
    return F.leaky_relu(cost_volume(source, target, _RADIUS), 0.1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.1)), 0.1)


class WeightNet(nn.Module):
    """The weighting function Psi: 316 thousand parameters.

    Args of `forward`: source Z_s and target Z_t, (B, 6, H, W) of `rgbd_input`, of which the target is sampled here at
    `flow_px` (B, 2, H / 4, W / 4); features (B, 565, H / 4, W / 4) of the flow network. Gives the logits of the
    weights, (B, 1, H, W).
    """

    def __init__(self, features: int = 565) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(features, 32, 4, 2, 1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.LeakyReLU(0.1),
        )
        self.mix = _convolution(16 + 2 * 6, 16)
        self.blocks = nn.Sequential(*[_Residual(16) for _ in range(3)])
        self.head = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, source: Tensor, target: Tensor, flow_px: Tensor, features: Tensor) -> Tensor:
        flow_px = F.interpolate(flow_px, scale_factor=4, mode="bilinear", align_corners=False)
        seen = torch.cat([self.up(features), source, warp(target, flow_px)], dim=1)
        return self.head(self.blocks(self.mix(seen)))


def rgbd_input(rgb: Tensor, depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """(B, 6, H, W) of eq. 6: colour (B, 3, H, W) and the points [m] of depth (B, 1, H, W), 0 where it has none.

    Args:
        intrinsics: (B, 4) fx, fy, cx, cy [px].
    """
    height, width = depth_m.shape[2:]
    fx, fy, cx, cy = (intrinsics[:, k, None, None, None] for k in range(4))
    depth_m = torch.where(depth_m > 0, depth_m, 0.0)
    u = torch.arange(width, dtype=depth_m.dtype, device=depth_m.device)
    v = torch.arange(height, dtype=depth_m.dtype, device=depth_m.device)[:, None]
    return torch.cat([rgb, (u - cx) / fx * depth_m, (v - cy) / fy * depth_m, depth_m], dim=1)
