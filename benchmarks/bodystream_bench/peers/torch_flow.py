"""The full flow network in PyTorch, as it is trained."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from bodystream.types import Array

__all__ = ["torch_flow"]


def torch_flow(size: tuple[int, int], threads: int) -> Callable[[], Array] | None:
    """A step that encodes a frame and decodes a pair with its weights, or None where torch is not installed.

    The weights are random, which costs the same time; the answer, (1, 2, height / 4, width / 4), means nothing.

    Args:
        size: (width, height) [px]. threads: of torch, while a step runs.
    """
    try:
        torch: Any = importlib.import_module("torch")
        networks: Any = importlib.import_module("bodystream_training.flow.networks")
    except ImportError:
        return None
    width, height = size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = networks.FullNet().eval()
        source, target = (torch.rand(1, 6, height, width) for _ in range(2))
    with torch.inference_mode():
        known = model.flow.encode(source[:, :3])

    def step() -> Array:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                found = model.flow.decode(known, model.flow.encode(target[:, :3]))
                flow_px = found.flows_px[-1]
                torch.sigmoid(model.weights(source, target, flow_px, found.features))
                return flow_px.numpy()
        finally:
            torch.set_num_threads(before)

    return step
