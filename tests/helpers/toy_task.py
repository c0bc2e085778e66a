"""A whole network as one would add it: a matrix found from noisy examples, with dropout.

Also a program that trains it on two processes, without and with an interruption: python toy_task.py FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bodystream_training.devices import open_fabric
from bodystream_training.loop import LoopConfig, Trainer
from bodystream_training.options import DeviceOptions
from bodystream_training.task import Task

CONFIG = LoopConfig(epochs=6, batch=12, learning_rate=0.01)


class Toy(Task):
    """Numbers and their products with a matrix, which is to be found.

    Args:
        noise: of the examples as they are drawn.
        dropout: of the network.
    """

    def __init__(self, noise: float = 0.1, dropout: float = 0.2) -> None:
        super().__init__(nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2)))
        self.noise = noise
        drawn = torch.Generator().manual_seed(7)
        self.x = torch.randn(40, 3, generator=drawn)
        self.y = self.x @ torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])

    def count(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = self.x[index]
        return x + self.noise * torch.randn(x.shape, generator=generator) if self.noise else x, self.y[index]

    def terms(self, batch: tuple[Tensor, Tensor], progress: float) -> dict[str, Tensor]:
        x, y = batch
        error = (self.model(x) - y).abs().mean()
        return {"total": error + 0.01 * self.model[0].weight.square().sum(), "error": error}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"validation_error": float((model(self.x) - self.y).abs().mean())}

    def settings(self) -> dict[str, Any]:
        return {"noise": self.noise}


def interrupt(step: int, *_: object) -> None:
    """Ctrl-C for the first of several processes alone."""
    if step == 5 and fabric.is_global_zero:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fabric = open_fabric(DeviceOptions(accelerator="cpu", devices=2, precision="fp32"))
    fabric.launch()
    assert Trainer(lambda _: Toy(0.0, 0.0), folder / "two.safetensors", CONFIG, fabric=fabric).run()
    assert Trainer(lambda _: Toy(), folder / "whole.safetensors", CONFIG, fabric=fabric).run()
    assert not Trainer(lambda _: Toy(), folder / "parts.safetensors", CONFIG, fabric=fabric).run(interrupt)
    again = Trainer(lambda _: Toy(), folder / "parts.safetensors", CONFIG, fabric=fabric)
    assert again.step == 6 and again.run()
