"""The full network with its dense decoders' channels in whole blocks of the processor's vectors.

ONNX Runtime keeps channels in blocks of 8 or 16 where all extents of a convolution are multiples of these, and computes
by rows of an unfolded image where not; PWC-Net's costs, features and flow are 81 + C + 4 channels, which never are.
Zeros behind them change no answer.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodystream_training.flow.networks import FullNet

__all__ = ["BLOCK", "aligned"]

BLOCK = 16


class _Padded(nn.Module):
    """A decoder that is given as many channels as it now takes."""

    def __init__(self, decoder: nn.Module, more: int) -> None:
        super().__init__()
        self.decoder, self.more = decoder, more

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.decoder(F.pad(x, (0, 0, 0, 0, 0, self.more)))


def aligned(model: FullNet) -> FullNet:
    """A copy that answers the same; each layer of a decoder puts what it finds before what it was given, so that the
    zeros stay behind everything else."""
    out = copy.deepcopy(model)
    flow, last = out.flow, len(out.flow.decoders) - 1
    for number, decoder in enumerate(flow.decoders):
        layers = [module for module in decoder.modules() if isinstance(module, nn.Conv2d)]
        more = -min(layer.in_channels for layer in layers) % BLOCK
        for layer in layers:
            _widen(layer, more, axis=1)
        if number == last:
            _widen(flow.get_submodule("context.0.0"), more, axis=1)
            _widen(out.weights.get_submodule("up.0"), more, axis=0)
        else:
            _widen(flow.get_submodule(f"ups.{number}.features"), more, axis=0)
        flow.decoders[number] = _Padded(decoder, more)
    return out


def _widen(layer: nn.Module, more: int, axis: int) -> None:
    """Zeros for `more` input channels of a convolution, which lie along `axis` of its weights."""
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    weight = layer.weight.data
    shape = list(weight.shape)
    shape[axis] = more
    layer.weight = nn.Parameter(torch.cat([weight, weight.new_zeros(shape)], dim=axis), requires_grad=False)
    layer.in_channels += more
