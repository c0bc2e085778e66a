"""Export of the flow networks: each file answers as PyTorch does, and the manifest says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.bundles import open_bundle  # noqa: E402
from bodystream.engines import open_engine  # noqa: E402
from bodystream_export.cli import main  # noqa: E402
from bodystream_training.checkpoints import save_checkpoint  # noqa: E402
from bodystream_training.flow.light import LightFlow  # noqa: E402
from bodystream_training.flow.networks import FullNet, load_flow_model  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bodystream_training.cli import main as train

    out = tmp_path_factory.mktemp("run")
    words = [
        "flow",
        "--data",
        "synthetic",
        "--size",
        "64x64",
        "--pairs",
        "2",
        "--validation-pairs",
        "1",
        "--epochs",
        "2",
    ]
    assert train([*words, "--batch", "2", "--out", str(out)]) == 0
    return out / "light.safetensors"


def test_the_light_network_is_the_same_in_its_bundle(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bodystream_export.flow.quality._TAKES", 1)
    out = tmp_path / "flow"
    words = ["flow", "--checkpoint", str(trained), "--sizes", "64x96", "--iterations", "2", "--out", str(out), "--json"]
    words += ["--measured-pairs", "2", "--live-frames", "5"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["export_encoder_64x96_random"] < 1e-4 and said["export_decoder_64x96_pairs"] < 1e-4
    assert 0 < said["export_decoder_64x96_fp16_pairs_flow_px"] < 0.05
    assert main(["check", str(out)]) == 0, "TensorRT takes all of its graphs"
    bundle = open_bundle(out)
    figures = {"visible_px", "epe3d_mm", "graph_error_mm"}
    compared = {f"{who}_{figure}" for who in ("epe", "dis") for figure in figures}
    compared |= {"live_surface_error_mm", "dis_live_surface_error_mm"}
    assert bundle.manifest.kind == "flow" and compared <= set(bundle.manifest.metrics) and compared <= set(said)
    assert all(bundle.manifest.metrics[figure] > 0 for figure in compared)
    assert bundle.manifest.provenance["recipe"].startswith("bodystream-train flow --data synthetic --net light")
    assert "--pairs 2 " in bundle.manifest.provenance["recipe"]
    assert bundle.manifest.provenance["recipe"].endswith("--size 64x64")  # it was not stopped before its end
    section = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["flow"]
    assert section == {"net": "light", "iterations": 2, "sizes": [[64, 96]]}

    model = LightFlow()
    load_flow_model(model, trained)
    model.eval()
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 1, 5, 96, 64, generator=generator)
    initial = torch.randn(1, 2, 12, 8, generator=generator)
    with torch.no_grad():
        first, second = model.encoder(source), model.encoder(target)
        wanted = model.decoder(first, [level.matching for level in second], initial, iterations=2)[-1]
    encoder, decoder = (open_engine(bundle, f"{part}_64x96.onnx") for part in ("encoder", "decoder"))
    features = {k: np.copy(v) for k, v in encoder.run({"image": source.numpy()}).items()}
    feed = {f"source_{name}": value for name, value in features.items()}
    features = encoder.run({"image": target.numpy()})
    feed |= {f"target_{name}": np.copy(v) for name, v in features.items() if name.startswith("matching")}
    found = decoder.run({**feed, "initial_flow_px": initial.numpy()})
    np.testing.assert_allclose(found["flow_px"], wanted.flow_px.numpy(), atol=1e-3)
    np.testing.assert_allclose(found["weight"], torch.sigmoid(wanted.weight_logit).numpy(), atol=1e-4)


def test_a_recipe_says_where_a_training_was_stopped(trained: Path) -> None:
    from bodystream_export.flow.command import _provenance, load_network

    _, _, facts = load_network(trained)
    early = {**facts, "step": 1, "steps": 2}
    recipe = _provenance("light", {**facts, "start": early})["recipe"].split("; ")
    assert recipe[0].endswith("(stopped at step 1 of 2)") and "stopped" not in recipe[1]


def test_the_full_networks_are_the_same_in_their_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model, path = FullNet(), tmp_path / "full-4.safetensors"
    config = {"stage": 1, "epochs": 1, "batch": 4, "learning_rate": 1e-5, "seed": 0, "optimiser": "sgd"}
    first = {"stage": "full", "config": config, "steps": 3, "step": 3, "seconds": 1.0, "examples": "abc", "pairs": 12}
    config = config | {"stage": 4, "matches": 2000, "most_nodes": 90, "weight_truth": 0.5}
    facts = first | {"stage": "full-4", "config": config, "start": first}
    save_checkpoint(path, {f"average/{name}": value for name, value in model.state_dict().items()}, facts)
    words = ["flow", "--checkpoint", str(path), "--sizes", "64x64", "--bits", "32"]
    assert main([*words, "--out", str(tmp_path / "full"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["export_encoder_64x64_pairs"] < 1e-4 and said["export_decoder_64x64_pairs"] < 1e-3
    provenance = open_bundle(tmp_path / "full").manifest.provenance
    stages = provenance["recipe"].split("; ")
    assert [stage.split("--stage ")[1][0] for stage in stages] == ["1", "4"] and provenance["steps"] == 6
    assert stages[1].endswith("--matches 2000 --most-nodes 90 --weight-truth 0.5")


def test_what_cannot_be_exported_is_told(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "flow")]
    assert main(["flow", "--checkpoint", str(trained), "--sizes", "100x64", *out]) == 2
    assert "multiples of 32" in capsys.readouterr().err
    assert main(["flow", "--checkpoint", str(trained), "--iterations", "0", *out]) == 2
    assert "at least 1" in capsys.readouterr().err
    assert main(["flow", "--checkpoint", str(tmp_path / "none.safetensors"), *out]) == 2
    assert "not a readable checkpoint" in capsys.readouterr().err


def test_the_curve_has_every_size_and_number_of_iterations(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    out = tmp_path / "curve.png"
    words = ["flow-curve", "--checkpoint", str(trained), "--out", str(out), "--pairs", "2", "--sizes", "64x64", "64x96"]
    assert main([*words, "--iterations", "1", "2", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [(p["size"], p["iterations"]) for p in points] == [
        ([w, h], n) for w, h in ((64, 64), (64, 96)) for n in (1, 2, 0)
    ]
    assert all(p["ms"] > 0 and p["visible_px"] > 0 and p["epe3d_mm"] > 0 for p in points)
    assert cv2.imread(str(out)).shape[0] > 300
    assert main([*words, "--iterations", "0"]) == 2
    assert main([*words[:-2], "50x64"]) == 2
    assert "multiples of 32" in capsys.readouterr().err


def test_channels_of_whole_blocks_change_no_answer() -> None:
    from bodystream_export.flow.aligned import BLOCK, aligned
    from bodystream_training.flow.model import LEVELS

    torch.manual_seed(0)
    plain = FullNet().eval()
    wide = aligned(plain).eval()
    convolutions = [m for d in wide.flow.decoders for m in d.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.in_channels % BLOCK == 0 for m in convolutions) and len(convolutions) == 6 * len(LEVELS)
    with torch.no_grad():
        first, second = (torch.rand(1, 6, 64, 128) for _ in range(2))
        answers = []
        for net in (plain, wide):
            found = net.flow(first[:, :3], second[:, :3])
            answers.append((found.flows_px[-1], net.weights(first, second, found.flows_px[-1], found.features)))
    for one, other in zip(*answers, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))
    assert plain.flow.decoders[0].layers[0][0].in_channels == 81, "the network itself stays as it was"
