"""Whether TensorRT takes a graph: each node against the published table, fixed shapes, no 64-bit data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodystream.engines import load_onnxruntime
from bodystream.errors import BundleError
from bodystream_export.tensorrt_rules import broken_rule
from bodystream_export.tensorrt_table import OPERATORS, OPSETS, RESTRICTIONS, TABLE_VERSION

__all__ = ["GraphReport", "Refusal", "check_graph"]

_WIDE = ("int64", "uint64", "float64", "complex64", "complex128")
_MAX_FOLDED = 4096
# where the values that an operator's types are about are not its first input
_DATA_INPUT = {"Where": 1, "OneHot": 2}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why TensorRT does not take a node, or an input of the graph (`operator` is then `input`)."""

    node: str
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What was found of one graph.

    Attributes:
        nodes: that were looked at, those of branches and loops among them.
        refusals: none where TensorRT takes the graph.
        unchecked: what the table asks of operators of this graph and was not looked into, by operator.
    """

    nodes: int
    refusals: list[Refusal] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)


def check_graph(content: bytes, label: str, sizes: Mapping[str, int]) -> GraphReport:
    """Compare a graph with what TensorRT takes.

    A tensor is known when the plan is built where it is computed from constants and fixed shapes alone; only others
    are data, and count as 64-bit tensors or for shapes that are not fixed.

    Args:
        content: of an ONNX file.
        label: of it, for messages.
        sizes: of the named extents.

    Raises:
        BundleError: it is no ONNX graph, or its weights lie in another file.
    """
    load_onnxruntime()
    import onnx
    from onnx.inliner import inline_local_functions

    try:
        model = inline_local_functions(onnx.load_from_string(content))
    # protobuf's exceptions have no common base but Exception
    except Exception as error:
        raise BundleError(f"{label} is not an ONNX graph: {str(error) or type(error).__name__}") from error
    if not model.graph.node:
        raise BundleError(f"{label} is an ONNX file without a node: export it again")
    for weights in model.graph.initializer:
        if weights.data_location == onnx.TensorProto.EXTERNAL:
            raise BundleError(f"{label}: the weights {weights.name} lie in another file: export it as one file")
    try:
        return _Check(model, label, sizes).report()
    # names that are no text, types that there are not, values that do not fill their shape
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BundleError(f"{label} is a damaged ONNX graph: {error}; export it again") from error


class _Check:
    """One graph while it is looked at."""

    def __init__(self, model: Any, label: str, sizes: Mapping[str, int]) -> None:
        self._model, self._label = model, label
        # of later files ai.onnx is spelled out
        self._opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}.get("ai.onnx", 0)
        initial = {weights.name for weights in model.graph.initializer}
        self._inputs = [value for value in model.graph.input if value.name not in initial]
        for value in (*self._inputs, *model.graph.output):
            for extent in value.type.tensor_type.shape.dim:
                if extent.dim_param in sizes:
                    extent.dim_value = sizes[extent.dim_param]
        self._known: set[str] = initial | {""}
        self._values: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._nodes = list(_nodes_of(model.graph))
        self._remember(model.graph)
        self._fold()

    def report(self) -> GraphReport:
        refusals = [Refusal(value.name, "input", reason) for value in self._inputs for reason in self._of_input(value)]
        unchecked = {}
        for node in self._nodes:
            name = node.name or next(iter(node.output), "")
            refusals += [Refusal(name, _operator(node), reason) for reason in self._of_node(node)]
            if _operator(node) in RESTRICTIONS:
                unchecked[node.op_type] = RESTRICTIONS[node.op_type]
        if not OPSETS[0] <= self._opset <= OPSETS[1]:
            reason = f"operators of opset {self._opset}; TensorRT {TABLE_VERSION} reads {OPSETS[0]} to {OPSETS[1]}"
            refusals.insert(0, Refusal(self._model.graph.name, "graph", reason))
        return GraphReport(len(self._nodes), refusals, unchecked)

    def _of_input(self, value: Any) -> Iterator[str]:
        if self._types.get(value.name) in _WIDE:
            yield f"the input {value.name} is of 64 bits ({self._types[value.name]})"
        if value.name not in self._shapes:
            yield f"the shape of the input {value.name} is not fixed"

    def _of_node(self, node: Any) -> Iterator[str]:
        operator = _operator(node)
        if operator not in OPERATORS:
            yield f"TensorRT {TABLE_VERSION} does not take the operator {operator}"
        elif wrong := self._wrong_type(node):
            taken = ", ".join(sorted(OPERATORS[operator]))
            yield f"TensorRT {TABLE_VERSION} does not take {operator} of {wrong}, only of {taken}"
        elif broken := broken_rule(node, self._known, self._values, self._shapes):
            yield broken
        data = [name for name in node.output if name not in self._known]
        for name in data:
            if self._types.get(name) in _WIDE:
                yield f"its output {name} is data of 64 bits ({self._types[name]})"
        # what follows from a shape that is not fixed is not told again
        if all(name in self._known or name in self._shapes for name in node.input):
            for name in data:
                if name not in self._shapes:
                    yield f"the shape of its output {name} is not fixed, or not known without computing it"

    def _wrong_type(self, node: Any) -> str:
        """The type of the values that the node works on, where the table has it not."""
        at = _DATA_INPUT.get(node.op_type, 0)
        name = node.input[at] if len(node.input) > at else next(iter(node.output), "")
        found = self._types.get(name, "")
        return "" if name in self._known or not found or found in OPERATORS[node.op_type] else found

    def _fold(self) -> None:
        """Fill in types, shapes, and what is known when the plan is built, until nothing is added."""
        import onnx
        from onnx import numpy_helper

        while True:
            try:
                inferred = onnx.shape_inference.infer_shapes(self._model, data_prop=True)
            except onnx.shape_inference.InferenceError as error:
                raise BundleError(f"{self._label}: the shapes of the graph contradict each other: {error}") from error
            self._remember(inferred.graph)
            added = False
            # in the graph's order, in which each node comes after those that it needs
            for node in list(self._model.graph.node):
                if not self._is_known(node):
                    continue
                self._known.update(node.output)
                answers = self._evaluated(node)
                if answers is None:
                    continue
                for name, value in zip(node.output, answers, strict=True):
                    self._values[name] = value
                    self._model.graph.initializer.append(numpy_helper.from_array(value, name))
                self._model.graph.node.remove(node)
                added = True
            if not added:
                return

    def _remember(self, graph: Any) -> None:
        from onnx import numpy_helper

        for weights in graph.initializer:
            self._types[weights.name], self._shapes[weights.name] = _type_name(weights.data_type), tuple(weights.dims)
            self._known.add(weights.name)
            if np.prod(weights.dims) <= _MAX_FOLDED:
                self._values.setdefault(weights.name, numpy_helper.to_array(weights))
        for value in (*graph.input, *graph.output, *graph.value_info):
            tensor = value.type.tensor_type
            if tensor.elem_type:
                self._types[value.name] = _type_name(tensor.elem_type)
            extents = [e.dim_value if e.HasField("dim_value") else -1 for e in tensor.shape.dim]
            if tensor.HasField("shape") and min(extents, default=1) >= 0:
                self._shapes[value.name] = tuple(extents)
        for node in graph.node:
            for inner in _graphs_of(node):
                self._remember(inner)

    def _is_known(self, node: Any) -> bool:
        if node.op_type.startswith(("Random", "Bernoulli", "Multinomial")) or any(True for _ in _graphs_of(node)):
            return False
        if node.op_type in ("Shape", "Size") and _operator(node) == node.op_type:
            return node.input[0] in self._shapes
        return all(name in self._known for name in node.input)

    def _evaluated(self, node: Any) -> list[Any] | None:
        """What a known node gives, where that is small; None where it is left as it is."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        if node.op_type == "Shape" and _operator(node) == "Shape":
            shape = self._shapes[node.input[0]]
            limits = {a.name: a.i for a in node.attribute}
            return [np.array(shape[limits.get("start", 0) : limits.get("end", len(shape))], np.int64)]
        if node.op_type == "Size" and _operator(node) == "Size":
            return [np.array(np.prod(self._shapes[node.input[0]], dtype=np.int64))]
        given = [name for name in node.input if name]
        small = all(np.prod(self._shapes.get(name, (_MAX_FOLDED + 1,))) <= _MAX_FOLDED for name in node.output)
        if not small and node.op_type != "Constant" or not all(name in self._values for name in given):
            return None
        values = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(self._values[n].dtype), None)
            for n in given
        ]
        outputs = [helper.make_value_info(name, helper.make_tensor_type_proto(1, None)) for name in node.output]
        model = helper.make_model(
            helper.make_graph([node], "one", values, outputs), opset_imports=self._model.opset_import
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [np.asarray(v) for v in ReferenceEvaluator(model).run(None, {n: self._values[n] for n in given})]
        # an operator without a reference is known all the same, only its value is not
        except Exception:
            return None


def _operator(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _graphs_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _nodes_of(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in _graphs_of(node):
            yield from _nodes_of(inner)


def _type_name(number: int) -> str:
    from onnx import TensorProto

    name = TensorProto.DataType.Name(number).lower()
    if name.startswith(("float8", "float4")):
        return name[:6]
    return {"float": "float32", "double": "float64"}.get(name, name)
