"""The body's decoder in PyTorch, as it is trained, and fits by it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from bodystream.body import AcapSpace
from bodystream.geometry.normals import vertex_normals
from bodystream.types import Array

__all__ = ["adam_steps", "torch_body", "torch_network"]

_RANGE = (0.3,) * 3 + (0.2, 0.05, 0.05, 0.2, 0.05, 0.2)
_MIDDLE = (0.0,) * 3 + (1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
"""Of features: bodies turned and stretched a little."""


def torch_network(vertices: int, parts: int, shape: int, pose: int, rank: int = 0) -> Any:
    """The network with layers as in the paper, or of a rank, and random weights; None where torch is not installed."""
    try:
        torch: Any = importlib.import_module("torch")
        model: Any = importlib.import_module("bodystream_training.body.model")
    except ImportError:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = (
            model.BodyNetwork(model.BodyNetworkConfig(vertices, parts, shape, pose, rank=rank))
            .eval()
            .requires_grad_(False)
        )
    for scale in (network.scale, network.coarse_scale):
        scale.low.copy_(torch.tensor(_MIDDLE) - torch.tensor(_RANGE))
        scale.high.copy_(torch.tensor(_MIDDLE) + torch.tensor(_RANGE))
    return network


def torch_body(network: Any, space: AcapSpace, shape: Array, pose: Array, threads: int) -> Callable[[], Array]:
    """A step that returns the (V, 3) vertices of codes: features in float32, the sparse system by scipy's factors.

    Args:
        threads: of torch, while a step runs.
    """
    torch: Any = importlib.import_module("torch")
    surface: Any = importlib.import_module("bodystream_training.body.surface").AcapSurface(space)
    codes = [torch.from_numpy(np.asarray(code, np.float32))[None] for code in (shape, pose)]

    def step() -> Array:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                return surface(network.scale.unscaled(network.decode(*codes).f))[0].numpy()
        finally:
            torch.set_num_threads(before)

    return step


def adam_steps(network: Any, space: AcapSpace, points: Array, threads: int) -> Callable[[], float]:
    """A step of a fit as the paper has it (sec. 7): Adam over codes, turn and move of the squared distances of points
    from the planes of the nearest vertices, by automatic differentiation; returns the loss before it.

    Args:
        points: (N, 3) of a scan. threads: of torch, while a step runs.
    """
    torch: Any = importlib.import_module("torch")
    surface: Any = importlib.import_module("bodystream_training.body.surface")
    mesher = surface.AcapSurface(space)
    facts = network.config
    unknowns = [torch.zeros(1, size, requires_grad=True) for size in (facts.shape, facts.pose, 3, 3)]
    optimiser = torch.optim.Adam(unknowns, lr=0.05)
    wanted = torch.from_numpy(points)

    def step() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            optimiser.zero_grad()
            shape, pose, turn, move = unknowns
            vertices = mesher(network.scale.unscaled(network.decode(shape, pose).f))[0]
            placed = vertices @ surface.rotations_of(turn.double())[0].T + move.double()
            there = placed.detach().numpy()
            nearest = KDTree(there).query(points)[1]
            normals = torch.from_numpy(vertex_normals(there, space.faces)[nearest]).double()
            off = ((placed[nearest] - wanted) * normals).sum(dim=1)
            loss = 1e6 * off.square().mean() + shape.square().sum() + pose.square().sum()
            loss.backward()
            optimiser.step()
            return float(loss.detach())
        finally:
            torch.set_num_threads(before)

    return step
