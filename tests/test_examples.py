"""The examples run as they stand, import nothing but what is promised, and each is short."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bodystream
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NAMES = {
    "push_frames", "drive_table", "open_bundle", "read_motion", "own_source", "own_sink", "own_stage", "own_command"
}  # fmt: skip


def run(name: str, *words: str, cwd: Path) -> str:
    """What an example prints, in a process of its own, without a display."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "BODYSTREAM_DATA")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *words],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT / "runtime")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    # Warp tells on stdout which kernels it loads.
    return "".join(line for line in done.stdout.splitlines(True) if not line.startswith(("Warp ", "Module ", "   ")))


def test_each_is_here_and_in_the_list() -> None:
    assert {path.stem for path in EXAMPLES} == NAMES
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert all(f"`{name}.py" in listed and f"{name}.py" in page for name in NAMES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_is_short_and_imports_what_is_promised(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    allowed = {*sys.stdlib_module_names, "numpy", "tyro", "warp"}
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.module != "bodystream":
            assert (node.module or "").partition(".")[0] in allowed
        elif isinstance(node, ast.ImportFrom):
            assert {alias.name for alias in node.names} <= set(bodystream.__all__)


def test_push_frames(tmp_path: Path) -> None:
    said = run("push_frames", "--frames", "6", cwd=tmp_path).splitlines()
    assert [line.partition(":")[0] for line in said[:6]] == list("012345")
    assert all(" tracked " in f"{line} " for line in said[1:6]) and "surface of" in said[6]
    assert int(said[7].split()[0]) > 50  # nodes of the graph


def test_drive_table(tmp_path: Path) -> None:
    said = run("drive_table", cwd=tmp_path).splitlines()
    assert any(line.startswith("pelvis at [") for line in said)
    assert int(said[-1].split()[0]) > 20 and "22 joints" in said[-1]


def test_open_bundle(tmp_path: Path) -> None:
    said = run("open_bundle", cwd=tmp_path)
    assert "person 1: a skinned-body, CC0-1.0" in said and "rig.npz:" in said and "pose 3: a pose-sampler" in said
    assert "and one that is not there says: " in said and "stands on 22 joints" in said


def test_read_motion(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(2.0))
    said = run("read_motion", "walk.bvh", cwd=tmp_path)
    assert said.splitlines()[-5].split()[0] == "head" and " m high, up to " in said
    (tmp_path / "bad.bvh").write_text("no motion")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    words = [sys.executable, str(ROOT / "examples" / "read_motion.py"), "bad.bvh"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "bad.bvh" in done.stderr


def test_own_source(tmp_path: Path) -> None:
    said = run("own_source", "--frames", "5", cwd=tmp_path)
    assert said.startswith("barrel:1: 5 frames") and "'tracked': 5" in said


def test_own_sink(tmp_path: Path) -> None:
    said = run("own_sink", "--frames", "5", "--out", "status.csv", cwd=tmp_path)
    assert said.splitlines() == ["wrote status.csv"]
    with (tmp_path / "status.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 and {row["status"] for row in rows} == {"tracked"} and int(rows[-1]["nodes"]) > 50


def test_own_stage(tmp_path: Path) -> None:
    held = [int(line.split()[0]) for line in run("own_stage", cwd=tmp_path).splitlines()]
    assert len(held) == 6 and held[0] == 0 and min(held[1:]) > 0


def test_own_command(tmp_path: Path) -> None:
    run("own_command", "--frames", "3", "--out", "here.xyz", cwd=tmp_path)
    points = (tmp_path / "here.xyz").read_text().splitlines()
    assert len(points) > 1000 and len(points[0].split()) == 3
    assert "kind:target?key=value" in run("own_command", "--help", cwd=tmp_path)
