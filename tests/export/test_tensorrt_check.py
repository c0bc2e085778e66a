"""`bodystream-export check`: graphs that TensorRT takes and does not take, made by hand and as they are shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.bundles import find_bundle
from bodystream.errors import BundleError
from helpers.bundles import linear_graph, write_bundle
from helpers.needs import needs

needs("torch", "pip install 'bodystream[export]'")
onnx = needs("onnx", "pip install 'bodystream[export]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from bodystream_export.cli import main  # noqa: E402
from bodystream_export.tensorrt_check import check_graph  # noqa: E402
from bodystream_export.tensorrt_table import OPERATORS  # noqa: E402


def graph(
    nodes: list[Any],
    shape: list[int | str],
    outputs: dict[str, Any] | None = None,
    opset: int = 18,
    element: int = TensorProto.FLOAT,
    **constants: np.ndarray,
) -> bytes:
    x = helper.make_tensor_value_info("x", element, shape)
    out = [helper.make_tensor_value_info(n, t, None) for n, t in (outputs or {"y": TensorProto.FLOAT}).items()]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "made", [x], out, weights), opset_imports=domains
    ).SerializeToString()


def node(operator: str, inputs: str, outputs: str, name: str = "the-node", **options: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **options)


def refusals(content: bytes, **sizes: int) -> list[tuple[str, str, str]]:
    return [(r.node, r.operator, r.reason) for r in check_graph(content, "made.onnx", sizes).refusals]


def the_refusal(content: bytes) -> tuple[str, str, str]:
    (found,) = refusals(content)
    return found


def test_an_operator_that_is_not_in_the_table() -> None:
    where, operator, reason = the_refusal(graph([node("Det", "x", "y")], [1, 3, 3]))
    assert (where, operator) == ("the-node", "Det") and "does not take the operator Det" in reason


def test_an_operator_of_another_domain_is_not_taken_for_one_of_the_table() -> None:
    content = graph([node("Gelu", "x", "h", "theirs", domain="com.microsoft"), node("Relu", "h", "y")], [1, 4])
    assert ("theirs", "com.microsoft.Gelu") in [found[:2] for found in refusals(content)]


def test_a_type_that_an_operator_is_not_taken_with() -> None:
    content = graph(
        [node("Cast", "x", "h", "down", to=TensorProto.BFLOAT16), node("GridSample", "h g", "y", "sample")],
        [1, 1, 4, 4],
        {"y": TensorProto.BFLOAT16},
        opset=22,
        g=np.zeros((1, 2, 2, 2), np.float32),
    )
    where, operator, reason = the_refusal(content)
    assert (where, operator) == ("sample", "GridSample") and "of bfloat16, only of float16, float32" in reason


def test_a_shape_that_is_not_fixed() -> None:
    content = graph([node("Relu", "x", "h"), node("Neg", "h", "y")], ["frames", 4])
    assert the_refusal(content)[:2] == ("x", "input")
    assert refusals(content, frames=1) == []


def test_a_shape_that_depends_on_the_values_names_the_node_that_makes_it() -> None:
    content = graph(
        [node("NonZero", "x", "places", "find"), node("Cast", "places", "y", "back", to=TensorProto.FLOAT)], [4]
    )
    found = refusals(content)
    assert {name for name, _, _ in found} == {"find"}
    assert any("not fixed" in reason for _, _, reason in found) and any("64 bits" in reason for _, _, reason in found)


def test_data_of_64_bits_names_the_node_and_the_tensor() -> None:
    nodes = [node("ArgMax", "x", "best", "choose", axis=1), node("Cast", "best", "y", to=TensorProto.FLOAT)]
    where, operator, reason = the_refusal(graph(nodes, [2, 4]))
    assert (where, operator) == ("choose", "ArgMax") and "best is data of 64 bits (int64)" in reason
    double = graph([node("Relu", "x", "y")], [2, 4], {"y": TensorProto.DOUBLE}, element=TensorProto.DOUBLE)
    assert ("x", "input", "the input x is of 64 bits (float64)") in refusals(double)


def test_shapes_of_64_bits_that_are_known_when_the_plan_is_built_do_not_count() -> None:
    # x -> Shape -> its first extent -> [that, -1] -> Reshape, as exporters write it
    nodes = [
        node("Shape", "x", "shape", "a"),
        node("Gather", "shape first", "rows", "b"),
        node("Concat", "rows rest", "wanted", "c", axis=0),
        node("Reshape", "x wanted", "flat", "d"),
        node("ReduceSum", "flat rest", "y", "e"),
    ]
    content = graph(nodes, ["n", 3, 5], first=np.array([0]), rest=np.array([-1]))
    assert refusals(content, n=2) == []


@pytest.mark.parametrize(
    ("made", "shape", "said"),
    [
        (node("GridSample", "x grid", "y"), [1, 1, 3, 4, 4], "4 dimensions, got 5"),
        (node("Resize", "x none none sizes", "y", mode="cubic"), [1, 1, 4, 4], "mode must be one of nearest, linear"),
        (node("MaxPool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2]), [1, 1, 8, 8], "dilations"),
        (node("MaxPool", "x", "y", kernel_shape=[2]), [1, 1, 8], "2 or 3 dimensions"),
        (node("ScatterND", "x places more", "y", reduction="add"), [4], "reduction must be none, got add"),
    ],
)
def test_what_the_table_asks_of_an_operator(made: Any, shape: list[int | str], said: str) -> None:
    constants = {
        "grid": np.zeros((1, 3, 4, 4, 3), np.float32),
        "none": np.zeros(0, np.float32),
        "sizes": np.array([1, 1, 8, 8]),
        "places": np.array([[1]]),
        "more": np.ones(1, np.float32),
    }
    where, _, reason = the_refusal(graph([made], shape, **constants))  # type: ignore[arg-type]
    assert where == "the-node" and said in reason


def test_nodes_of_branches_are_looked_at() -> None:
    def branch(operator: str) -> Any:
        out = helper.make_tensor_value_info(f"{operator}-out", TensorProto.FLOAT, [1])
        return helper.make_graph([helper.make_node(operator, ["x"], [out.name], name=operator)], operator, [], [out])

    content = graph(
        [node("If", "c", "y", then_branch=branch("Det"), else_branch=branch("ReduceMax"))], [3, 3], c=np.array(True)
    )
    assert ("Det", "Det") in [found[:2] for found in refusals(content)]


def test_an_opset_that_the_parser_does_not_read() -> None:
    assert "opset 8" in the_refusal(graph([node("Relu", "x", "y")], [1, 4], opset=8))[2]


def test_the_operators_of_the_flow_networks_are_in_the_table() -> None:
    assert OPERATORS["GridSample"] == {"float32", "float16"} and "bfloat16" in OPERATORS["Conv"]
    assert not OPERATORS.keys() & {"MatMulInteger", "DynamicQuantizeLinear", "Det", "Unique"}


def test_a_bundle_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = linear_graph(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), 4)
    folder = write_bundle(tmp_path / "small", "flow", {"small.onnx": content})
    assert main(["check", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["graphs"]["small.onnx"]["taken"] is True and said["graphs"]["small.onnx"]["nodes"] > 1
    assert said["table"]["version"] and said["table"]["source"].startswith("https://")


def test_the_shipped_pose_network_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(find_bundle("pose").place), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["graphs"]["sampler.onnx"]
    # its only reasons: the multiplications of 8 bits, each named
    assert {r["operator"] for r in said["refusals"]} == {"DynamicQuantizeLinear", "MatMulInteger"}
    model = onnx.load_from_string(find_bundle("pose").read("sampler.onnx"))
    named = [n.name for n in model.graph.node if n.op_type in ("DynamicQuantizeLinear", "MatMulInteger")]
    assert sorted(r["node"] for r in said["refusals"]) == sorted(named)


def test_damaged_graphs_are_an_error_or_a_report_and_never_a_traceback() -> None:
    whole = linear_graph(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), 4)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=2):
            damaged[place] = rng.integers(256)
        try:
            check_graph(bytes(damaged), "damaged.onnx", {})
        except BundleError as error:
            refused += 1
            assert "damaged.onnx" in str(error)
    assert refused > 100


def test_a_missing_or_broken_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(path: Path) -> str:
        assert main(["check", str(path)]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "nowhere" in said(tmp_path / "nowhere")
    assert "is not an ONNX graph" in said(write_bundle(tmp_path / "noise", "flow", {"a.onnx": b"\xff no graph"}))
    assert "without a node" in said(write_bundle(tmp_path / "empty", "flow", {"a.onnx": b""}))
    assert "there is no graph" in said(write_bundle(tmp_path / "none", "flow", {"a.bin": b"1"}))
    model = onnx.load_from_string(linear_graph(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), 4))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    content = model.SerializeToString()
    assert "lie in another file" in said(write_bundle(tmp_path / "apart", "flow", {"a.onnx": content}))
    changed = write_bundle(tmp_path / "changed", "flow", {"a.onnx": b"12345678"})
    (changed / "a.onnx").write_bytes(b"12345679")
    assert "a.onnx" in said(changed)
