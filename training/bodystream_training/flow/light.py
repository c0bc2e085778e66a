"""LightFlow: flow and weight by a small network, for processors, small graphics cards and headsets.

The shape of RAPIDFlow (Morimitsu et al. 2024) with less of everything: plain and separable convolutions, a decoder that
is repeated as often as one likes, and batch normalisation, which an export folds away, in the encoder alone. It begins
from a flow that is expected, as a tracker has one, and looks only a few cells around it. Source and target are encoded
alike, each by itself: a frame is encoded once, as the target, and its features serve again when it is the source or a
keyframe. The weights are learned beside the flow, from which points are seen and how far off the flow is
(`losses`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_training.flow.layers import cost_volume, up_twice, warp

__all__ = [
    "MULTIPLE",
    "STRIDES",
    "Estimate",
    "Features",
    "LightConfig",
    "LightDecoder",
    "LightEncoder",
    "LightFlow",
    "light_input",
]

STRIDES = (8, 4)
"""Pixels per cell of the levels that the decoder goes through, in this order."""
MULTIPLE = 32
"""What height and width of a crop are multiples of."""

_DEPTH_RANGE_M = 0.5
_MOVES = 3.0  # logit of how much of its change a level makes, at first


@dataclass(frozen=True, slots=True)
class LightConfig:
    """Sizes of a LightFlow.

    Attributes:
        channels: of the encoder at 1/2, 1/4, 1/8 and 1/16 of the image.
        matching: channels that are compared, at each of STRIDES.
        radius: how far around the expected place, in cells, at each of STRIDES.
        hidden: channels of the decoders, at each of STRIDES.
        blocks: of each decoder.
    """

    channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    matching: tuple[int, int] = (16, 8)
    radius: tuple[int, int] = (3, 1)
    hidden: tuple[int, int] = (64, 32)
    blocks: tuple[int, int] = (4, 3)


class Features(NamedTuple):
    """What the encoder gives for one level.

    Attributes:
        matching: (B, M, H/s, W/s), compared with those of another frame.
        context: (B, hidden, H/s, W/s), what the decoder knows of the frame as a source.
    """

    matching: Tensor
    context: Tensor


class Estimate(NamedTuple):
    """What a pass of the decoder says.

    Attributes:
        flow_px: (B, 2, H/s, W/s), in pixels of the whole crop.
        weight_logit: (B, 1, H/s, W/s); its sigmoid is the weight.
    """

    flow_px: Tensor
    weight_logit: Tensor


def light_input(rgb: Tensor, depth_m: Tensor, mask: Tensor) -> Tensor:
    """What the encoder sees of a crop, (B, 5, H, W): colour, depth relative to the subject's mean, and its mask.

    Args:
        rgb: (B, 3, H, W) in [0, 1].
        depth_m: (B, 1, H, W), 0 or nan = no measurement.
        mask: (B, 1, H, W), 1 on the subject.
    """
    seen = mask * (depth_m > 0)
    depth_m = torch.where(seen > 0, depth_m, 0.0)
    middle_m = depth_m.sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True).clamp_min(1)
    relative = ((depth_m - middle_m) / _DEPTH_RANGE_M).clamp(-1, 1) * seen
    return torch.cat([2 * rgb - 1, relative, mask], dim=1)


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class _Residual(nn.Module):
    """`relu(x + f(x))` of a separable convolution f, normalised in the encoder."""

    def __init__(self, channels: int, normalised: bool) -> None:
        super().__init__()
        if normalised:
            each, across = _convolution(channels, channels, groups=channels), _convolution(channels, channels, kernel=1)
        else:
            each = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            across = nn.Conv2d(channels, channels, 1)
        self.f = nn.Sequential(each, nn.ReLU(), across)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.f(x))


def _stage(inputs: int, outputs: int, blocks: int, separable: bool = False) -> nn.Sequential:
    """Half the resolution, then residual blocks."""
    half = [_convolution(inputs, outputs, stride=2)]
    if separable:
        half = [_convolution(inputs, inputs, stride=2, groups=inputs), _convolution(inputs, outputs, kernel=1)]
    return nn.Sequential(
        *half,
        nn.ReLU(),
        *[_Residual(outputs, normalised=True) for _ in range(blocks)],
    )


class LightEncoder(nn.Module):
    """`light_input` of a crop, (B, 5, H, W) with H and W multiples of 32, to `Features` of each of STRIDES."""

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = config.channels
        self.to_half = _stage(5, half, 0)
        self.to_quarter = _stage(half, quarter, 1)
        self.to_eighth = _stage(quarter, eighth, 2)
        self.to_sixteenth = _stage(eighth, sixteenth, 2, separable=True)
        self.from_sixteenth = _convolution(sixteenth, eighth, kernel=1)
        self.from_eighth = _convolution(eighth, quarter, kernel=1)
        matching = [_convolution(c, m, kernel=1) for c, m in zip((eighth, quarter), config.matching, strict=True)]
        for head, channels in zip(matching, config.matching, strict=True):
            with torch.no_grad():
                head.get_parameter("1.weight").fill_(channels**0.25)  # the costs, means of products, vary by about 1
        self.matching = nn.ModuleList(matching)
        self.context = nn.ModuleList(
            [nn.Conv2d(c, h, 1) for c, h in zip((eighth, quarter), config.hidden, strict=True)]
        )

    def forward(self, image: Tensor) -> list[Features]:
        quarter = self.to_quarter(self.to_half(image))
        eighth = self.to_eighth(quarter)
        # What is seen at large tells small places apart: it is carried down, as in a feature pyramid.
        eighth = F.relu(eighth + up_twice(self.from_sixteenth(self.to_sixteenth(eighth))))
        quarter = F.relu(quarter + up_twice(self.from_eighth(eighth)))
        return [
            Features(matching(x), context(x))
            for matching, context, x in zip(self.matching, self.context, (eighth, quarter), strict=True)
        ]


class _Match(nn.Module):
    """The mean shift under `softmax(costs + prior)`: what the costs say by themselves, in cells.

    With it the features are made to match from the first step on; a decoder that has to find out what costs mean learns
    several times slower. Costs are bounded instead of made relative to their maximum, as a softmax does at ten times
    the price of the rest, and so that sums of their exponentials fit in 16 bits.
    """

    _BOUND = 8.0

    sums: Tensor

    def __init__(self, radius: int) -> None:
        super().__init__()
        steps = torch.arange(-radius, radius + 1).float()
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        sums = torch.stack([x.flatten(), y.flatten(), torch.ones(len(steps) ** 2)])
        self.register_buffer("sums", sums[..., None, None], persistent=False)
        # near places before far ones, until it is learned better
        self.prior = nn.Parameter(-(x.flatten() ** 2 + y.flatten() ** 2)[:, None, None] / radius)

    def forward(self, cost: Tensor) -> Tensor:
        likely = torch.exp((cost + self.prior).clamp(-self._BOUND, self._BOUND) - self._BOUND / 2)
        moments = F.conv2d(likely, self.sums)
        return moments[:, :2] / moments[:, 2:]


class _Level(nn.Module):
    """The decoder of one level: costs and context to a change of the flow and a weight.

    The head says how much of the change is made as well. A tracker's guess is often nearer than what cells of several
    pixels can tell: without that factor the decoder would have to find the very opposite of the match to keep it.
    """

    def __init__(self, config: LightConfig, level: int) -> None:
        super().__init__()
        self.radius, self.stride = config.radius[level], STRIDES[level]
        hidden = config.hidden[level]
        self.match = _Match(self.radius)
        self.mix = nn.Conv2d((2 * self.radius + 1) ** 2 + 4, hidden, 1)
        self.blocks = nn.Sequential(*[_Residual(hidden, normalised=False) for _ in range(config.blocks[level])])
        self.head = nn.Conv2d(hidden, 4, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # at first the answer is the match alone, believed by half
        with torch.no_grad():
            self.head.get_parameter("bias")[3] = _MOVES

    def forward(self, source: Features, other: Tensor, flow_px: Tensor, state: Tensor) -> tuple[Estimate, Tensor]:
        """
        Args:
            source: of this level.
            other: the target's matching features.
            flow_px: (B, 2, H/s, W/s) the flow so far.
            state: (B, hidden, H/s, W/s) what the last pass knew.
        """
        flow = flow_px / self.stride
        cost = cost_volume(source.matching, warp(other, flow), self.radius)
        match = self.match(cost)
        hidden = F.relu(self.mix(torch.cat([cost, flow, match], dim=1)) + state)
        hidden = self.blocks(hidden)
        change, weight_logit, moves_logit = self.head(hidden).split((2, 1, 1), dim=1)
        moved_px = torch.sigmoid(moves_logit) * (match + change) * self.stride
        return Estimate(flow_px + moved_px, weight_logit), hidden


class LightDecoder(nn.Module):
    """Features of source and target and an expected flow to flow and weight, from coarse to fine."""

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        self.levels = nn.ModuleList([_Level(config, level) for level in range(len(STRIDES))])
        self.carry = nn.Conv2d(*config.hidden, 1)

    def forward(
        self, source: list[Features], target: list[Tensor], initial_flow_px: Tensor, iterations: int = 1
    ) -> list[Estimate]:
        """
        Args:
            source: what the encoder gave for the source.
            target: `Features.matching` of the target.
            initial_flow_px: (B, 2, H/8, W/8) the flow that is expected, in pixels of the crop; 0 where nothing is.
            iterations: passes at each level.

        Returns:
            What each pass says; the last one at 1/4 of the image.
        """
        estimates: list[Estimate] = []
        flow_px, state = initial_flow_px, None
        for own, other, level in zip(source, target, self.levels, strict=True):
            if state is not None:
                flow_px, state = up_twice(flow_px), F.interpolate(self.carry(state), scale_factor=2, mode="nearest")
            for _ in range(iterations):
                estimate, state = level(own, other, flow_px, own.context if state is None else own.context + state)
                flow_px = estimate.flow_px
                estimates.append(estimate)
        return estimates


class LightFlow(nn.Module):
    """Encoder and decoder together, as they are trained."""

    def __init__(self, config: LightConfig | None = None) -> None:
        super().__init__()
        self.config = config or LightConfig()
        self.encoder = LightEncoder(self.config)
        self.decoder = LightDecoder(self.config)

    def forward(self, source: Tensor, target: Tensor, initial_flow_px: Tensor, iterations: int = 1) -> list[Estimate]:
        """
        Args:
            source, target: (B, 5, H, W) of `light_input`.
            initial_flow_px: (B, 2, H, W).
            iterations: passes at each level.
        """
        count = len(source)
        both = self.encoder(torch.cat([source, target]))
        return self.decoder(
            [Features(level.matching[:count], level.context[:count]) for level in both],
            [level.matching[count:] for level in both],
            F.avg_pool2d(initial_flow_px, STRIDES[0]),
            iterations,
        )
