"""From a flow network to ONNX files of fixed sizes, in 32 and 16 bits, each compared with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bodystream.bundles import GraphSection, Signature, TensorSpec
from bodystream.types import Array
from bodystream_export.flow.graphs import FlowGraph
from bodystream_export.onnx_graph import to_16_bit, to_onnx
from bodystream_export.parity import Difference, both_answers
from bodystream_training.flow.batches import FlowBatch
from bodystream_training.flow.light import STRIDES, light_input
from bodystream_training.flow.model import rgbd_input

__all__ = ["Bits", "compare_graph", "file_name", "real_feeds", "write_graph"]

Bits = Literal[32, 16]

_WORST: dict[Bits, float] = {32: 1e-3, 16: 0.1}
"""Largest difference from PyTorch, relative to the largest value of an output, beyond which an export is refused: in 16
bits, a cell with two matches that are nearly as likely may take the other one."""
_WORST_MEAN_PX: dict[Bits, float] = {32: 1e-3, 16: 0.05}
"""The same of the flow on average."""
_TOLERANCE: dict[Bits, float] = {32: 1e-3, 16: 0.1}
"""Of another provider's answers, relative likewise."""
_RANDOM = 3


def file_name(part: str, size: tuple[int, int], bits: Bits) -> str:
    """Of the graph of one part, size and precision."""
    return f"{part}_{size[0]}x{size[1]}{'' if bits == 32 else '_fp16'}.onnx"


def write_graph(graph: FlowGraph, path: Path, bits: Bits) -> GraphSection:
    """Write a graph; what its manifest says of it."""
    generator = torch.Generator().manual_seed(0)
    examples = {name: torch.randn(shape, generator=generator) for name, shape in graph.inputs.items()}
    full = path if bits == 32 else path.with_suffix(".full.onnx")
    to_onnx(graph.network, examples, tuple(graph.outputs), full)
    if bits == 16:
        to_16_bit(full, path)
        full.unlink()
    signature = _signature(graph, bits)
    return GraphSection(signature.inputs, signature.outputs, _TOLERANCE[bits])


def compare_graph(graph: FlowGraph, path: Path, bits: Bits, feeds: list[dict[str, Array]]) -> list[Difference]:
    """A file beside PyTorch in 32 bits, on random inputs and on those of real pairs.

    Args:
        feeds: of real pairs, by the names of the graph's inputs.
    """
    kinds = {"random": list(_random_feeds(graph)), "pairs": feeds}
    dtype = np.float32 if bits == 32 else np.float16
    out: list[Difference] = []
    for kind, given in kinds.items():
        worst = 0.0
        flows: list[float] = []
        typed = [{name: value.astype(dtype) for name, value in feed.items()} for feed in given]
        for wanted, got in both_answers(graph.network, path, typed, _signature(graph, bits)):
            for name, value in wanted.items():
                apart = np.abs(got[name].astype(np.float64) - value)
                worst = max(worst, float(apart.max() / max(1.0, np.abs(value).max())))
                if name == "flow_px":
                    flows.append(float(np.sqrt((apart**2).sum(axis=1)).mean()))
        label = path.stem
        out.append(Difference(f"{label}_{kind}", worst, f"largest of all outputs, relative, on {kind}", _WORST[bits]))
        if flows:
            out.append(
                Difference(
                    f"{label}_{kind}_flow_px",
                    float(np.mean(flows)),
                    f"mean of the flow in pixels, on {kind}",
                    _WORST_MEAN_PX[bits],
                )
            )
    return out


@torch.no_grad()
def real_feeds(graphs: list[FlowGraph], batch: FlowBatch) -> list[list[dict[str, Array]]]:
    """What goes into encoder and decoder for each pair of a batch: lists of feeds, of one graph after the other."""
    encoder, decoder = graphs
    light = "image" in encoder.inputs
    out: list[list[dict[str, Array]]] = [[], []]
    for number in range(len(batch)):
        one = slice(number, number + 1)
        frames = [
            (batch.source_rgb[one], batch.source_depth_m[one], batch.mask[one]),
            (batch.target_rgb[one], batch.target_depth_m[one], batch.target_mask[one]),
        ]
        feed: dict[str, torch.Tensor] = {}
        for name, (rgb, depth_m, mask) in zip(("source", "target"), frames, strict=True):
            image = light_input(rgb, depth_m, mask) if light else rgb
            out[0].append({next(iter(encoder.inputs)): image.numpy()})
            features = zip(encoder.outputs, encoder.network(image), strict=True)
            feed |= {f"{name}_{key}": value for key, value in features}
            if not light:
                feed[f"{name}_rgbd"] = rgbd_input(rgb, depth_m, batch.intrinsics[one])
        feed["initial_flow_px"] = torch.nn.functional.avg_pool2d(batch.initial_flow_px[one], STRIDES[0])
        out[1].append({name: feed[name].numpy() for name in decoder.inputs})
    return out


def _random_feeds(graph: FlowGraph) -> Iterator[dict[str, Array]]:
    rng = np.random.default_rng(0)
    for _ in range(_RANDOM):
        yield {name: rng.standard_normal(shape).astype(np.float32) for name, shape in graph.inputs.items()}


def _signature(graph: FlowGraph, bits: Bits) -> Signature:
    dtype = "float32" if bits == 32 else "float16"
    return Signature(
        {name: TensorSpec(shape, dtype) for name, shape in graph.inputs.items()},
        {name: TensorSpec(shape, dtype) for name, shape in graph.outputs.items()},
    )
