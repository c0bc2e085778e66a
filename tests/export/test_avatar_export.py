"""The command that makes an avatar's bundle of a training run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream.avatar import open_avatar  # noqa: E402
from bodystream.avatar.take.files import save_take  # noqa: E402
from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream_export.avatar.command import ExportAvatar  # noqa: E402
from bodystream_export.avatar.convert import Fineness  # noqa: E402
from bodystream_export.cli import main  # noqa: E402
from bodystream_training.cli import main as train  # noqa: E402
from helpers.ball_people import ball_take, ball_truth  # noqa: E402


def test_a_run_becomes_an_avatar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bodystream_export.avatar.command._RUNS", 2)
    monkeypatch.setattr("bodystream_export.avatar.convert._HELD", 2)
    save_take(tmp_path / "take", ball_take(), ball_truth())
    run, take = str(tmp_path / "run"), str(tmp_path / "take")
    settings = ["--steps", "2", "--batch", "1", "--points", "40", "--samples", "200", "--threads", "1"]
    assert train(["avatar", "--data", take, "--out", run, *settings, "--start", "sticks", "--start-steps", "60"]) == 0
    out = tmp_path / "avatars" / "me"
    capsys.readouterr()
    arguments = ["avatar", "--checkpoint", run, "--out", str(out), "--spacing-m", "0.06", "--json"]
    (tmp_path / "eval.json").write_text('{"split": "test", "model": {"iou_surface": 0.5, "steps": 2}}')
    arguments += ["--credit", "Thanks to the balls.", "--metrics", str(tmp_path / "eval.json")]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["network_error_max_mm"] <= 0.05
    assert said["table_error_mean_mm"] <= 0.08 and said["table_error_max_mm"] <= 0.4
    avatar = open_avatar(out)
    mesh = avatar.pose(np.tile((0.0, 0.0, 0.0, 1.0), (22, 1)), np.zeros(3))
    assert len(mesh.vertices) == said["vertices"] > 100
    assert mesh.colours is not None and (mesh.colours == 90).all()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["metrics"]["table_error_max_mm"] == said["table_error_max_mm"]
    assert manifest["metrics"]["iou_surface"] == 0.5
    take_facts = {"subject": "1", "outfit": "balls", "origin": "", "credit": "Thanks to the balls."}
    assert manifest["provenance"]["take"] == take_facts
    assert all(graph["providers"] for graph in manifest["graphs"].values())
    assert said["posed_by"] == "tables" and avatar.posing.method == "tables"

    # Where no tables come near enough, the network poses it, and that is said.
    monkeypatch.setattr("bodystream_export.avatar.convert.FINENESSES", (Fineness(0.1, 0.2, 0.2, 20, 4),))
    monkeypatch.setattr("bodystream_export.avatar.command._MEAN_MM", 0.0)
    coarse = tmp_path / "avatars" / "coarse"
    arguments[arguments.index(str(out))] = str(coarse)
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["posed_by"] == "network" and "posed by the network" in told.err
    slow = open_avatar(coarse)
    slow.pose(np.tile((0.0, 0.0, 0.0, 1.0), (22, 1)), np.zeros(3))
    assert slow.posing.method == "network" and "too far" in slow.posing.reason


def test_metrics_that_no_evaluation_printed_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text("{}")
    with pytest.raises(InputError, match="not what an evaluation"):
        ExportAvatar(checkpoint=tmp_path, data="take", out=tmp_path / "me", metrics=tmp_path / "eval.json").run()


def test_a_spacing_that_no_surface_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--spacing-m must be"):
        ExportAvatar(checkpoint=tmp_path, data="take", out=tmp_path / "me", spacing_m=1.0).run()
