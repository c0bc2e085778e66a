"""`eval tracking` over several pairs: a folder of them, and a data set with labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.cli import main as cli
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.evaluation.deepdeform_labels import find_pairs
from bodystream.evaluation.flow import PairEstimators
from bodystream.evaluation.split import track_pairs
from bodystream.pipelines.samples import SampleSizes, write_samples


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated pair of `bodystream samples`."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder / "samples", select_device("cpu"), sizes=SampleSizes(frames=2, seconds=1.0))
    return folder / "samples" / "pair"


@pytest.fixture
def data(pair: Path, tmp_path: Path) -> Path:
    """A data set of two sequences, the second of which has nothing to track in its mask."""
    labels = []
    for name in ("seq001", "seq002"):
        shutil.copytree(pair, tmp_path / "val" / name)
        labels.append({"seq_id": name, "object_id": "body", "source_id": "000075", "target_id": "000090", "more": 1})
    mask = next((tmp_path / "val" / "seq002" / "mask").iterdir())
    image = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    image[...] = 0
    image[5:9, 5:9] = 255
    cv2.imwrite(str(mask), image)
    (tmp_path / "val_dense.json").write_text(json.dumps(labels))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict, str]:
    assert cli.main(["eval", "tracking", *words, "--device", "cpu", "--json"]) == 0
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_one_pair_has_a_graph_error(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, _ = told(capsys, str(pair), "--flow", "ground-truth")
    assert 0 < figures["graph_error_mm"] < 6.0 and figures["epe3d_mm"] < 2.0 < figures["no_motion_mm"]


def test_a_split_has_the_means_of_its_pairs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone, _ = told(capsys, str(data / "val" / "seq001"), "--flow", "ground-truth")
    figures, said = told(capsys, str(data), "--flow", "ground-truth")
    assert figures["pairs"] == 1 and list(figures["per_pair"]) == ["seq001/body_000075_000090"]
    assert list(figures["skipped"]) == ["seq002/body_000075_000090"] and "left out: seq002" in said
    shutil.rmtree(data / "val" / "seq002")
    shutil.copytree(data / "val" / "seq001", data / "val" / "seq002")
    still = next((data / "val" / "seq002" / "scene_flow").iterdir())
    values = np.fromfile(still, "<f4")
    values[3:] *= np.float32(2.0)  # behind the header's three numbers
    values.tofile(still)
    figures, _ = told(capsys, str(data), "--flow", "ground-truth")
    first, second = figures["per_pair"].values()
    assert figures["pairs"] == 2 and figures["skipped"] == {}
    assert second["epe3d_mm"] > 10 * first["epe3d_mm"]
    for key in ("epe3d_mm", "graph_error_mm", "no_motion_mm", "epe2d_px"):
        assert first[key] == pytest.approx(alone[key], rel=1e-5)
        assert figures[key] == pytest.approx((first[key] + second[key]) / 2)


def test_a_folder_of_several_pairs_is_tracked_whole(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data / "val" / "seq001"
    for kind in ("optical_flow", "scene_flow"):
        file = next((folder / kind).iterdir())
        shutil.copy(file, file.with_name(file.name.replace("body", "again")))
    assert cli.main(["eval", "tracking", str(folder), "--flow", "ground-truth", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "2 pairs" in shown and "graph error" in shown and "worst" in shown


def test_it_ends_early_with_the_pairs_there_are(data: Path) -> None:
    places = find_pairs(data)
    assert track_pairs(places, "ground-truth", select_device("cpu"), stopped=lambda: True) == []
    assert len(track_pairs(places[:1] * 2, "ground-truth", select_device("cpu"))) == 2


def test_what_cannot_be_tracked_or_read_is_said(data: Path, tmp_path: Path) -> None:
    places = find_pairs(data)
    with pytest.raises(InputError, match="none of the 2 pairs could be tracked; the first: .*no connected surface"):
        track_pairs([places[1], places[1]], "ground-truth", select_device("cpu"))
    with pytest.raises(InputError, match="no connected surface"):
        track_pairs([places[1]], "ground-truth", select_device("cpu"))
    with pytest.raises(InputError, match="is not a folder"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no train_dense.json; its splits are: val"):
        find_pairs(data, "train")
    labels = data / "val_dense.json"
    for content, said in (
        ("[]", "lists no pair"),
        ("[{}]", "not as DeepDeform writes it"),
        ('[{"seq_id": "..", "object_id": "a", "source_id": "0", "target_id": "1"}]', "named by their folder"),
        ('[{"seq_id": "a", "object_id": "a", "source_id": "x", "target_id": "1"}]', "named by their number"),
    ):
        labels.write_text(content)
        with pytest.raises(InputError, match=said):
            find_pairs(data)


def test_the_truth_is_taken_where_it_is_known() -> None:
    with pytest.raises(InputError, match="ground-truth needs the true flow"):
        PairEstimators("ground-truth").of(None)
