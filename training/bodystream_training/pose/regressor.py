"""The baseline that FLAG is compared with: a plain network from the same observation to a pose."""

from __future__ import annotations

from torch import Tensor, nn

from bodystream_training.pose.model import FlagConfig

__all__ = ["Regressor"]


class Regressor(nn.Module):
    """A multilayer perceptron with as many weights as flow and latent predictor together (23 million)."""

    def __init__(self, config: FlagConfig, width: int = 2368, layers: int = 4) -> None:
        super().__init__()
        sizes = [config.condition_size, *[width] * (layers + 1)]
        body: list[nn.Module] = []
        for inputs, outputs in zip(sizes, sizes[1:], strict=False):
            body += [nn.Linear(inputs, outputs), nn.LeakyReLU()]
        self.layers = nn.Sequential(*body, nn.Linear(width, config.pose_size))

    def forward(self, condition: Tensor) -> Tensor:
        """(B, C) normalised condition to (B, D) normalised pose."""
        return self.layers(condition).float()
