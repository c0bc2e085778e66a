"""Invertible Neural Skinning in PyTorch, as it is trained."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bodystream.types import Array

__all__ = ["torch_repose"]


def torch_repose(points: Array, threads: int) -> Callable[[], Array] | None:
    """A step that poses canonical points by a network of the paper's sizes, or None where torch is not installed.

    The weights are random, which costs the same time; the answer, (V, 3), means nothing.

    Args:
        points: (V, 3) float32. threads: of torch, while a step runs.
    """
    try:
        torch: Any = importlib.import_module("torch")
        networks: Any = importlib.import_module("bodystream_training.avatar.model")
    except ImportError:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = networks.Ins().eval()
    given = torch.from_numpy(np.ascontiguousarray(points, np.float32))
    bones = torch.eye(4).repeat(model.config.bones, 1, 1)

    def step() -> Array:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.no_grad():
                return model.repose(given, bones).numpy()
        finally:
            torch.set_num_threads(before)

    return step
