"""The capture benchmark: its takes, its figures against closed forms, its pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.cli.main import main
from bodystream.errors import ConfigurationError, InputError
from bodystream.evaluation.capture import pieces as pieces_file
from bodystream.evaluation.capture.pictures import Pictures, WorstFrame
from bodystream.evaluation.capture.pieces import load_pieces, write_pieces
from bodystream.evaluation.capture.runner import run_take
from bodystream.evaluation.capture.scoring import FrameScore, FrameScorer, TakeScore, overall, surface_figures
from bodystream.evaluation.capture.table import as_json
from bodystream.evaluation.capture.takes import LONG, TAKES, Take, choose_takes
from bodystream.types import Mesh, RgbdFrame

DEVICE = wp.get_device("cpu")
SIZE = (160, 120)


def frame_of(take: Take) -> RgbdFrame:
    return take.source(1, DEVICE, size=SIZE).render(0, 0)


@pytest.fixture(scope="module")
def frame() -> RgbdFrame:
    return frame_of(TAKES[0])


def score(frame: RgbdFrame, mesh: Mesh | None, status: str = "tracked") -> FrameScore:
    assert frame.truth is not None
    return FrameScorer(frame.intrinsics, DEVICE).score(0, status, mesh, frame.truth)


def truth_of(frame: RgbdFrame) -> Mesh:
    assert frame.truth is not None
    return frame.truth.mesh


def test_a_third_is_held_out_and_shares_neither_motion_nor_build() -> None:
    held, tuning = choose_takes(["held-out"]), choose_takes(["tuning"])
    assert len(TAKES) == len({take.name for take in TAKES}) == len(held) + len(tuning)
    assert 3 * len(held) >= len(TAKES) - 1
    assert not {take.person for take in held} & {take.person for take in tuning}
    assert all(take.name in load_pieces() for take in TAKES)
    assert set(LONG.pieces) == {take.name for take in tuning}


def test_takes_are_chosen_by_name_and_group() -> None:
    assert [take.name for take in choose_takes(["clap", "cross", "clap"])] == ["clap", "cross"]
    assert choose_takes(["all"]) == TAKES and choose_takes(["long"]) == (LONG,)
    with pytest.raises(ConfigurationError, match="no take 'slap': choose of all, tuning"):
        choose_takes(["slap"])
    with pytest.raises(ConfigurationError, match="no take was named"):
        choose_takes([])


def test_motions_are_small_and_kept_to_a_fraction_of_a_millimetre(tmp_path: Path) -> None:
    shipped = files("bodystream.evaluation.capture") / "motions.npz"
    assert len(shipped.read_bytes()) < 200_000
    known = load_pieces()
    turned = {name: clip.moved(3.0, np.array([4.0, 0.0, -2.0])) for name, clip in known.items()}
    write_pieces(tmp_path / "motions.npz", turned)
    loaded = pieces_file._pieces((tmp_path / "motions.npz").read_bytes())
    assert list(loaded) == list(known)
    for name, clip in turned.items():
        a, b = (Rotation.from_quat(c.rotations_xyzw.reshape(-1, 4).astype(np.float64)) for c in (clip, loaded[name]))
        assert (a.inv() * b).magnitude().max() < 5e-4
        np.testing.assert_allclose(loaded[name].joints()[0][:, 0, 1], clip.joints()[0][:, 0, 1], atol=2e-4)


def test_motions_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "motions.npz"
    np.savez(path, **{"a.steps": np.zeros((4, 7), np.int16), "a.offsets_m": np.zeros((22, 3), np.float32)})
    with pytest.raises(InputError, match="the motion a has not the shape of a motion"):
        pieces_file._pieces(path.read_bytes())


def test_takes_show_the_whole_person_and_the_long_one_goes_on() -> None:
    for take in (*TAKES, LONG):
        truth = frame_of(take).truth
        assert truth is not None
        assert truth.mask.sum() > 600, take.name
        assert not truth.mask[[0, -1]].any() and not truth.mask[:, [0, -1]].any(), take.name
    late = LONG.source(1, DEVICE, size=SIZE).render(2999, 0)
    assert late.truth is not None and late.truth.mask.sum() > 600


def test_the_truth_itself_has_no_error(frame: RgbdFrame) -> None:
    exact = score(frame, truth_of(frame))
    assert exact.mean_m < 1e-6 and exact.off_50mm_share == 0.0 and exact.seen_missing_share == 0.0
    assert not exact.wrong and not exact.told


def test_errors_are_distances_to_the_true_surface(frame: RgbdFrame) -> None:
    mesh = truth_of(frame)
    assert mesh.normals is not None
    head = mesh.vertices[:, 1] < mesh.vertices[:, 1].min() + 0.12  # round, so that outwards is away
    vertices = mesh.vertices.copy()
    vertices[head] += 0.06 * mesh.normals[head]
    moved = score(frame, replace(mesh, vertices=vertices))
    share = head.mean()
    assert moved.off_50mm_share == pytest.approx(share, rel=0.25)
    assert moved.mean_m == pytest.approx(0.06 * share, rel=0.1)
    assert moved.wrong == (moved.off_30mm_share > 0.02) and moved.wrong


def test_deleted_surface_is_missed(frame: RgbdFrame) -> None:
    mesh = truth_of(frame)
    assert frame.truth is not None
    middle = float(np.median(mesh.vertices[:, 1]))
    kept = mesh.faces[(mesh.vertices[mesh.faces, 1] < middle).all(axis=1)]
    half = score(frame, replace(mesh, faces=kept))
    rows = np.arange(frame.intrinsics.height)[:, None]
    y = (rows - frame.intrinsics.cy) / frame.intrinsics.fy * frame.truth.depth_m
    below = (y > middle + 0.02)[frame.truth.mask].mean()
    assert half.mean_m < 1e-6 and half.seen_missing_share == pytest.approx(below, abs=0.05)


def test_a_frame_without_a_model_is_wrong_told_and_missing(frame: RgbdFrame) -> None:
    for mesh in (None, Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))):
        none = score(frame, mesh, "lost")
        assert none.vertices == 0 and none.wrong and none.told and none.seen_missing_share == 1.0


def made_up(index: int, status: str, mean_m: float, wrong_share: float, vertices: int = 100) -> FrameScore:
    return FrameScore(index, status, vertices, mean_m, 2.0 * mean_m, 0.5 * wrong_share, wrong_share, 0.1)


def test_figures_of_takes_are_pooled_over_their_frames() -> None:
    nan = float("nan")
    one = TakeScore("one", False, [made_up(0, "tracked", 0.002, 0.0), made_up(1, "degraded", 0.010, 0.1)])
    two = TakeScore(
        "two", True,
        [made_up(0, "tracked", 0.006, 0.03), made_up(1, "lost", nan, nan, 0), made_up(2, "degraded", 0.002, 0.0)],
        restarts=2, step_s=2.5, surface=surface_figures(None),
    )  # fmt: skip
    figures = overall([one, two])
    assert figures.frames == 5 and figures.fps == pytest.approx(2.0) and figures.restarts == 2
    assert figures.surface_error_mean_mm == pytest.approx(5.0)
    assert figures.surface_error_p95_mm == pytest.approx(10.0)
    assert figures.worst_surface_error_mean_mm == pytest.approx(10.0)
    assert figures.off_50mm_share == pytest.approx((0.05 + 0.015) / 4)
    assert (figures.wrong_frames, figures.told_frames, figures.no_model_frames, figures.lost_frames) == (3, 3, 1, 1)
    assert figures.wrong_recall == pytest.approx(2 / 3) and figures.wrong_precision == pytest.approx(2 / 3)
    assert two.no_model() == [1] and two.worst is two.frames[0]
    out = json.loads(json.dumps(as_json([one, two])))
    assert set(out) == {"takes", "overall", "tuning", "held_out"}
    wanted = {"surface_error_mean_mm", "surface_error_p95_mm", "off_50mm_share", "restarts", "wrong_recall"}
    assert wanted | {"wrong_precision", "seen_missing_share", "lost_frames"} <= set(out["takes"]["two"])
    assert out["takes"]["two"]["no_model_at"] == [1] and out["takes"]["two"]["held_out"]
    assert overall([TakeScore("good", False, [made_up(0, "tracked", 0.001, 0.0)])]).wrong_recall is None
    with pytest.raises(InputError, match="no frame was captured"):
        overall([])


def test_canonical_figures_see_pieces_and_long_edges() -> None:
    corners = np.array([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]], np.float32)
    far = corners * (1.0, 7.0, 1.0) + (1.0, 0.0, 0.0)
    mesh = Mesh(np.concatenate([corners, corners + (0, 0.01, 0), far]).astype(np.float32),
                np.array([[0, 1, 2], [1, 3, 2], [3, 4, 5], [6, 7, 8]], np.int32))  # fmt: skip
    figures = surface_figures(mesh)
    assert figures.largest_component_share == pytest.approx(6 / 9)
    assert figures.longest_edge_m == pytest.approx(np.hypot(0.01, 0.07), rel=1e-5)


def test_a_take_is_run_scored_and_ended_early() -> None:
    seen: list[int] = []
    take = choose_takes(["hips"])[0]
    result = run_take(
        take, 5, DEVICE,
        on_frame=lambda frame, mesh, measured: seen.append(measured.index),
        stopped=lambda: len(seen) == 3,
    )  # fmt: skip
    assert seen == [0, 1, 2] and len(result.frames) == 3
    figures = result.figures()
    assert figures.surface_error_mean_mm is not None and figures.surface_error_mean_mm < 12.0
    assert figures.seen_missing_share is not None and figures.seen_missing_share < 0.3
    assert figures.restarts == 0 and figures.fps > 0.0 and figures.largest_component_share is not None


def test_the_worst_frame_is_drawn_with_its_error_in_red(frame: RgbdFrame, tmp_path: Path) -> None:
    mesh = truth_of(frame)
    worst = WorstFrame()
    worst.look(frame, None, score(frame, None))
    assert worst.frame is None, "nothing to draw"
    moved = replace(mesh, vertices=mesh.vertices + np.float32([0, 0, -0.2]))
    worst.look(frame, mesh, score(frame, mesh))
    worst.look(frame, moved, score(frame, moved))
    worst.look(frame, mesh, score(frame, mesh))
    assert worst.mesh is moved
    pictures = Pictures(tmp_path / "pictures", DEVICE)
    assert pictures.finish() is None and pictures.add("none", WorstFrame()) is None
    path, sheet = pictures.add("off", worst), pictures.finish()
    assert path == tmp_path / "pictures" / "off.png" and sheet is not None
    exact = WorstFrame()
    exact.look(frame, mesh, score(frame, mesh))
    right = pictures.add("right", exact)
    assert right is not None

    def red_and_blue(path: Path) -> tuple[int, int]:
        image = cv2.imread(str(path)).astype(int)
        panel = image[:, 2 * (image.shape[1] - 56) // 3 : -56]
        return int((panel[..., 2] > panel[..., 0] + 40).sum()), int((panel[..., 0] > panel[..., 2] + 8).sum())

    assert red_and_blue(path)[0] > 300 and red_and_blue(right)[0] < 30


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "capture", "--takes", "hips", "--frames", "2", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert set(out) == {"takes", "overall", "flow"} and out["flow"] == "dis" and out["overall"]["frames"] == 2
    assert out["takes"]["hips"]["held_out"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--takes", "nobody"], "no take 'nobody'"),
        (["--takes", ","], "no take was named"),
        (["--frames", "0"], "--frames must be at least 1"),
        (["--speed", "9"], "--speed must be 0.2 to 4"),
    ],
)
def test_options_that_cannot_be_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "capture", *words]) == 2
    assert message in capsys.readouterr().err
