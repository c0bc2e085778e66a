"""The pose sampler's networks to ONNX: traced, stored with 8-bit weights, and compared with PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bodystream.engines import load_onnxruntime
from bodystream.engines.onnx import open_onnx
from bodystream.pose.sampler import sampler_signature
from bodystream.types import Array
from bodystream_export.pose.graph import SamplerGraph
from bodystream_training.pose.networks import load_networks

__all__ = ["Differences", "compare", "load_sampler", "to_8_bit", "to_onnx"]

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
    load_onnxruntime()
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


@dataclass(frozen=True)
class Differences:
    """Between PyTorch and an exported file, on average over observations.

    Attributes:
        mean_deg, worst_deg: of the pose of the region's centre, over joints and at most of any joint.
        drawn_deg: of poses that were drawn from the region.
        log_likelihood_nats: of all these poses.
        spread: of the region's deviations, relative.
        contacts: of the probabilities that a foot stands.
    """

    mean_deg: float
    worst_deg: float
    drawn_deg: float
    log_likelihood_nats: float
    spread: float
    contacts: float


def compare(graph: SamplerGraph, path: Path, observations: Array, betas: Array, hypotheses: int = 4) -> Differences:
    """Every answer of a file beside PyTorch's, on real observations.

    Args:
        observations: (N, 3, token); betas: (N, 10).
        hypotheses: how many poses per observation; the first is of the region's centre, the others are drawn.
    """
    wanted = sampler_signature(observations.shape[-1])
    sizes = {"hypotheses": hypotheses}
    engine = open_onnx(path.read_bytes(), path.name, "cpu", "to compare", wanted, sizes, threads=1, spinning=False)
    rng = np.random.default_rng(0)
    rows: list[tuple[float, ...]] = []
    for observation, beta in zip(observations, betas, strict=True):
        noise = rng.standard_normal((hypotheses, graph.normalise.pose_mean.numel())).astype(np.float32)
        noise[0] = 0.0
        feed = {"observation": observation[None], "beta": beta[None], "noise": noise}
        tensors = [torch.from_numpy(np.asarray(feed[k], np.float32)) for k in ("observation", "beta", "noise")]
        with torch.no_grad():
            pose, density, spread, contacts = (answer.numpy() for answer in graph(*tensors))
        got = engine.run(feed)
        turned = np.degrees(np.linalg.norm((got["pose"] - pose).reshape(hypotheses, -1, 3), axis=-1))
        rows.append(
            (
                turned[0].mean(),
                turned[0].max(),
                turned[1:].mean(),
                np.abs(got["log_likelihood"] - density).mean(),
                np.abs(got["spread"] / spread - 1.0).mean(),
                np.abs(got["contacts"] - contacts).mean(),
            )
        )
    mean = np.mean(rows, axis=0)
    mean[1] = np.max(rows, axis=0)[1]
    return Differences(*(float(value) for value in mean))


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
