"""The provider TensorRT against a stand-in of TensorRT's documented calls: results, plans, graphs and refusals.

No GPU and no TensorRT has run this: the stand-in computes on the host what it is asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import warp as wp

from bodystream.bundles import Bundle, open_bundle
from bodystream.engines import open_engine, tensorrt
from bodystream.engines.tensorrt import TensorRtEngine
from bodystream.engines.tensorrt_plans import plan_folder
from bodystream.errors import BundleError, DeviceError, InputError
from helpers.bundles import linear_graph, specs_of, write_bundle
from helpers.needs import needs
from helpers.tensorrt_stand_in import HostGpu, Machine

needs("onnx", "pip install 'bodystream[export]'")

RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.integers(0, 4, (3, 4)).astype(np.float32), RNG.integers(0, 4, 4).astype(np.float32)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch, tmp_path / "cache")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path)


def bundle_of(folder: Path, **graph: object) -> Bundle:
    files = {"tiny.onnx": linear_graph(WEIGHTS, BIAS, **graph)}  # type: ignore[arg-type]
    told = specs_of(WEIGHTS, BIAS, **graph)  # type: ignore[arg-type]
    return open_bundle(write_bundle(folder / "tiny", "test", files, graphs={"tiny.onnx": told}))


def opened(bundle: Bundle, rows: int = 2) -> TensorRtEngine:
    engine = open_engine(bundle, "tiny.onnx", provider="tensorrt", sizes={"rows": rows})
    assert isinstance(engine, TensorRtEngine) and engine.provider == "tensorrt"
    return engine


def on_gpu(values: np.ndarray) -> wp.array:
    return wp.array(values, dtype=wp.float32, device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_arrays_of_the_host_go_up_and_come_down(machine: Machine, tmp_path: Path, dtype: str) -> None:
    engine = opened(bundle_of(tmp_path, dtype=dtype))
    assert engine.reason.startswith("as asked for; plan built now")
    for _ in range(4):  # the third is replayed
        x = RNG.integers(0, 9, (2, 3)).astype(dtype)
        out = engine.run({"x": x})
        np.testing.assert_array_equal(out["out"], (x.astype(np.float64) @ WEIGHTS + BIAS).astype(dtype))
        np.testing.assert_array_equal(out["doubled"], x + x)
    assert machine.gpu.launched > 0


def test_arrays_of_the_gpu_are_read_and_written_where_they_lie(machine: Machine, bundle: Bundle) -> None:
    engine = opened(bundle)
    values = RNG.normal(size=(2, 3)).astype(np.float32)
    x, target = on_gpu(values), wp.zeros((2, 4), dtype=wp.float32, device="cpu")
    answers = engine.run({"x": x}, {"out": target})
    assert answers["out"] is target
    np.testing.assert_allclose(target.numpy(), values @ WEIGHTS + BIAS, rtol=1e-6)
    np.testing.assert_array_equal(answers["doubled"], values + values)
    mine = np.zeros((2, 3), np.float32)
    assert engine.run({"x": x}, {"doubled": mine})["doubled"] is mine
    np.testing.assert_array_equal(mine, values + values)


def test_the_same_arrays_again_are_a_graph_and_others_are_not_written_by_it(machine: Machine, bundle: Bundle) -> None:
    engine = opened(bundle)
    pairs = [(on_gpu(np.zeros((2, 3), np.float32)), wp.zeros((2, 4), dtype=wp.float32, device="cpu")) for _ in range(2)]
    for turn in range(4):
        for number, (x, target) in enumerate(pairs):
            values = np.full((2, 3), 10.0 * turn + number, np.float32)
            x.assign(values)
            engine.run({"x": x}, {"out": target})
            np.testing.assert_allclose(target.numpy(), values @ WEIGHTS + BIAS)
    assert machine.gpu.launched == 6  # of each pair, all but the first


def test_within_a_graph_of_the_caller_nothing_is_captured(machine: Machine, bundle: Bundle) -> None:
    engine = opened(bundle)
    x = on_gpu(np.ones((2, 3), np.float32))
    targets = {
        "out": wp.zeros((2, 4), dtype=wp.float32, device="cpu"),
        "doubled": wp.zeros((2, 3), dtype=wp.float32, device="cpu"),
    }
    machine.gpu.capturing = True
    graph = machine.gpu.captured(lambda: engine.run({"x": x}, targets))
    assert len(graph) == 1 and not targets["doubled"].numpy().any()
    machine.gpu.launch(graph)
    assert (targets["doubled"].numpy() == 2.0).all()


def test_what_cannot_be_a_graph_is_said_and_runs(
    machine: Machine, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    machine.gpu.refuses_capture = True
    engine = opened(bundle)
    for turn in range(4):
        x = np.full((2, 3), turn, np.float32)
        np.testing.assert_array_equal(engine.run({"x": x})["doubled"], x + x)
    assert "without a CUDA graph (operation not permitted" in engine.reason
    assert len([r for r in caplog.records if "not replayed as a CUDA graph" in r.message]) == 1


def test_a_plan_is_built_once_for_a_graph_and_its_sizes(machine: Machine, bundle: Bundle) -> None:
    first = opened(bundle)
    again = opened(bundle)
    assert machine.built == 1 and again.reason == "as asked for; plan from the cache"
    assert first.plan == again.plan == machine.plan()
    opened(bundle, rows=3)
    assert machine.built == 2 and len(list(plan_folder().iterdir())) == 2


def test_float32_is_computed_as_float32(machine: Machine, bundle: Bundle) -> None:
    opened(bundle)
    assert machine.module.Builder.flags == set()  # TensorFloat-32 is what TensorRT has set


def test_each_gpu_has_its_plan(machine: Machine, bundle: Bundle) -> None:
    first = opened(bundle).plan
    machine.has(HostGpu("Other (sm_86)"))
    second = opened(bundle)
    assert machine.built == 1 and second.plan != first and "none of this graph for this GPU" in second.reason


def test_a_plan_that_was_made_for_another_gpu_is_built_anew_and_said(machine: Machine, bundle: Bundle) -> None:
    foreign = opened(bundle).plan
    assert foreign is not None
    machine.has(HostGpu("Other (sm_86)"))
    own = opened(bundle).plan
    assert own is not None
    own.write_bytes(foreign.read_bytes())  # as after copying a cache
    machine.has(HostGpu("Other (sm_86)"))
    engine = opened(bundle)
    assert machine.built == 1
    assert "made for GPU Stand-in (sm_90), here is Other (sm_86)" in engine.reason
    assert opened(bundle).reason.endswith("plan from the cache")


@pytest.mark.parametrize(
    ("version", "driver", "said"),
    [
        ("11.5.0.1", "13.0", "made for TensorRT 11.4.0.106, here is 11.5.0.1"),
        ("11.4.0.106", "13.2", "made for driver 13.0, here is 13.2"),
    ],
)
def test_a_plan_of_another_version_is_built_anew_and_said(
    machine: Machine, bundle: Bundle, version: str, driver: str, said: str
) -> None:
    opened(bundle)
    machine.has(HostGpu(driver=driver), version)
    engine = opened(bundle)
    assert machine.built == 1 and said in engine.reason
    assert opened(bundle).reason.endswith("plan from the cache") and len(list(plan_folder().iterdir())) == 1


@pytest.mark.parametrize("how", ["cut", "bit", "empty", "other", "head", "list"])
def test_a_damaged_plan_is_built_anew_and_said(machine: Machine, bundle: Bundle, how: str) -> None:
    opened(bundle)
    path = machine.plan()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    damaged = {
        "cut": whole[:-20],
        "bit": bytes(flipped),
        "empty": b"",
        "other": b"something else",
        "head": whole[:30],
        "list": b"bodystream-plan 1\n[1]\nplan",
    }
    path.write_bytes(damaged[how])
    engine = opened(bundle)
    assert machine.built == 2 and "the one in the cache" in engine.reason
    assert path.read_bytes() == whole
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(engine.run({"x": x})["doubled"], x + x)


def test_a_plan_that_tensorrt_itself_refuses_is_built_anew_and_said(machine: Machine, bundle: Bundle) -> None:
    """The file is whole and says all that is true here, and TensorRT does not take it."""
    import hashlib
    import json

    opened(bundle)
    path = machine.plan()
    magic, head, _ = path.read_bytes().split(b"\n", 2)
    said = json.loads(head) | {"sha256": hashlib.sha256(b"no plan").hexdigest()}
    path.write_bytes(b"\n".join([magic, json.dumps(said).encode(), b"no plan"]))
    assert "was not taken by TensorRT" in opened(bundle).reason and machine.built == 2


def test_a_cache_that_cannot_be_written_is_said_and_runs(machine: Machine, bundle: Bundle) -> None:
    plan_folder().parent.parent.mkdir(parents=True, exist_ok=True)
    plan_folder().parent.write_text("a file where the folder should be")
    engine = opened(bundle)
    assert engine.plan is None and "could not be kept" in engine.reason
    assert engine.run({"x": np.ones((2, 3), np.float32)})["doubled"].shape == (2, 3)


def test_a_graph_that_tensorrt_cannot_take_names_the_node(machine: Machine, bundle: Bundle) -> None:
    import onnx

    node = next(n for n in onnx.load_from_string(bundle.read("tiny.onnx")).graph.node if n.op_type == "MatMul")
    machine.has(HostGpu(), refused=("MatMul",))
    with pytest.raises(
        DeviceError, match=rf"tensorrt 11\.4\.0\.106 does not take .*tiny.*node '{node.name}' \(MatMul\)"
    ):
        opened(bundle)
    assert not plan_folder().exists()


def test_what_is_no_graph_is_refused_with_what_tensorrt_says(machine: Machine, tmp_path: Path) -> None:
    files = {"tiny.onnx": b"\xff no graph"}
    told = {"tiny.onnx": specs_of(WEIGHTS, BIAS)}
    broken = open_bundle(write_bundle(tmp_path / "broken", "test", files, graphs=told))
    with pytest.raises(DeviceError, match="failed to parse the model"):
        opened(broken)


def test_an_extent_that_was_not_chosen_builds_nothing(machine: Machine, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="say how large rows is"):
        open_engine(bundle, "tiny.onnx", provider="tensorrt")
    assert machine.built == 0


def test_a_manifest_that_says_something_else_is_refused(machine: Machine, tmp_path: Path) -> None:
    told = {"tiny.onnx": specs_of(WEIGHTS, BIAS, 2, dtype="float16")}
    files = {"tiny.onnx": linear_graph(WEIGHTS, BIAS, 2)}
    wrong = open_bundle(write_bundle(tmp_path / "wrong", "test", files, graphs=told))
    with pytest.raises(BundleError, match=r"float32 \(2, 3\), its manifest says float16"):
        opened(wrong)


def test_an_older_tensorrt_is_refused(machine: Machine, bundle: Bundle) -> None:
    machine.has(HostGpu(), "10.15.1")
    with pytest.raises(DeviceError, match=r"tensorrt 10\.15\.1 is installed, wanted 11 or newer"):
        opened(bundle)


def test_without_a_gpu_it_says_so(bundle: Bundle, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from bodystream.engines.tensorrt_gpu import gpu_of

    monkeypatch.setattr(tensorrt, "gpu_of", gpu_of)
    monkeypatch.setattr(wp, "is_cuda_available", lambda: False)
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        opened(bundle)


def test_auto_never_takes_it(machine: Machine, bundle: Bundle) -> None:
    assert open_engine(bundle, "tiny.onnx", sizes={"rows": 2}).provider != "tensorrt"
    assert machine.built == 0


@pytest.mark.parametrize(
    ("feed", "out", "said"),
    [
        ({}, None, "takes x, got"),
        ({"x": np.zeros((2, 4), np.float32)}, None, r"must be of shape \(2, 3\)"),
        ({"x": np.zeros((2, 3), np.complex64)}, None, "must be float32"),
        ({"x": wp.zeros((2, 4), dtype=wp.float32, device="cpu")}, None, r"must be float32 \(2, 3\), contiguous"),
        ({"x": np.zeros((2, 3), np.float32)}, {"other": np.zeros(1)}, "gives out, doubled"),
        ({"x": np.zeros((2, 3), np.float32)}, {"out": np.zeros((4, 2), np.float32).T}, "not contiguous"),
        ({"x": np.zeros((2, 3), np.float32)}, {"out": np.zeros((2, 4))}, r"must be float32 \(2, 4\).*got float64"),
        ({"x": np.zeros((2, 3), np.float32)}, {"out": [0.0]}, "must be an array, got list"),
    ],
)
def test_arrays_that_do_not_fit(machine: Machine, bundle: Bundle, feed: dict, out: dict | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(bundle).run(feed, out)


def test_a_read_only_array_is_not_written(machine: Machine, bundle: Bundle) -> None:
    target = np.zeros((2, 4), np.float32)
    target.flags.writeable = False
    with pytest.raises(InputError, match="read-only"):
        opened(bundle).run({"x": np.zeros((2, 3), np.float32)}, {"out": target})
