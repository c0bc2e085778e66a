"""`bodystream repose` with somebody in clothes: the baked file beside what was posed, and the command's word for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import khronos_issues, needs

needs("torch", "pip install 'bodystream[train]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream.avatar import open_avatar  # noqa: E402
from bodystream.cli.main import main  # noqa: E402
from bodystream.sinks.reports.repose import read_repose_report  # noqa: E402
from bodystream.sources.motion import read_motion  # noqa: E402
from helpers.clothed_bundles import FINE, prepared_balls, write_balls  # noqa: E402
from helpers.gltf_player import Player  # noqa: E402
from helpers.headset_motions import walking  # noqa: E402
from helpers.headset_takes import write_bvh  # noqa: E402


def test_a_clothed_avatar_becomes_an_animated_file_with_a_stated_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = write_balls(tmp_path / "me", prepared_balls(), FINE)
    write_bvh(tmp_path / "walk.bvh", walking(0.5), 60.0)
    assert main(["repose", "me", "--motion", "walk.bvh", "--out", "walk.glb", "--report", "r.json"]) == 0
    report = read_repose_report(tmp_path / "r.json")
    (file,) = report.written
    assert file.holds == "morphs" and file.frames == 30 and file.error_frames == 30
    assert set(report.posed_by) <= {"tables", "network"} and report.frames.posed == 60
    assert file.error_mean_mm is not None and file.error_max_mm is not None and file.morphs is not None
    assert 0.0 < file.error_mean_mm < 0.3 and file.error_max_mm < 3.0
    clip = read_motion(tmp_path / "walk.bvh")
    avatar, player = open_avatar(bundle.place, clip.skeleton), Player(tmp_path / "walk.glb")
    worst = 0.0
    for frame in range(0, 30, 5):
        wanted = avatar.pose(clip.rotations_xyzw[frame], clip.root_positions_m[frame]).vertices
        shown = player.visible(frame / clip.rate_hz).vertices * (-1.0, 1.0, -1.0)
        worst = max(worst, float(1e3 * np.linalg.norm(shown - wanted, axis=1).max()))
    assert worst <= file.error_max_mm + 0.02
    issues = json.loads(khronos_issues(tmp_path / "walk.glb"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]
    said = capsys.readouterr().err
    assert f"{file.morphs} shapes, off by {file.error_mean_mm:.3g} mm on average" in said
    # Arms that hang are far from those of the training, which are level.
    assert report.far.frames == 30 and {"left_shoulder", "right_shoulder"} <= set(report.far.joints)
    assert said.count("such poses are counted in the report") == 1
    assert "30 of 30 poses are far from what the avatar was learned from" in said
