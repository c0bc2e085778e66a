"""From a network to ONNX: traced in 32 bits, or with weights of 8 bits."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bodystream.engines import load_onnxruntime

__all__ = ["rows_in_8_bit", "stored_in_16_bits", "to_16_bit", "to_8_bit", "to_onnx"]

_OPSET = 18
_BLOCK = 32
"""Weights of one output that share a scale."""
_IN_32_BITS, _IN_8_BITS = 1, 4
"""Levels of `MatMulNBits`: the second multiplies in 8 bits, too; others widen the weights first, and take 100 times as
long where there are many outputs."""


def to_onnx(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    open_axes: Mapping[str, Mapping[int, str]] | None = None,
    folded: bool = True,
) -> None:
    """Trace a network and write it in 32 bits.

    Args:
        network: in evaluation mode; its `forward` takes `inputs` in their order and gives a tuple of `outputs`.
        inputs: examples by name. An axis that is to stay open has an extent above one, which tracing would fix.
        folded: work out now what depends on constants alone; without it files are small, and engines do it.
        open_axes: per tensor, axes without a fixed extent, by the extent's name; equal names are equal extents.
    """
    # the fused encoder layer of PyTorch has no counterpart in ONNX
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _quiet():
            torch.onnx.export(
                network,
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in (open_axes or {}).items()},
                opset_version=_OPSET,
                do_constant_folding=folded,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def to_8_bit(source: Path, target: Path, ends: int | None = None) -> None:
    """Store the weights in 8 bits with a scale per output, and multiply in 8 bits.

    A single pose is bound by reading weights: a quarter of the bytes is half of the time, on processors with VNNI.

    Args:
        ends: only of layers with so many inputs or outputs; None takes all.
    """
    load_onnxruntime()
    import onnx
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # shapes behind a reshape to the latent groups are not inferred; everything here is in 32 bits
    options = {"DefaultTensorType": TensorProto.FLOAT}
    prepared = target.with_suffix(".prepared.onnx")
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        chosen = None if ends is None else _layers_with(onnx.load(str(prepared)), ends)
        quantize_dynamic(
            str(prepared), str(target), weight_type=QuantType.QInt8, per_channel=True, nodes_to_quantize=chosen,
            extra_options=options,
        )  # fmt: skip
    prepared.unlink()


def rows_in_8_bit(source: Path, target: Path, ends: int, *, inputs: bool = False) -> None:
    """As `to_8_bit`, with a scale for each 32 weights of an output: half of its time in a layer that has many outputs
    and few inputs, and nearer, since inputs get a scale for each 32 of them, too.

    Args:
        ends: only of layers with so many outputs.
        inputs: of layers with so many inputs instead, which stay in 32 bits: what is rounded of each adds up.

    Raises:
        ValueError: there is none.
    """
    load_onnxruntime()
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    weights = {weight.name: weight for weight in model.graph.initializer}
    chosen = [
        (place, node)
        for place, node in enumerate(model.graph.node)
        if node.op_type == "Gemm" and node.input[1] in weights and weights[node.input[1]].dims[int(inputs)] == ends
    ]
    if not chosen:
        raise ValueError(f"{source} has no layer with {ends} {'inputs' if inputs else 'outputs'}")
    for place, node in chosen:
        x, name, bias = node.input
        weight = numpy_helper.to_array(weights[name])  # (N, K), as PyTorch stores it
        count = weight.shape[1]
        blocks = np.pad(weight, ((0, 0), (0, -count % _BLOCK))).reshape(len(weight), -1, _BLOCK)
        scale = np.maximum(np.abs(blocks).max(axis=-1), 1e-20) / 127.0
        whole = np.rint(blocks / scale[..., None]) + 128.0
        model.graph.initializer.remove(weights[name])
        # Flat, as the operator may have it, so that nothing stores scales in 16 bits.
        for array, kind in ((whole.astype(np.uint8), "8"), (scale.astype(np.float32).ravel(), "scale")):
            model.graph.initializer.append(numpy_helper.from_array(array, f"{name}.{kind}"))
        small = helper.make_node(
            "MatMulNBits", [x, f"{name}.8", f"{name}.scale", "", "", bias], node.output, node.name,
            domain="com.microsoft", K=count, N=len(weight), bits=8, block_size=_BLOCK,
            accuracy_level=_IN_32_BITS if inputs else _IN_8_BITS,
        )  # fmt: skip
        model.graph.node.remove(node)
        model.graph.node.insert(place, small)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(target))


def to_16_bit(source: Path, target: Path) -> None:
    """Weights, inputs, outputs and all between them in 16 bits: the graph says so itself, the same in every engine."""
    load_onnxruntime()
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        onnx.save(convert_float_to_float16(onnx.load(str(source))), str(target))


def stored_in_16_bits(source: Path, target: Path, ends: int | None = None) -> None:
    """Weights in 16 bits, and those that are another's transpose not at all, in the file alone: an engine makes them 32
    when it reads the graph, and computes with these.

    Args:
        ends: only of layers with so many inputs or outputs; None takes all.
    """
    load_onnxruntime()
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    first: list[Any] = []
    stored: dict[tuple[bytes, tuple[int, ...]], str] = {}
    for number, weight in enumerate(list(graph.initializer)):
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2 or ends not in (None, *weight.dims):
            continue
        array = numpy_helper.to_array(weight).astype("float16")
        graph.initializer.remove(weight)
        turned = array.T.copy()
        if other := stored.get((turned.tobytes(), turned.shape)):
            first.append(helper.make_node("Transpose", [other], [weight.name], f"turn_{number}"))
            continue
        small = numpy_helper.from_array(array, f"{weight.name}.16")
        graph.initializer.append(small)
        first.append(helper.make_node("Cast", [small.name], [weight.name], f"widen_{number}", to=TensorProto.FLOAT))
        stored[array.tobytes(), array.shape] = weight.name
    for node in reversed(first):
        graph.node.insert(0, node)
    onnx.save(model, str(target))


def _layers_with(model: Any, ends: int) -> list[str]:
    """Names of the products with a weight that has `ends` rows or columns, as quantisation calls them: it parts sums
    from products first."""
    weights = {weight.name for weight in model.graph.initializer if ends in weight.dims and len(weight.dims) == 2}
    nodes = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and weights & set(node.input)]
    return [f"{node.name}_MatMul" if node.op_type == "Gemm" else node.name for node in nodes]


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
