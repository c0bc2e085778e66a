"""`bodystream-export engine`: plans built ahead, against a stand-in of TensorRT, and what is said where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.bundles import linear_graph, specs_of, write_bundle
from helpers.needs import needs
from helpers.tensorrt_stand_in import HostGpu, Machine

needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream_export.cli import main  # noqa: E402

WEIGHTS, BIAS = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch, tmp_path / "cache")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    told = {"open.onnx": specs_of(WEIGHTS, BIAS, "rows"), "two.onnx": specs_of(WEIGHTS, BIAS, 2)}
    files = {"open.onnx": linear_graph(WEIGHTS, BIAS, "rows"), "two.onnx": linear_graph(WEIGHTS, BIAS, 2)}
    return write_bundle(tmp_path / "flow", "test", files, graphs=told)


def test_plans_are_built_and_found_again(machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["engine", str(bundle), "--provider", "tensorrt", "--extents", "rows=4", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)["graphs"]
    assert said.keys() == {"open.onnx", "two.onnx"} and machine.built == 2
    for graph in said.values():
        assert Path(graph["plan"]).is_file() and "plan built now" in graph["reason"]
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out)["graphs"]
    assert machine.built == 2 and all(graph["reason"].endswith("from the cache") for graph in again.values())


def test_a_graph_that_cannot_be_taken_names_the_node(
    machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.has(HostGpu(), refused=("MatMul",))
    assert main(["engine", str(bundle), "--extents", "rows=4"]) == 2
    assert "(MatMul)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "say how large rows is: --extents rows=NUMBER"),
        (["--extents", "rows=0"], "takes NAME=NUMBER of rows, got 'rows=0'"),
        (["--extents", "columns=2"], "takes NAME=NUMBER of rows, got 'columns=2'"),
    ],
)
def test_extents_that_are_missing_or_wrong(
    machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], wanted: str
) -> None:
    assert main(["engine", str(bundle), *words]) == 2
    assert wanted in " ".join(capsys.readouterr().err.split())


def test_without_tensorrt_it_says_how_to_get_it(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorrt" else found(name, *rest)
    )
    assert main(["engine", str(bundle), "--extents", "rows=4"]) == 2
    assert "pip install 'bodystream[tensorrt]'" in " ".join(capsys.readouterr().err.split())


def test_a_bundle_without_a_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", str(write_bundle(tmp_path / "none", "test", {"a.bin": b"1"}))]) == 2
    assert "describes no graph" in " ".join(capsys.readouterr().err.split())
