"""Which provider `auto` takes, by what the manifest measured and what is here, and what it says of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from bodystream.bundles import Bundle, GraphSection, TensorSpec, find_bundle, open_bundle
from bodystream.device import select_device
from bodystream.engines import PROVIDERS, available_providers, open_engine
from bodystream.engines.open import candidates
from bodystream.errors import DeviceError, MissingDependencyError
from helpers.bundles import linear_graph, specs_of, write_bundle
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")

WEIGHTS, BIAS = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
NOTHING = {"cuda": "none here", "openvino": "not installed", "cpu": ""}
ALL = dict.fromkeys(PROVIDERS, "")
NO_GPU = ALL | {"cuda": "none here"}


def bundle_of(folder: Path, **section: object) -> Bundle:
    graph = {**specs_of(WEIGHTS, BIAS, 1), **section}
    files = {"tiny.onnx": linear_graph(WEIGHTS, BIAS, 1)}
    return open_bundle(write_bundle(folder / "tiny", "test", files, graphs={"tiny.onnx": graph}))


@pytest.mark.parametrize(
    ("times", "problems", "may_use_gpu", "order", "said"),
    [
        ({}, NOTHING, True, ["cpu"], "no CUDA: none here; no other was measured"),
        ({}, NO_GPU, True, ["cpu"], "no other was measured"),  # being there says nothing of its speed
        ({}, ALL, True, ["cuda", "cpu"], "CUDA works"),
        ({}, ALL, False, ["cpu"], "no CUDA: kernels run on the processor"),
        ({"cpu": 1.0, "openvino": 2.0}, NO_GPU, True, ["cpu", "openvino"], r"\(cpu 1 ms, openvino 2 ms\)"),
        ({"cpu": 7.0, "openvino": 1.0}, NO_GPU, True, ["openvino", "cpu"], r"\(openvino 1 ms, cpu 7 ms\)"),
        ({"cpu": 7.0, "openvino": 1.0}, NOTHING, True, ["cpu"], r"cpu 7 ms; openvino: not installed\)"),
        ({"openvino": 1.0}, NO_GPU, True, ["openvino", "cpu"], "the fastest of those measured that is here"),
        ({"cpu": 7.0, "openvino": 1.0, "cuda": 9.0}, ALL, True, ["cuda", "openvino", "cpu"], "CUDA works"),
        ({"cpu": 7.0, "other": 1.0}, NOTHING, True, ["cpu"], r"\(cpu 7 ms\)"),
    ],
)
def test_the_order_of_providers(times: dict, problems: dict, may_use_gpu: bool, order: list, said: str) -> None:
    spec = {"x": TensorSpec((1,))}
    found = candidates(GraphSection(spec, spec, providers=times), problems, may_use_gpu)
    assert [name for name, _ in found] == order
    assert re.search(said, found[0][1])


def test_the_shipped_network_runs_on_the_processor_where_there_is_no_gpu() -> None:
    """As before there was a choice; its manifest has a time of the processor."""
    section = find_bundle("pose").manifest.graphs["sampler.onnx"]
    assert "cpu" in section.providers and section.threads == 1 and not section.spinning
    for problems in (NOTHING, NO_GPU):
        assert candidates(section, problems, True)[0][0] == "cpu"


def test_a_provider_that_does_not_work_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bodystream.engines import open as opening

    opened = opening.open_onnx

    def without_driver(content, label, provider, *rest):
        if provider != "cpu":
            raise DeviceError(f"no {provider} was found")
        return opened(content, label, provider, *rest)

    monkeypatch.setattr(opening, "available_providers", lambda: ALL)
    monkeypatch.setattr(opening, "open_onnx", without_driver)
    bundle = bundle_of(tmp_path, providers={"openvino": 1.0, "cpu": 2.0})
    engine = open_engine(bundle, "tiny.onnx")
    assert engine.provider == "cpu"
    assert engine.reason.startswith("CUDA does not work (no cuda was found); OpenVINO does not work (no openvino was")
    engine = open_engine(bundle, "tiny.onnx", device=select_device("cpu"))
    assert engine.provider == "cpu" and "kernels run on the processor" in engine.reason
    # who asks for it is told instead
    with pytest.raises(DeviceError, match="no cuda"):
        open_engine(bundle, "tiny.onnx", provider="cuda")


@pytest.mark.parametrize(
    ("provider", "package"),
    [
        ("cuda", r"onnxruntime-gpu(\[cuda,cudnn\])?=="),
        ("openvino", r"bodystream\[openvino\]"),
        ("tensorrt", r"bodystream\[tensorrt\]"),
    ],
)
def test_a_missing_provider_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, package: str
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problems = available_providers()
    assert tuple(problems) == PROVIDERS and problems["cpu"] == ""
    with pytest.raises(MissingDependencyError, match=rf"provider {provider}.*pip install .*{package}"):
        open_engine(bundle_of(tmp_path), "tiny.onnx", provider=provider)  # type: ignore[arg-type]


def test_threads_are_the_graphs_unless_the_caller_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    made: list[tuple[int, str]] = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, content, options, **rest):
            made.append(
                (
                    options.intra_op_num_threads,
                    options.get_session_config_entry("session.intra_op.allow_spinning"),
                )
            )
            super().__init__(content, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    bundle = bundle_of(tmp_path, threads=2, spinning=True)
    open_engine(bundle, "tiny.onnx", provider="cpu")
    open_engine(bundle, "tiny.onnx", provider="cpu", threads=1, spinning=False)
    open_engine(bundle_of(tmp_path / "other"), "tiny.onnx", provider="cpu")
    assert made == [(2, "1"), (1, "0"), (1, "0")]
