"""The pose sampler's networks to ONNX: traced, stored with 8-bit weights, and compared with PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bodystream.engines import open_engine
from bodystream.types import Array
from bodystream_export.pose.graph import SamplerGraph
from bodystream_training.pose.train import load_networks

__all__ = ["difference_deg", "load_sampler", "to_8_bit", "to_onnx"]

_OPSET = 18


def load_sampler(folder: Path) -> tuple[SamplerGraph, tuple[float, ...], dict[str, object]]:
    """The live graph of a training run, the history it sees, and the facts of its training.

    Raises:
        InputError: the run has no trained networks, or they do not belong together.
    """
    flow, predictor, normalise, facts = load_networks(folder)
    graph = SamplerGraph(flow, predictor, normalise).eval().requires_grad_(False)
    return graph, tuple(facts["features"]["history_s"]), facts


def to_onnx(graph: SamplerGraph, token_size: int, path: Path) -> None:
    """Write the graph in 32 bits; the number of hypotheses stays open."""
    observation = torch.randn(1, 3, token_size)
    observation[:, :, 9] = 1.0
    # two hypotheses: an extent of one would be traced as a constant
    inputs = (observation, torch.randn(1, 10), torch.randn(2, graph.normalise.pose_mean.numel()))
    # the fused encoder layer of PyTorch has no counterpart in ONNX
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with _quiet():
        torch.onnx.export(
            graph,
            inputs,
            str(path),
            input_names=["observation", "beta", "noise"],
            output_names=["pose", "log_likelihood", "spread", "contacts"],
            dynamic_axes={"noise": {0: "hypotheses"}, "pose": {0: "hypotheses"}, "log_likelihood": {0: "hypotheses"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    torch.backends.mha.set_fastpath_enabled(fast)


def to_8_bit(source: Path, target: Path) -> None:
    """Store the weights in 8 bits with a scale per output, and multiply in 8 bits.

    A single pose is bound by reading weights: a quarter of the bytes is half of the time, on processors with VNNI.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # shapes behind a reshape to the latent groups are not inferred; everything here is in 32 bits
    options = {"DefaultTensorType": TensorProto.FLOAT}
    prepared = target.with_suffix(".prepared.onnx")
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(
            str(prepared), str(target), weight_type=QuantType.QInt8, per_channel=True, extra_options=options
        )
    prepared.unlink()


def difference_deg(graph: SamplerGraph, path: Path, observations: Array, betas: Array) -> tuple[float, float]:
    """Mean and largest difference [deg] of rotation vectors between PyTorch and a file, on real observations.

    Args:
        observations: (N, 3, token); betas: (N, 10).
    """
    engine = open_engine(path, "cpu", dimensions={"hypotheses": 1})
    noise = np.zeros((1, graph.normalise.pose_mean.numel()), np.float32)
    worst, total = 0.0, 0.0
    for observation, beta in zip(observations, betas, strict=True):
        feed = {"observation": observation[None], "beta": beta[None], "noise": noise}
        tensors: list[Tensor] = [
            torch.from_numpy(np.asarray(feed[k], np.float32)) for k in ("observation", "beta", "noise")
        ]
        with torch.no_grad():
            wanted = graph(*tensors)[0].numpy().reshape(-1, 3)
        got = engine.run(feed)["pose"].reshape(-1, 3)
        error = np.degrees(np.linalg.norm(got - wanted, axis=1))
        worst, total = max(worst, float(error.max())), total + float(error.mean())
    return total / len(observations), worst


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk about their own future and about each layer that they leave alone."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
