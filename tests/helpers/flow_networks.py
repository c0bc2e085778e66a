"""Flow bundles whose networks are known.

The light one answers with the guess and believes what is in both masks; the full one answers with 10 times the points'
x and y in metres, and believes what has depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.bundles import DTYPES, write_bundle
from helpers.needs import needs

__all__ = ["SIZES", "flow_bundle"]

SIZES = ((96, 128), (128, 96))
_FEATURES = ("matching_8", "context_8", "matching_4", "context_4")


def flow_bundle(
    folder: Path,
    *,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    net: str = "light",
    kind: str = "flow",
    dtype: str = "float32",
    scale: float = 1.0,
    metrics: dict[str, float] | None = None,
    left_out: str = "",
    name: str | None = None,
) -> Path:
    """A bundle in a folder.

    Args:
        scale: the answer is so many times the guess.
        left_out: a file that the bundle does not have.
    """
    files: dict[str, bytes] = {}
    graphs: dict[str, dict] = {}
    for size in sizes:
        suffix = "" if dtype == "float32" else "_fp16"
        parts = _full(size) if net == "full" else (_encoder(size, dtype), _decoder(size, dtype, scale))
        for part, made in zip(("encoder", "decoder"), parts, strict=True):
            file = f"{part}_{size[0]}x{size[1]}{suffix}.onnx"
            if file != left_out:
                files[file], graphs[file] = made
    section = {"net": net, "iterations": 1, "sizes": [list(size) for size in sizes]}
    more = {} if metrics is None else {"metrics": metrics}
    return write_bundle(folder, kind, files, name=name, graphs=graphs, flow=section, **more)


def _shapes(size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    width, height = size
    return {name: (1, 5, height // int(name[-1]), width // int(name[-1])) for name in _FEATURES}


def _encoder(size: tuple[int, int], dtype: str) -> tuple[bytes, dict]:
    """Each feature is the mean of the image over its cell."""
    from onnx import helper

    nodes = [
        helper.make_node(
            "AveragePool", ["image"], [name], kernel_shape=[int(name[-1])] * 2, strides=[int(name[-1])] * 2
        )
        for name in _FEATURES
    ]
    return _model(nodes, {"image": (1, 5, size[1], size[0])}, _shapes(size), dtype)


def _decoder(size: tuple[int, int], dtype: str, scale: float) -> tuple[bytes, dict]:
    """The flow is the guess at twice the resolution, the weight the product of both masks."""
    from onnx import helper, numpy_helper

    shapes = _shapes(size)
    inputs = {f"source_{name}": shape for name, shape in shapes.items()}
    inputs |= {f"target_{name}": shape for name, shape in shapes.items() if name.startswith("matching")}
    inputs["initial_flow_px"] = (1, 2, size[1] // 8, size[0] // 8)
    outputs = {"flow_px": (1, 2, size[1] // 4, size[0] // 4), "weight": (1, 1, size[1] // 4, size[0] // 4)}
    element = np.dtype(dtype)
    constants = [
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
        numpy_helper.from_array(np.array(scale, element), "scale"),
        numpy_helper.from_array(np.array([4]), "from"),
        numpy_helper.from_array(np.array([5]), "to"),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    nodes = [
        helper.make_node("Resize", ["initial_flow_px", "", "twice"], ["fine"], mode="linear"),
        helper.make_node("Mul", ["fine", "scale"], ["flow_px"]),
        helper.make_node("Slice", ["source_matching_4", "from", "to", "axis"], ["own"]),
        helper.make_node("Slice", ["target_matching_4", "from", "to", "axis"], ["other"]),
        helper.make_node("Mul", ["own", "other"], ["weight"]),
    ]
    return _model(nodes, inputs, outputs, dtype, constants)


def _full(size: tuple[int, int]) -> tuple[tuple[bytes, dict], tuple[bytes, dict]]:
    """Encoder and decoder with one level of features, 4 px a cell."""
    from onnx import helper, numpy_helper

    width, height = size
    pool = {"kernel_shape": [4, 4], "strides": [4, 4]}
    features = {"features_4": (1, 3, height // 4, width // 4)}
    encoder = [helper.make_node("AveragePool", ["rgb"], ["features_4"], **pool)]
    inputs: dict[str, tuple[int, ...]] = {f"{frame}_rgbd": (1, 6, height, width) for frame in ("source", "target")}
    inputs |= {f"{frame}_features_4": features["features_4"] for frame in ("source", "target")}
    outputs = {"flow_px": (1, 2, height // 4, width // 4), "weight": (1, 1, height // 4, width // 4)}
    values = {"three": [3], "five": [5], "six": [6], "axis": [1], "ten": 10.0, "none": 0.0, "one": 1.0}
    constants = [
        numpy_helper.from_array(np.array(v, np.float32 if isinstance(v, float) else np.int64), name)
        for name, v in values.items()
    ]
    decoder = [
        helper.make_node("Slice", ["source_rgbd", "three", "five", "axis"], ["across"]),
        helper.make_node("AveragePool", ["across"], ["mean"], **pool),
        helper.make_node("Mul", ["mean", "ten"], ["flow_px"]),
        helper.make_node("Slice", ["source_rgbd", "five", "six", "axis"], ["depth"]),
        helper.make_node("Mul", ["depth", "ten"], ["far"]),
        helper.make_node("Clip", ["far", "none", "one"], ["seen"]),
        helper.make_node("AveragePool", ["seen"], ["weight"], **pool),
    ]
    return (
        _model(encoder, {"rgb": (1, 3, height, width)}, features, "float32"),
        _model(decoder, inputs, outputs, "float32", constants),
    )


def _model(
    nodes: list,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    dtype: str,
    constants: Sequence = (),
) -> tuple[bytes, dict]:
    needs("onnx", "pip install 'bodystream[export]'")
    from onnx import helper

    def values(specs: dict[str, tuple[int, ...]]) -> list:
        return [helper.make_tensor_value_info(name, DTYPES[dtype], shape) for name, shape in specs.items()]

    graph = helper.make_graph(nodes, "flow", values(inputs), values(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = {
        kind: {name: {"shape": list(shape), "dtype": dtype} for name, shape in specs.items()}
        for kind, specs in (("inputs", inputs), ("outputs", outputs))
    }
    return model.SerializeToString(), said
