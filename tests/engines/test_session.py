"""Graphs on a provider, against numpy, and what is said where a provider or an input is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodystream.engines import PROVIDERS, available_providers, onnx_runtime, open_engine, session
from bodystream.errors import BundleError, ConfigurationError, DeviceError, InputError, MissingDependencyError
from helpers.needs import needs

onnx = needs("onnx", "pip install 'bodystream[export]'")

RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)
TOLERANCE = 1e-6  # of float32 sums of three products


def make_graph(path: Path, out_type: int | None = None, rows: int | str = "rows") -> Path:
    """`out = tanh(x @ W + b)` for x of shape (rows, 3), and `doubled = 2 x`."""
    from onnx import TensorProto, helper, numpy_helper

    floats = TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["out" if out_type is None else "smooth"]),
        helper.make_node("Add", ["x", "x"], ["doubled"]),
    ]
    if out_type is not None:
        nodes.append(helper.make_node("Cast", ["smooth"], ["out"], to=out_type))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", floats, [rows, 3])],
        [
            helper.make_tensor_value_info("out", floats if out_type is None else out_type, [rows, 4]),
            helper.make_tensor_value_info("doubled", floats, [rows, 3]),
        ],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(BIAS, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return make_graph(tmp_path / "tiny.onnx")


@pytest.mark.parametrize("rows", [1, 5])
def test_it_computes_what_numpy_computes(graph: Path, rows: int) -> None:
    engine = open_engine(graph, "cpu", dimensions={"rows": rows})
    assert (engine.provider, engine.reason) == ("cpu", "as asked for")
    assert engine.inputs == {"x": (rows, 3)} and engine.outputs == {"out": (rows, 4), "doubled": (rows, 3)}
    for _ in range(3):
        x = RNG.normal(size=(rows, 3))  # float64, as the rest of the pipeline has it
        got = engine.run({"x": x})
        np.testing.assert_allclose(got["out"], np.tanh(x @ WEIGHTS + BIAS), atol=TOLERANCE)
        np.testing.assert_allclose(got["doubled"], 2 * x, atol=TOLERANCE)
        assert all(array.dtype == np.float32 for array in got.values())


def test_runs_reuse_their_buffers_and_keep_nothing_of_the_caller(graph: Path) -> None:
    engine = open_engine(graph, "cpu", dimensions={"rows": 1})
    x = np.ones((1, 3), np.float32)
    first = engine.run({"x": x})["out"]
    before = first.copy()
    x[:] = 7.0
    assert np.array_equal(first, before)
    second = engine.run({"x": x})["out"]
    assert second is first and not np.array_equal(second, before)


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({}, "takes x, got"),
        ({"y": np.zeros((2, 3))}, "takes x, got y"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(1)}, "takes x, got x, y"),
        ({"x": np.zeros((3, 3))}, r"x must be of shape \(2, 3\), got \(3, 3\)"),
        ({"x": np.zeros(3)}, r"got \(3,\)"),
        ({"x": 1.0}, r"got \(\)"),
    ],
)
def test_wrong_inputs_are_refused_and_the_next_run_is_right(graph: Path, feed: dict, said: str) -> None:
    engine = open_engine(graph, "cpu", dimensions={"rows": 2})
    with pytest.raises(InputError, match=said):
        engine.run(feed)
    np.testing.assert_allclose(engine.run({"x": np.zeros((2, 3))})["out"], np.tile(np.tanh(BIAS), (2, 1)), atol=1e-6)


def test_an_open_dimension_must_be_given(graph: Path) -> None:
    with pytest.raises(BundleError, match=r"tiny\.onnx: x has the open shape \('rows', 3\)"):
        open_engine(graph, "cpu")


def test_numbers_other_than_float32_are_refused_at_load(tmp_path: Path) -> None:
    path = make_graph(tmp_path / "whole.onnx", onnx.TensorProto.INT64, rows=2)
    with pytest.raises(BundleError, match=r"whole\.onnx: out .*int64"):
        open_engine(path, "cpu")


@pytest.mark.parametrize("content", [b"", b"no graph at all", None])
def test_what_is_no_graph_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"broken\.onnx"):
        open_engine(path, "cpu")


def test_unknown_providers_are_refused_with_the_known_ones(graph: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"auto, cuda, openvino, cpu, got 'tensorrt'"):
        open_engine(graph, "tensorrt", dimensions={"rows": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("provider", "package"), [("cuda", r"onnxruntime-gpu(\[cuda,cudnn\])?=="), ("openvino", r"bodystream\[openvino\]")]
)
def test_a_missing_provider_says_how_to_get_it(
    graph: Path, monkeypatch: pytest.MonkeyPatch, provider: str, package: str
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(session.importlib.util, "find_spec", lambda name: None)
    problems = available_providers()
    assert tuple(problems) == PROVIDERS and problems["cpu"] == ""
    with pytest.raises(MissingDependencyError, match=rf"provider {provider}.*pip install .*{package}"):
        open_engine(graph, provider, dimensions={"rows": 1})  # type: ignore[arg-type]


def test_auto_takes_the_cpu_where_there_is_no_cuda_and_says_so(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "available_providers", lambda: {"cuda": "none here", "openvino": "", "cpu": ""})
    engine = open_engine(graph, dimensions={"rows": 1})
    assert (engine.provider, engine.reason) == ("cpu", "no CUDA: none here")


def test_auto_takes_the_cpu_where_cuda_does_not_work_and_says_so(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = session._open

    def without_driver(path, provider, *rest):
        if provider == "cuda":
            raise DeviceError("no driver was found")
        return opened(path, provider, *rest)

    monkeypatch.setattr(session, "available_providers", lambda: dict.fromkeys(PROVIDERS, ""))
    monkeypatch.setattr(session, "_open", without_driver)
    engine = open_engine(graph, dimensions={"rows": 1})
    assert engine.provider == "cpu" and "CUDA does not work (no driver was found)" in engine.reason
    # who asks for it is told instead
    with pytest.raises(DeviceError, match="no driver"):
        open_engine(graph, "cuda", dimensions={"rows": 1})


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_each_provider_that_is_there_agrees_with_numpy(graph: Path, provider: str) -> None:
    problem = available_providers()[provider]
    if problem:
        pytest.skip(f"{provider}: {problem}")
    try:
        engine = open_engine(graph, provider, dimensions={"rows": 2})  # type: ignore[arg-type]
    except DeviceError as error:
        pytest.skip(str(error))
    assert engine.provider == provider
    x = RNG.normal(size=(2, 3))
    np.testing.assert_allclose(engine.run({"x": x})["out"], np.tanh(x @ WEIGHTS + BIAS), atol=2e-3)


@pytest.mark.parametrize(
    ("installed", "remedy"),
    [
        ({"onnxruntime": "1.31.1"}, "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'"),
        ({}, "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        (
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"},
            "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1",
        ),
    ],
)
def test_the_way_to_cuda_does_not_undo_itself(installed: dict, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither command removes onnxruntime, for which bodystream asks, nor lets pip think that nothing is to be done."""
    monkeypatch.setattr(onnx_runtime, "installed_builds", lambda: installed)
    assert onnx_runtime.cuda_remedy() == remedy
