"""Graphs on a provider, against numpy: shapes, types and memory, and what is said where one of them is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import warp as wp

from bodystream.bundles import Bundle, Signature, TensorSpec, open_bundle
from bodystream.engines import PROVIDERS, available_providers, onnx_runtime, open_engine
from bodystream.engines.onnx import OnnxEngine
from bodystream.errors import BundleError, ConfigurationError, DeviceError, InputError
from helpers.bundles import linear_graph, specs_of, write_bundle
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")

RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.integers(0, 4, (3, 4)).astype(np.float32), RNG.integers(0, 4, 4).astype(np.float32)
TOLERANCE = {"float32": 1e-6, "float16": 1e-3, "uint8": 0.0}  # of the largest value: the last digit of each type


def bundle_of(folder: Path, said: dict | None = None, **graph: object) -> Bundle:
    """A bundle with one `linear_graph`, and what its manifest says of it (default: the truth)."""
    told = {key: value for key, value in graph.items() if key != "opset"}
    truth = specs_of(WEIGHTS, BIAS, **told)  # type: ignore[arg-type]
    section = truth if said is None else said
    content = linear_graph(WEIGHTS, BIAS, **graph)  # type: ignore[arg-type]
    return open_bundle(write_bundle(folder / "tiny", "test", {"tiny.onnx": content}, graphs={"tiny.onnx": section}))


def values(dtype: str, rows: int) -> np.ndarray:
    if dtype == "uint8":
        return RNG.integers(0, 20, (rows, 3), np.uint8)
    return RNG.normal(size=(rows, 3)).astype(dtype)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_it_computes_what_numpy_computes(tmp_path: Path, dtype: str, rows: int) -> None:
    engine = open_engine(bundle_of(tmp_path, dtype=dtype), "tiny.onnx", provider="cpu", sizes={"rows": rows})
    assert (engine.provider, engine.reason) == ("cpu", "as asked for")
    assert engine.inputs == {"x": TensorSpec((rows, 3), dtype)}  # type: ignore[arg-type]
    for _ in range(3):
        x = values(dtype, rows)
        got = engine.run({"x": x})
        wanted = x.astype(np.float64) @ WEIGHTS + BIAS
        assert np.abs(got["out"] - wanted).max() <= TOLERANCE[dtype] * np.abs(wanted).max()
        np.testing.assert_array_equal(got["doubled"], x + x)
        assert {array.dtype for array in got.values()} == {np.dtype(dtype)}


def test_inputs_and_outputs_may_have_different_types(tmp_path: Path) -> None:
    """An image goes in as bytes, and flow comes out in half precision."""
    engine = open_engine(bundle_of(tmp_path, dtype="uint8", out_dtype="float16", rows=2), "tiny.onnx", provider="cpu")
    x = values("uint8", 2)
    np.testing.assert_array_equal(engine.run({"x": x})["out"], (x @ WEIGHTS + BIAS).astype(np.float16))


def test_runs_reuse_their_buffers_and_keep_nothing_of_the_caller(bundle: Bundle) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 1})
    x = np.ones((1, 3), np.float32)
    first = engine.run({"x": x})["out"]
    before = first.copy()
    x[:] = 7.0
    assert np.array_equal(first, before)
    second = engine.run({"x": x})["out"]
    assert second is first and not np.array_equal(second, before)


def test_other_numbers_are_converted_where_that_loses_digits_only(bundle: Bundle) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 2})
    for x in (RNG.normal(size=(2, 3)), np.arange(6).reshape(2, 3), [[1.0, 2.0, 3.0]] * 2):
        np.testing.assert_allclose(engine.run({"x": x})["doubled"], 2 * np.asarray(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({}, "takes x, got"),
        ({"y": np.zeros((2, 3))}, "takes x, got y"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(1)}, "takes x, got x, y"),
        ({"x": np.zeros((3, 3))}, r"x must be of shape \(2, 3\), got \(3, 3\)"),
        ({"x": np.zeros(3)}, r"got \(3,\)"),
        ({"x": 1.0}, r"got \(\)"),
        ({"x": np.zeros((2, 3), complex)}, "x must be float32, got complex128"),
        ({"x": [["a", "b", "c"]] * 2}, "x must be float32, got <U1"),
    ],
)
def test_wrong_inputs_are_refused_and_the_next_run_is_right(bundle: Bundle, feed: dict, said: str) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 2})
    with pytest.raises(InputError, match=said) as caught:
        engine.run(feed)
    assert "tiny.onnx" in str(caught.value)
    np.testing.assert_allclose(engine.run({"x": np.zeros((2, 3))})["out"], np.tile(BIAS, (2, 1)), atol=1e-6)


def test_colours_are_not_cut_to_bytes(tmp_path: Path) -> None:
    engine = open_engine(bundle_of(tmp_path, dtype="uint8", rows=2), "tiny.onnx", provider="cpu")
    for x in (np.full((2, 3), 300), np.full((2, 3), 0.5)):
        with pytest.raises(InputError, match="x must be uint8, got"):
            engine.run({"x": x})


def test_arrays_of_warp_are_read_and_written_where_they_lie(bundle: Bundle) -> None:
    """On the processor; a value that is written to them between two runs is seen without handing them over again."""
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 2})
    x = wp.array(np.ones((2, 3), np.float32), dtype=wp.vec3, device="cpu").reshape((2,))
    out = wp.zeros((2, 4), dtype=wp.float32, device="cpu")
    answers = engine.run({"x": x}, {"out": out})
    assert answers["out"] is out and isinstance(answers["doubled"], np.ndarray)
    np.testing.assert_allclose(out.numpy(), np.ones((2, 3)) @ WEIGHTS + BIAS, rtol=1e-6)
    x.fill_(2.0)
    engine.run({"x": x}, {"out": out})
    np.testing.assert_allclose(out.numpy(), np.full((2, 3), 2.0) @ WEIGHTS + BIAS, rtol=1e-6)


def test_outputs_return_to_the_engines_memory(bundle: Bundle) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 1})
    x, mine = np.ones((1, 3), np.float32), np.zeros((1, 4), np.float32)
    own = engine.run({"x": x})["out"]
    assert engine.run({"x": x}, {"out": mine})["out"] is mine
    kept = mine.copy()
    np.testing.assert_array_equal(mine, own)
    again = engine.run({"x": 3 * x})["out"]
    assert again is own and np.array_equal(mine, kept) and not np.array_equal(own, kept)


def read_only() -> np.ndarray:
    array = np.zeros((2, 4), np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("feed", "out", "said"),
    [
        (wp.zeros((2, 4), dtype=wp.float32, device="cpu"), {}, r"x must be float32 \(2, 3\), contiguous, got float32"),
        (wp.zeros((2, 3), dtype=wp.float64, device="cpu"), {}, "got float64"),
        (wp.zeros((2, 6), dtype=wp.float32, device="cpu")[:, ::2], {}, r"\(2, 3\), not contiguous"),
        (np.zeros((2, 3)), {"out": np.zeros((2, 4))}, r"out must be float32 \(2, 4\), contiguous, got float64"),
        (np.zeros((2, 3)), {"out": np.zeros((4, 2), np.float32).T}, "not contiguous"),
        (np.zeros((2, 3)), {"out": [[0.0] * 4] * 2}, "out must be an array, got list"),
        (np.zeros((2, 3)), {"out": read_only()}, "the array for out is read-only"),
        (np.zeros((2, 3)), {"other": np.zeros((2, 4), np.float32)}, "gives out, doubled, got arrays for other"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(bundle: Bundle, feed: object, out: dict, said: str) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 2})
    with pytest.raises(InputError, match=said):
        engine.run({"x": feed}, out)


class OnGpu:
    """Stands for an array in the memory of a GPU."""

    def __init__(self, pointer: int, shape: tuple[int, ...], typestr: str = "<f4") -> None:
        self.__cuda_array_interface__ = {
            "data": (pointer, False), "shape": shape, "typestr": typestr, "strides": None, "version": 2
        }  # fmt: skip


def test_what_lies_on_a_gpu_is_refused_by_the_processor(bundle: Bundle) -> None:
    engine = open_engine(bundle, "tiny.onnx", provider="cpu", sizes={"rows": 2})
    with pytest.raises(InputError, match="x lies on a GPU, and cpu computes on the host: .* provider cuda"):
        engine.run({"x": OnGpu(4096, (2, 3))})


class Recorded:
    """Stands for a session on CUDA: notes what it is bound to."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def io_binding(self) -> Recorded:
        return self

    def bind_input(self, *arguments: object) -> None:
        self.calls.append(("in", *arguments))

    def bind_output(self, *arguments: object) -> None:
        self.calls.append(("out", *arguments))

    def bind_cpu_input(self, name: str, array: np.ndarray) -> None:
        self.calls.append(("up", name, array.copy()))

    def run_with_iobinding(self, binding: Recorded) -> None:
        self.calls.append(("run",))


def test_on_cuda_the_gpus_memory_is_bound_and_only_new_addresses_are() -> None:
    signature = Signature({"x": TensorSpec((2, 3))}, {"out": TensorSpec((2, 4))})
    session = Recorded()
    engine = OnnxEngine(session, "cuda", "", "tiny.onnx", signature, gpu=1)
    ((_, name, where, _, kind, shape, own),) = session.calls
    assert (name, where, kind, shape) == ("out", "cpu", np.float32, [2, 4])
    session.calls.clear()
    x, out = OnGpu(4096, (2, 3)), OnGpu(8192, (2, 4))
    for _ in range(2):
        assert engine.run({"x": x}, {"out": out}) == {"out": out}
    assert session.calls == [
        ("in", "x", "cuda", 1, np.float32, [2, 3], 4096),
        ("out", "out", "cuda", 1, np.float32, [2, 4], 8192),
        ("run",),
        ("run",),
    ]
    session.calls.clear()
    answer = engine.run({"x": np.ones((2, 3))})  # from the host again, and to it
    assert isinstance(answer["out"], np.ndarray)
    assert [call[0] for call in session.calls] == ["up", "out", "run"] and session.calls[1][-1] == own
    session.calls.clear()
    engine.run({"x": x})
    assert session.calls[0][:2] == ("in", "x")


TRUTH = specs_of(WEIGHTS, BIAS, rows=2)
IN, OUT = TRUTH["inputs"], TRUTH["outputs"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"inputs": {"x": {"shape": [2, 5]}}, "outputs": OUT},
         r"the input 'x' is float32 \(2, 3\), its manifest says float32 \(2, 5\)"),
        ({"inputs": {"x": {"shape": [2, 3], "dtype": "uint8"}}, "outputs": OUT},
         r"the input 'x' is float32 \(2, 3\), its manifest says uint8 \(2, 3\)"),
        ({"inputs": {"y": IN["x"]}, "outputs": OUT}, r"no input 'y', its manifest says float32 \(2, 3\); .* are x"),
        ({"inputs": IN, "outputs": OUT | {"more": {"shape": [1]}}}, r"no output 'more', its manifest says .*\(1\)"),
        ({"inputs": IN, "outputs": {"out": OUT["out"]}}, r"has the output 'doubled', .*says only out"),
        ({"inputs": IN, "outputs": OUT | {"out": {"shape": [2, 4], "dtype": "float16"}}},
         r"the output 'out' is float32 \(2, 4\), its manifest says float16 \(2, 4\)"),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path, said: dict, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        open_engine(bundle_of(tmp_path, said, rows=2), "tiny.onnx", provider="cpu")
    assert "tiny.onnx" in str(caught.value) and "export it again" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Signature({"x": TensorSpec((2, 3))}, {"out": TensorSpec((2, 4))}), r"has the output 'doubled'"),
        (
            Signature({"x": TensorSpec((2, 3), "float16")}, {}),
            r"the manifest of .*tiny.onnx: the input 'x' is float32 \(2, 3\), bodystream wants float16 \(2, 3\)",
        ),
        (Signature({"x": TensorSpec((2, 3)), "z": TensorSpec((1,))}, {}), "no input 'z', bodystream wants"),
    ],
)
def test_a_bundle_that_is_not_what_the_caller_wants_is_refused(bundle: Bundle, wanted: Signature, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        open_engine(bundle, "tiny.onnx", provider="cpu", wanted=wanted, sizes={"rows": 2})


def test_an_open_dimension_must_be_given(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"tiny\.onnx: say how large rows is"):
        open_engine(bundle, "tiny.onnx", provider="cpu")


def test_other_types_are_refused_at_load(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, specs_of(WEIGHTS, BIAS, 2), out_dtype="int64", rows=2)
    with pytest.raises(BundleError, match=r"tiny\.onnx: out is a tensor\(int64\), wanted one of .*float16"):
        open_engine(bundle, "tiny.onnx", provider="cpu")
    with pytest.raises(BundleError, match=r"manifest.*int64"):
        bundle_of(tmp_path, out_dtype="int64", rows=2)


def test_an_opset_of_the_future_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tiny\.onnx is not a graph that onnxruntime [\d.]+ reads: .*[Oo]pset"):
        open_engine(bundle_of(tmp_path, opset=999, rows=2), "tiny.onnx", provider="cpu")


def test_an_older_opset_is_read(tmp_path: Path) -> None:
    engine = open_engine(bundle_of(tmp_path, opset=13, rows=1), "tiny.onnx", provider="cpu")
    np.testing.assert_allclose(engine.run({"x": np.ones((1, 3))})["out"], [WEIGHTS.sum(0) + BIAS], rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_what_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write_bundle(tmp_path / "b", "test", {"broken.onnx": content}, graphs={"broken.onnx": TRUTH})
    with pytest.raises(BundleError, match=r"broken\.onnx is not a graph"):
        open_engine(open_bundle(folder), "broken.onnx", provider="cpu")


def test_a_graph_of_which_the_manifest_says_nothing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", "test", {"tiny.onnx": linear_graph(WEIGHTS, BIAS)})
    with pytest.raises(BundleError, match=r"says nothing of the graph tiny\.onnx .*bodystream-export measure"):
        open_engine(open_bundle(folder), "tiny.onnx")


def test_unknown_providers_are_refused_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(ConfigurationError, match=r"auto, tensorrt, cuda, openvino, cpu, got 'coreml'$"):
        open_engine(bundle, "tiny.onnx", provider="coreml")  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_each_provider_that_is_there_agrees_with_numpy(bundle: Bundle, provider: str) -> None:
    problem = available_providers()[provider]
    if problem:
        pytest.skip(f"{provider}: {problem}")
    try:
        engine = open_engine(bundle, "tiny.onnx", provider=provider, sizes={"rows": 2})  # type: ignore[arg-type]
    except DeviceError as error:
        pytest.skip(str(error))
    assert engine.provider == provider
    x = RNG.normal(size=(2, 3))
    np.testing.assert_allclose(engine.run({"x": x})["out"], x @ WEIGHTS + BIAS, atol=2e-3)


def test_a_provider_that_takes_no_part_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session lists a plugin also where every node went to the processor."""
    from bodystream.engines import onnx

    monkeypatch.setattr(onnx, "available_providers", lambda: dict.fromkeys(PROVIDERS, ""))
    monkeypatch.setattr("bodystream.engines.open.available_providers", lambda: dict.fromkeys(PROVIDERS, ""))
    monkeypatch.setattr(onnx, "_add_openvino", lambda *_: None)
    with pytest.raises(DeviceError, match=r"openvino took no part of .*tiny\.onnx"):
        open_engine(bundle, "tiny.onnx", provider="openvino", sizes={"rows": 1})
    session = SimpleNamespace(
        get_provider_graph_assignment_info=lambda: [SimpleNamespace(ep_name="CUDAExecutionProvider")]
    )
    assert onnx._takes_part(session, "CUDAExecutionProvider")


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
