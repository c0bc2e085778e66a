"""The README's commands on sample data run as they stand, on a machine that has nothing but the repository."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from helpers.command_line import run

ROOT = Path(__file__).resolve().parents[2]


def sample_commands() -> list[list[str]]:
    """Words of the block that makes the sample data and uses it."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if re.search(r"^bodystream samples", block, re.MULTILINE)]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [words for words in lines if words and words[0] == "bodystream"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody without any recordings typed the README's commands one after the other."""
    folder = tmp_path_factory.mktemp("newcomer")
    commands = sample_commands()
    assert commands[0] == ["bodystream", "samples"] and len(commands) >= 6
    for words in commands:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("BODYSTREAM_DATA", raising=False)
            done = run(*words[1:], cwd=folder)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-800:]}{done.stderr[-800:]}"
        assert "Traceback" not in done.stderr
        said = "_".join(Path(word).name for word in words[1:3])
        (folder / f"{said}.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.mark.timeout(600)
def test_files_are_there(folder: Path) -> None:
    for name in ("canonical.ply", "live.ply", "capture.glb", "driven.bvh", "driven.glb", "headset.csv"):
        assert (folder / "out" / name).stat().st_size > 1000
    for name in ("driven.bvh", "driven.glb", "driven.vrma"):
        assert (folder / "avatar" / name).stat().st_size > 1000


def test_the_capture_tracked_every_frame(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["frames"]["processed"] == 100
    assert report["quality"]["silhouette_iou_mean"] > 0.85


def test_the_pair_is_tracked_well(folder: Path) -> None:
    """The person moves by 4 cm on the mean; with the true flow, what is left is the solver's error."""
    found = re.search(r"EPE 3D\s+([0-9.]+) mm", (folder / "eval_tracking.txt").read_text())
    assert found and float(found.group(1)) < 2.0
