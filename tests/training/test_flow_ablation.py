"""`bodystream-train flow-ablation`: every row has the same budget, all are trained, judged and shown."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from helpers.needs import needs

needs("torch", "pip install 'bodystream[train]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")
needs("matplotlib", "pip install 'bodystream[train]'")

from bodystream_training.cli import main  # noqa: E402
from bodystream_training.flow.ablation import ROWS, AblationConfig, summary, trainings  # noqa: E402
from bodystream_training.flow.stages import STAGES  # noqa: E402


def test_rows_have_equal_budgets_and_begin_from_what_was_trained_before(tmp_path: Path) -> None:
    config = AblationConfig(begin_steps=100, row_steps=40)
    made: set[Path] = set()
    spent: dict[tuple[int, int], int] = {}
    for training in trainings(tmp_path, config, 2):
        assert training.start is None or training.start in made
        assert training.path not in made
        made.add(training.path)
        if training.row is None:
            assert training.config.steps == 100 and not STAGES[training.config.stage].direct
        else:
            key = training.seed, training.row
            spent[key] = spent.get(key, 0) + training.config.steps
    assert set(spent.values()) == {40} and len(spent) == 2 * len(ROWS)
    supervised = [any(phase.weight_truth > 0 for phase in row.phases) for row in ROWS]
    assert supervised == ["supervised" in row.name for row in ROWS]
    for row in ROWS:
        last = STAGES[row.phases[-1].stage]
        assert last.weighted == ("weights" in row.name)
    assert [row.epe3d_mm for row in ROWS] == sorted((row.epe3d_mm for row in ROWS), reverse=True)


def test_the_summary_is_of_the_seeds() -> None:
    found = [
        (0, {"epe_epe3d_mm": 10.0, "epe_graph_error_mm": 1.0}), (0, {"epe_epe3d_mm": 14.0, "epe_graph_error_mm": 1.0}),
        (5, {"epe_epe3d_mm": 3.0, "epe_graph_error_mm": 2.0}),
    ]  # fmt: skip
    first, last = summary(found)
    assert (first.epe3d_mm, first.epe3d_std_mm, first.seeds) == (12.0, pytest.approx(8**0.5), 2)
    assert (last.name, last.epe3d_mm, last.epe3d_std_mm, last.seeds) == (ROWS[5].name, 3.0, 0.0, 1)


def test_the_command_trains_judges_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flow-ablation", "--out", str(tmp_path), "--seeds", "1", "--size", "64x64", "--pairs", "4"]
    words += ["--validation-pairs", "2", "--begin-steps", "2", "--row-steps", "4", "--batch", "2", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["rows"]] == [row.name for row in ROWS]
    assert all(row["epe3d_mm"] > 0 and row["epe3d_std_mm"] == 0 for row in said["rows"])
    assert said["guess_epe3d_mm"] > 0
    assert json.loads((tmp_path / "table.json").read_text()) == said
    assert cv2.imread(str(tmp_path / "table.png")).shape[0] > 300
    assert (tmp_path / "seed-0" / "row-6.safetensors").is_file()
    assert main([*words, "--row-steps", "8"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--size", "50x64"], ["--seeds", "0"], ["--row-steps", "2"]])
def test_options_out_of_range_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow-ablation", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err
