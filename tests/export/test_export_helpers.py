"""What every export shares: a graph of a network, the comparison with PyTorch, the place of the bundle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream.bundles import Signature, TensorSpec  # noqa: E402
from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream_export.onnx_graph import rows_in_8_bit, stored_in_16_bits, to_8_bit, to_onnx  # noqa: E402
from bodystream_export.parity import Difference, both_answers, evenly, parity_table, refuse_too_far  # noqa: E402
from bodystream_export.place import Place  # noqa: E402

SIGNATURE = Signature({"x": TensorSpec(("rows", 8))}, {"y": TensorSpec(("rows", 4)), "sum": TensorSpec(("rows",))})


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.tanh(self.layer(x))
        return y, y.sum(-1)


def write(network: torch.nn.Module, path: Path) -> None:
    open_axes = {name: {0: "rows"} for name in ("x", "y", "sum")}
    to_onnx(network, {"x": torch.randn(2, 8)}, ("y", "sum"), path, open_axes=open_axes)


def worst(network: torch.nn.Module, path: Path, rows: int) -> float:
    rng = np.random.default_rng(1)
    feeds = [{"x": rng.standard_normal((rows, 8)).astype(np.float32)} for _ in range(5)]
    apart = []
    for wanted, got in both_answers(network, path, feeds, SIGNATURE, {"rows": rows}):
        assert wanted.keys() == got.keys() == {"y", "sum"} and wanted["y"].shape == (rows, 4)
        apart += [np.abs(got[name] - wanted[name]).max() for name in wanted]
    assert len(apart) == 10
    return float(max(apart))


def test_a_graph_answers_as_its_network_for_any_number_of_rows(tmp_path: Path) -> None:
    network = Net().eval()
    write(network, tmp_path / "net.onnx")
    assert worst(network, tmp_path / "net.onnx", 1) < 1e-6 and worst(network, tmp_path / "net.onnx", 3) < 1e-6
    to_8_bit(tmp_path / "net.onnx", tmp_path / "small.onnx")
    assert 1e-6 < worst(network, tmp_path / "small.onnx", 3) < 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "small.onnx"]


def test_rows_of_8_bits_answer_as_their_network(tmp_path: Path) -> None:
    """Whatever number of inputs the last block of weights has; other layers stay as they are."""
    import onnx

    for inputs, hidden in ((8, 33), (8, 64), (8, 5)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 120))
        x, full, small = torch.randn(2, inputs), tmp_path / "net.onnx", tmp_path / "small.onnx"
        to_onnx(network, {"x": x}, ("y",), full, open_axes={name: {0: "rows"} for name in ("x", "y")})
        rows_in_8_bit(full, small, 120)
        assert [node.op_type for node in onnx.load(small).graph.node] == ["Gemm", "Tanh", "MatMulNBits"]
        signature = Signature({"x": TensorSpec(("rows", inputs))}, {"y": TensorSpec(("rows", 120))})
        for rows in (1, 3):
            feed = {"x": np.random.default_rng(1).standard_normal((rows, inputs)).astype(np.float32)}
            ((wanted, got),) = both_answers(_Tuple(network), small, [feed], signature, {"rows": rows})
            assert 0.0 < np.abs(got["y"] - wanted["y"]).max() < 0.02
        stored_in_16_bits(small, small)
        ((_, again),) = both_answers(_Tuple(network), small, [feed], signature, {"rows": rows})
        assert np.abs(again["y"] - got["y"]).max() < 2e-3
    with pytest.raises(ValueError, match=r"net.onnx has no layer with 7 outputs"):
        rows_in_8_bit(full, small, 7)


class _Tuple(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.network(x),)


def test_a_graph_of_another_network_is_noticed(tmp_path: Path) -> None:
    other = Net().eval()
    with torch.no_grad():
        other.layer.weight[1, 2] += 0.5
    write(other, tmp_path / "net.onnx")
    assert worst(Net().eval(), tmp_path / "net.onnx", 3) > 0.05


def test_what_is_too_far_apart_is_refused() -> None:
    fine = [Difference("mean_deg", 0.5, "rotations", 0.5), Difference("nats", 99.0, "likelihood")]
    refuse_too_far(fine, "export with --full")
    assert parity_table(fine, 7).row_count == 2
    for wrong in (0.51, math.nan, math.inf):
        with pytest.raises(InputError, match=r"spread is .*, at most 0.5 \(deviations\): export with --full"):
            refuse_too_far([*fine, Difference("spread", wrong, "deviations", 0.5)], "export with --full")


def test_examples_are_taken_evenly() -> None:
    assert evenly(3, 10).tolist() == [0, 1, 2] and evenly(1, 10).tolist() == [0]
    assert evenly(101, 5).tolist() == [0, 25, 50, 75, 100]


def test_a_place_is_checked_before_anything_is_made(tmp_path: Path) -> None:
    assert Place.of(tmp_path / "mine.zip", True) == Place.of(tmp_path / "mine", True)
    assert Place.of(tmp_path / "mine", True).path == tmp_path / "mine.zip"
    assert Place.of(tmp_path / "mine", False) == Place("mine", tmp_path / "mine", False)
    for wrong in ("Mine Own", "..", ".zip"):
        with pytest.raises(ConfigurationError, match="--out must end in a bundle's name"):
            Place.of(tmp_path / wrong, True)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="--out: cannot write"):
        Place.of(tmp_path / "taken", False)
