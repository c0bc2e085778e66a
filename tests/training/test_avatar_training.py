"""From a take to a trained avatar, its canonical surface, and how it is judged beside skinned scans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from helpers.ball_people import BALL_M, ball_take, ball_truth
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.avatar.heading import bones_in_heading  # noqa: E402
from bodystream.avatar.take.canonical import BONE_PARENTS, BONES  # noqa: E402
from bodystream.avatar.take.files import save_take  # noqa: E402
from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream_training.avatar.baselines import average_scan, first_scan  # noqa: E402
from bodystream_training.avatar.data.open_take import absolute, take_of_run  # noqa: E402
from bodystream_training.avatar.data.sampling import SamplingConfig  # noqa: E402
from bodystream_training.avatar.examples import examples_of, frames_of  # noqa: E402
from bodystream_training.avatar.extract import canonical_mesh  # noqa: E402
from bodystream_training.avatar.judge import (  # noqa: E402
    canonical_places,
    correspondence_errors_mm,
    overlap,
    scan_occupancy,
)
from bodystream_training.avatar.losses import stick_terms  # noqa: E402
from bodystream_training.avatar.model import Ins, InsConfig  # noqa: E402
from bodystream_training.avatar.networks import NETWORKS, load_network, trained  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

_POINTS = SamplingConfig(300, 300)


def test_points_are_seen_from_the_heading_with_the_bones() -> None:
    take = ball_take()
    frames = frames_of(take, "train", _POINTS, None)
    assert len(frames) == 3
    for frame, posed in zip(take.split("train"), frames, strict=True):
        bones, heading = bones_in_heading(frame.posed_from_canonical.astype(np.float64))
        np.testing.assert_allclose(posed.bones, bones, atol=1e-6)
        back = np.linalg.inv(heading)
        centres = frame.vertices.reshape(len(bones), -1, 3).mean(1) @ back[:3, :3].T + back[:3, 3]
        away = np.linalg.norm(posed.near[:, None] - centres, axis=-1).min(1)
        clear = np.abs(away - BALL_M) > 0.006  # a ball of 80 faces is no sphere
        np.testing.assert_array_equal(posed.near_inside[clear], (away < BALL_M)[clear])
        assert posed.near_inside.any() and not posed.near_inside.all() and len(posed.box) == 300


def test_a_split_without_frames_is_told() -> None:
    take = replace(ball_take(), motions={"train": ("walk",), "test": ()})
    with pytest.raises(InputError, match="no frames of the split 'test'"):
        frames_of(take, "test", _POINTS, None)
    assert not examples_of(take, _POINTS, None).validation


def test_scans_whose_weights_are_true_are_met_exactly() -> None:
    take = ball_take()
    posed = frames_of(take, "test", _POINTS, None)
    every = np.arange(len(ball_truth().outer))
    for scan in (average_scan(take), first_scan(take)):
        np.testing.assert_allclose(scan.vertices, ball_truth().canonical_vertices, atol=1e-5)
        score = overlap(scan_occupancy(scan), posed, 300)
        assert score.iou_surface > 0.98 and score.iou_bbox > 0.98
        assert correspondence_errors_mm(scan.posed, take.split("test"), every).max() < 0.01
        shifted = correspondence_errors_mm(lambda bones, s=scan: s.posed(bones) + (0.0, 0.0, 0.003), take.frames, every)
        np.testing.assert_allclose(shifted, 3.0, atol=0.01)


def test_scans_need_weights_and_shared_vertices() -> None:
    for missing in ({"skin_weights": None}, {"faces": None}):
        with pytest.raises(InputError, match="skinning weights"):
            average_scan(replace(ball_take(), **missing))


def test_sticks_teach_which_bone_is_where() -> None:
    torch.manual_seed(0)
    model = Ins(InsConfig(occupancy_hidden=64, occupancy_layers=4, weight_hidden=32, weight_layers=2))
    take = ball_take()
    joints, parents = torch.from_numpy(take.rest_joints_m), list(BONE_PARENTS)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(50):
        loss = torch.stack(list(stick_terms(model, joints, parents, 200, generator).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model.weights is not None
    with torch.no_grad():
        thigh = (joints[BONES.index("left_hip")] + joints[BONES.index("left_knee")]) / 2
        weights = model.weights(thigh[None])[0]
        assert BONES[int(weights.argmax())] == "left_hip"
        assert float(model.occupied(thigh[None], torch.zeros(1, 120))) > 0
        assert float(model.occupied(torch.tensor([[0.0, 1.0, 0.3]]), torch.zeros(1, 120))) < 0


class _Balls(Ins):
    """A network whose shape is known."""

    def __init__(self, radius_m: float, speck_m: float = 0.0) -> None:
        super().__init__(InsConfig(couplings=1, occupancy_hidden=8, occupancy_layers=2))
        self.radius_m, self.speck_m = radius_m, speck_m

    def occupied(self, points, e_pose):  # noqa: ANN001, ANN201
        body = self.radius_m - points.norm(dim=-1)
        return torch.maximum(body, self.speck_m - (points - 0.6).norm(dim=-1))


def test_the_surface_is_found_once_without_specks_and_faces_outwards() -> None:
    joints = np.array([[-0.4, -0.4, -0.4], [0.5, 0.5, 0.5]], np.float32)
    mesh = canonical_mesh(_Balls(0.5, 0.03), joints, 0.02)
    found = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert found.is_watertight and found.body_count == 1
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=2e-4)
    assert found.volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.01)


class _Armed(_Balls):
    """A ball with a thin arm, which no coarse node lies in."""

    def occupied(self, points, e_pose):  # noqa: ANN001, ANN201
        along = (points[:, 0] - 0.35).clamp(0.0, 0.45)
        arm = 0.013 - (points - torch.stack([0.35 + along, 0 * along + 0.05, 0 * along + 0.05], -1)).norm(dim=-1)
        return torch.maximum(super().occupied(points, e_pose), arm)


def test_thin_parts_are_followed_to_their_ends() -> None:
    joints = np.array([[-0.4, -0.4, -0.4], [0.5, 0.5, 0.5]], np.float32)
    mesh = canonical_mesh(_Armed(0.4, -1.0), joints, 0.015)
    assert mesh.vertices[:, 0].max() == pytest.approx(0.813, abs=0.005)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


class _Steeper(_Balls):
    """Balls whose logit falls five times as steeply outside as inside."""

    def occupied(self, points, e_pose):  # noqa: ANN001, ANN201
        logit = super().occupied(points, e_pose)
        return torch.where(logit > 0, logit, 5.0 * logit)


def test_vertices_lie_on_the_surface_however_the_logit_bends_there() -> None:
    joints = np.array([[-0.4, -0.4, -0.4], [0.5, 0.5, 0.5]], np.float32)
    mesh = canonical_mesh(_Steeper(0.493, -1.0), joints, 0.02)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.493, atol=1e-5)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


def test_a_shape_without_inside_is_refused() -> None:
    with pytest.raises(InputError, match="canonical shape is empty"):
        canonical_mesh(_Balls(-1.0, -1.0), np.zeros((1, 3), np.float32), 0.02)


def test_points_without_a_canonical_place_are_nan() -> None:
    torch.manual_seed(0)
    model = Ins(InsConfig(couplings=1, occupancy_hidden=8, occupancy_layers=2)).eval()
    bones = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    found = canonical_places(model, np.array([[0.1, 0.0, 0.0], [np.nan, 0, 0]], np.float32), bones)
    np.testing.assert_allclose(found[0], (0.1, 0.0, 0.0), atol=1e-5)
    assert np.isnan(found[1]).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A take, and the folder of a short training on it."""
    folder = tmp_path_factory.mktemp("avatar")
    save_take(folder / "take", ball_take(), ball_truth())
    settings = ["--steps", "4", "--batch", "2", "--points", "80", "--samples", "400", "--threads", "1"]
    settings += ["--start", "sticks", "--start-steps", "3"]
    for name in ("ins", "snarf"):
        arguments = ["avatar", "--data", str(folder / "take"), "--out", str(folder / "run"), "--net", name, *settings]
        assert main(arguments) == 0
    return folder / "take", folder / "run"


def test_a_training_leaves_a_network_and_what_it_is_worth(run: tuple[Path, Path]) -> None:
    assert trained(run[1]) == ["ins", "snarf"]
    model, facts = load_network(run[1] / "ins.safetensors")
    assert facts["step"] == facts["steps"] == 4 and model.config == InsConfig()
    assert load_network(run[1] / "snarf.safetensors")[0].config.posed_occupancy
    last = json.loads((run[1] / "ins.jsonl").read_text().splitlines()[-1])
    assert 0.0 <= last["iou_surface"] <= 1.0 and 0.0 <= last["iou_bbox"] <= 1.0


def test_the_evaluation_prints_every_row(run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "avatar", str(run[1]), "--points", "300", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["rows"]) == ["ins", "snarf", "avg-lbs", "first-lbs"] and said["frames"] == 2
    assert said["model"] == said["rows"]["ins"]
    for name, row in said["rows"].items():
        assert ("correspondence_error_mm" in row) == (name != "snarf"), name
    assert said["rows"]["avg-lbs"]["iou_surface"] > 0.98
    assert said["rows"]["avg-lbs"]["correspondence_error_mm"] < 0.01


def test_a_run_says_what_it_was_trained_on(run: tuple[Path, Path], tmp_path: Path) -> None:
    take, folder = run
    facts = load_network(folder / "ins.safetensors")[1]
    assert take_of_run(None, facts, folder) == str(take.resolve())
    assert take_of_run("another", facts, folder) == "another"
    with pytest.raises(ConfigurationError, match=r"is not there any more: give it with --data"):
        take_of_run(None, {"data": f"cape:{tmp_path / 'gone'}?subject=1"}, folder)
    with pytest.raises(ConfigurationError, match=r"does not say what it was trained on.*--data"):
        take_of_run(None, {}, folder)


def test_what_a_run_says_holds_in_every_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("takes/1") == str(tmp_path / "takes/1")
    assert absolute("captured:me.npz") == f"captured:{tmp_path / 'me.npz'}"
    given = "dfaust:a b.hdf5?subject=50004&amass=poses&model=SMPLH.npz&test=one,two"
    wanted = f"subject=50004&amass={tmp_path}/poses&model={tmp_path}/SMPLH.npz&test=one,two"
    assert absolute(given) == f"dfaust:{tmp_path / 'a b.hdf5'}?{wanted}"
    assert absolute(absolute(given)) == absolute(given)


def test_a_folder_without_networks_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained avatar"):
        trained(tmp_path)


def test_every_network_has_a_row() -> None:
    assert list(NETWORKS)[0] == "ins" and len(NETWORKS) == 9
