"""Where the training of an avatar begins: the shape and the skinning that the take's own scans say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.ball_people import BALL_M, ball_take, ball_truth
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.avatar.take.canonical import BONE_PARENTS, BONES  # noqa: E402
from bodystream.avatar.take.files import save_take  # noqa: E402
from bodystream.errors import InputError  # noqa: E402
from bodystream_training.avatar.batches import AvatarExamples  # noqa: E402
from bodystream_training.avatar.beginning import FirstShape, first_shape, shape_terms  # noqa: E402
from bodystream_training.avatar.model import Ins, InsConfig  # noqa: E402
from bodystream_training.avatar.networks import load_network  # noqa: E402
from bodystream_training.avatar.tasks import AvatarTask, AvatarTrainConfig  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

_SMALL = InsConfig(couplings=1, occupancy_hidden=64, occupancy_layers=4, weight_hidden=32, weight_layers=2)


@pytest.fixture(scope="module")
def shape() -> FirstShape:
    return first_shape(ball_take(), 6000, 0)


def test_scans_say_what_is_inside_in_the_canonical_pose(shape: FirstShape) -> None:
    away = np.linalg.norm(shape.points[:, None] - ball_take().rest_joints_m, axis=-1)
    clear = np.abs(away.min(1) - BALL_M) > 0.006  # a ball of 80 faces is no sphere
    np.testing.assert_array_equal(shape.inside[clear], (away.min(1) < BALL_M)[clear])
    assert 0.05 < shape.inside.mean() < 0.95


def test_places_follow_the_bones_of_the_scans_beside_them(shape: FirstShape) -> None:
    np.testing.assert_allclose(shape.weights.sum(1), 1.0, atol=1e-5)
    away = np.linalg.norm(shape.points[:, None] - ball_take().rest_joints_m, axis=-1)
    first, second = np.sort(away, 1)[:, :2].T
    alone = (np.abs(first - BALL_M) < 0.01) & (second > first + 0.08)
    assert alone.sum() > 500
    np.testing.assert_allclose(shape.weights[alone, away[alone].argmin(1)], 1.0, atol=1e-5)


def test_what_most_scans_say_holds() -> None:
    take = ball_take()
    frames = list(take.frames)
    grown = ball_truth().canonical_vertices.reshape(len(BONES), -1, 3)
    grown = (grown - take.rest_joints_m[:, None]) * 1.5 + take.rest_joints_m[:, None]
    owner = np.repeat(np.arange(len(BONES)), grown.shape[1])
    bones = frames[0].posed_from_canonical[owner]
    places = np.einsum("vij,vj->vi", bones[:, :3, :3], grown.reshape(-1, 3)) + bones[:, :3, 3]
    frames[0] = replace(frames[0], vertices=places.astype(np.float32))
    shape = first_shape(replace(take, frames=tuple(frames)), 6000, 0)
    away = np.linalg.norm(shape.points[:, None] - take.rest_joints_m, axis=-1).min(1)
    between = (away > 1.1 * BALL_M) & (away < 1.35 * BALL_M)
    assert between.any()
    np.testing.assert_allclose(shape.inside[between], 1 / 3, atol=1e-6)  # one of the three that are trained on


def test_the_start_comes_near_the_shape_and_is_left_out_where_a_training_goes_on(shape: FirstShape) -> None:
    examples = AvatarExamples([], [], ball_take().rest_joints_m, BONE_PARENTS)
    config = AvatarTrainConfig(steps=1, start="scans", start_steps=120)
    torch.manual_seed(0)
    told: list[int] = []
    task = AvatarTask(config, _SMALL, examples, shape, on_start=told.append)
    assert told == list(range(1, 121))
    untold: list[int] = []
    fresh = AvatarTask(config, _SMALL, examples, begun=True, on_start=untold.append)
    assert untold == []
    known = [torch.from_numpy(x) for x in (shape.points, shape.inside, shape.weights)]
    with torch.no_grad():
        before, after = (shape_terms(_network(t), *known) for t in (fresh, task))
    for name in ("shape", "follows"):
        assert after[name] < 0.5 * before[name], name


def _network(task: AvatarTask) -> Ins:
    assert isinstance(task.model, Ins)
    return task.model


def _start_of(run: Path) -> object:
    config = load_network(run / "ins.safetensors")[1]["config"]
    assert isinstance(config, dict)
    return config["start"]


def _train(take: Path, out: Path, *more: str) -> int:
    small = ["--steps", "2", "--batch", "1", "--points", "40", "--samples", "200", "--threads", "1"]
    return main(["avatar", "--data", str(take), "--out", str(out), *small, *more])


def test_the_command_begins_with_scans_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream_training.avatar.command._PLACES", 500)
    save_take(tmp_path / "take", ball_take(), ball_truth())
    assert _train(tmp_path / "take", tmp_path / "run", "--start-steps", "2") == 0
    assert _start_of(tmp_path / "run") == "scans"
    assert _train(tmp_path / "take", tmp_path / "sticks", "--start-steps", "2", "--start", "sticks") == 0
    assert _start_of(tmp_path / "sticks") == "sticks"


def test_without_skinning_weights_it_begins_with_sticks_and_scans_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take = replace(ball_take(), skin_weights=None)
    with pytest.raises(InputError, match="skinning weights"):
        first_shape(take, 100, 0)
    save_take(tmp_path / "take", take, ball_truth())
    assert _train(tmp_path / "take", tmp_path / "run", "--start-steps", "1") == 0
    assert _start_of(tmp_path / "run") == "sticks"
    capsys.readouterr()
    assert _train(tmp_path / "take", tmp_path / "scans", "--start", "scans") != 0
    assert "skinning weights" in capsys.readouterr().err
    assert not (tmp_path / "scans" / "ins.safetensors").exists()
    assert json.loads((tmp_path / "run" / "ins.jsonl").read_text().splitlines()[-1])["step"] == 2
