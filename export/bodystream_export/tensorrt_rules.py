"""What TensorRT's table asks of single operators beside their types, where a graph itself tells it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

__all__ = ["broken_rule"]

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_CONSTANT_INPUTS = {
    **{f"Reduce{kind}": (1,) for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum")},
    "ReduceSumSquare": (1,),
    "CumSum": (1,),
    "Dropout": (2,),
    "OneHot": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
_MAX_TOP_K = 3840


def broken_rule(
    node: Any, known: Collection[str], values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """The first rule of the table that a node breaks, or nothing.

    Args:
        node: of ONNX, of an operator that the table has.
        known: names of tensors that are known when the plan is built.
        values: of those that are small.
        shapes: of all tensors whose shape is fixed.
    """
    from onnx import helper

    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kind, rank = node.op_type, len(shapes[node.input[0]]) if node.input and node.input[0] in shapes else None
    for at in _CONSTANT_INPUTS.get(kind, ()):
        if len(node.input) > at and node.input[at] not in known:
            return f"its input {node.input[at]} must be known when the plan is built"
    if kind == "GridSample" and rank not in (4, None):
        return f"its input must have 4 dimensions, got {rank}"
    if kind in ("AveragePool", "MaxPool", "LpPool"):
        if any(step != 1 for step in options.get("dilations", ())):
            return "pooling with dilations is not taken"
        if kind != "LpPool" and rank not in (4, 5, None):
            return f"it pools over 2 or 3 dimensions only, got a tensor of {rank}"
        if kind == "MaxPool" and len(node.output) > 1 and node.output[1]:
            return "the places of the largest values (output Indices) are not given"
    if kind == "LayerNormalization" and any(node.output[1:]):
        return "only its first output is given"
    if kind == "ScatterND" and options.get("reduction", b"none") != b"none":
        return f"reduction must be none, got {options['reduction'].decode()}"
    if kind == "Constant" and options.keys() & {"sparse_value", "value_string", "value_strings"}:
        return "neither sparse values nor strings are taken"
    if kind == "Resize":
        return _broken_resize(options)
    if kind == "TopK":
        wanted = values.get(node.input[1]) if len(node.input) > 1 else None
        if options.get("sorted", 1) != 1:
            return "sorted must be 1"
        if wanted is not None and int(np.max(wanted)) >= _MAX_TOP_K:
            return f"K must be below {_MAX_TOP_K}, got {int(np.max(wanted))}"
    if kind in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2 and node.input[2]:
        zero = values.get(node.input[2])
        if zero is None or np.any(np.asarray(zero, np.float32) != 0.0):
            return f"its zero point {node.input[2]} must be zero"
    if kind == "Dropout" and len(node.input) > 2 and np.any(values.get(node.input[2], False)):
        return "its training mode must be false"
    return ""


def _broken_resize(options: Mapping[str, Any]) -> str:
    for name, default, taken in (
        ("coordinate_transformation_mode", "half_pixel", _COORDINATES),
        ("mode", "nearest", ("nearest", "linear")),
        ("nearest_mode", "round_prefer_floor", ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
        ("keep_aspect_ratio_policy", "stretch", ("stretch",)),
    ):
        found = options.get(name, default.encode()).decode()
        if found not in taken:
            return f"{name} must be one of {', '.join(taken)}, got {found}"
    return "antialiasing is not taken" if options.get("antialias", 0) else ""
