"""The body's decoder in PyTorch, as it is trained, and a bundle of the same network where there is none to measure."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import PARTS, AcapSpace, largest_piece
from bodystream.bundles import Bundle
from bodystream.types import Array, Mesh

__all__ = ["made_bundle", "torch_body", "torch_network"]

_MADE_WITH = ("torch", "onnx", "safetensors", "bodystream_training", "bodystream_export")
_RANGE = (0.3,) * 3 + (0.2, 0.05, 0.05, 0.2, 0.05, 0.2)
_MIDDLE = (0.0,) * 3 + (1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
"""Of features: bodies turned and stretched a little."""


def torch_network(vertices: int, parts: int, shape: int, pose: int) -> Any:
    """The network with layers as in the paper and random weights, or None where torch is not installed."""
    try:
        torch: Any = importlib.import_module("torch")
        model: Any = importlib.import_module("bodystream_training.body.model")
    except ImportError:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = model.BodyNetwork(model.BodyNetworkConfig(vertices, parts, shape, pose)).eval().requires_grad_(False)
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


def made_bundle(folder: Path, mesh: Mesh) -> tuple[Bundle, Any] | None:
    """A bundle of a network of the paper's sizes with random weights, which cost the same time, and the network; None
    where what makes bundles is not installed.

    Args:
        mesh: of the reference; its largest piece is taken.
    """
    if any(importlib.util.find_spec(name) is None for name in _MADE_WITH):
        return None
    convert: Any = importlib.import_module("bodystream_export.body.convert")
    kept: Any = importlib.import_module("bodystream_training.body.kept")
    chosen, faces = largest_piece(mesh.faces, len(mesh.vertices))
    space = AcapSpace(Mesh(mesh.vertices[chosen].astype(np.float64), faces))
    count, parts = space.count, np.arange(space.count) % len(PARTS)
    network = torch_network(count, len(PARTS), 50, 72)
    bodies = kept.KeptBodies(
        space, parts, len(PARTS), np.ones(count, bool), np.zeros((0, count, 9), np.float32), None, {}
    )
    bundle = convert.write_body(
        network, bodies, folder, convert.Storing(encoder=False, gradient=False), net="dhnn", name="body", version=1,
        provenance={"method": "random weights, to measure speed"},
    )  # fmt: skip
    return bundle, network
