"""The pose sampler's networks in PyTorch, as they are trained: latent predictor, then the inverse of the flow."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.types import Array

__all__ = ["torch_sampler"]


def torch_sampler(observation: Array, beta: Array, threads: int) -> Callable[[], Array] | None:
    """A step that returns the (66,) pose of an observation, or None where torch is not installed.

    The weights are random, which costs the same time; the answer means nothing.

    Args:
        observation: (3, token_size). beta: (10,). threads: of torch, while a step runs.
    """
    try:
        torch: Any = importlib.import_module("torch")
        model: Any = importlib.import_module("bodystream_training.pose.model")
    except ImportError:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = model.FlagConfig(token_size=observation.shape[-1], beta_size=len(beta))
        flow = model.PoseFlow(config).eval()
        predictor = model.LatentPredictor(config, (HEAD, LEFT_HAND, RIGHT_HAND)).eval()
    seen = torch.from_numpy(np.asarray(observation, np.float32))
    known = torch.from_numpy(np.asarray(beta, np.float32))

    def step() -> Array:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                condition = torch.cat([seen.flatten(), known])[None]
                region = predictor(condition, seen[None, :, 9])
                pose, _ = flow.to_pose(region.mu, condition)
                return pose[0].numpy()
        finally:
            torch.set_num_threads(before)

    return step
